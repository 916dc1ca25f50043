#!/usr/bin/env bash
# The library built from source by CMake: under add_subdirectory, by
# FetchContent and at the top; what it installs; what it says of a dependency
# that is missing, and of another gRPC.
set -uo pipefail

# shellcheck source=../support/steps.sh
source tests/support/steps.sh CMakeTest
readonly runfiles=$PWD work=$TEST_TMPDIR/cmake
readonly tree=$work/tree client=$work/client prefix=$work/prefix
# From nowhere else, whatever the machine has.
unset CMAKE_PREFIX_PATH CMAKE_GENERATOR PKG_CONFIG_PATH CXXFLAGS LDFLAGS
server=
trap '[[ -z $server ]] || kill "$server"' EXIT

# The tree as a clone has it, without Bazel's.
mkdir -p "$tree" "$work/bazel"
cp -RL CMakeLists.txt cmake docs mesh packaging "$tree"
rm "$tree/packaging/mesh.tar"
cp -RL examples/cmake "$client"
tar -xf packaging/mesh.tar -C "$work/bazel"
cd "$work" || exit 1

# says WHAT... -- COMMAND...: runs it and looks for each WHAT in its output,
# whose lines are joined, as CMake breaks them.
says() {
  local wanted=() said status=0
  while [[ $1 != -- ]]; do wanted+=("$1") && shift; done
  shift
  said=$("$@" 2>&1) || status=$?
  echo "$said"
  said=$(tr -s ' \n' ' ' <<<"$said")
  local what
  for what in "${wanted[@]}"; do
    [[ $said == *"$what"* ]] || {
      echo "it does not say: $what"
      return 1
    }
  done
  return "$status"
}
fails() { ! "$@"; }
fails_and_says() { # WHAT... -- COMMAND...
  local args=()
  while [[ $1 != -- ]]; do args+=("$1") && shift; done
  shift
  says "${args[@]}" -- fails "$@"
}

configure() { # BUILD SOURCE ARGUMENTS...
  cmake -S "$2" -B "$1" "${@:3}"
}

client_says_hello() { # CLIENT
  "$runfiles/examples/hello/server" >address &
  server=$!
  local said _
  for _ in {1..100}; do
    [[ ! -s address ]] || break
    sleep 0.1
  done
  says 'Hello, CMake!' -- "$1" "$(<address)"
}

# ---- add_subdirectory, and what it installs ---------------------------------

step ConfiguresBySubdirectory configure build "$client" -DMESH_SOURCE="$tree" \
  -DMESH_INSTALL=ON -DCMAKE_BUILD_TYPE= \
  -DCMAKE_PROJECT_mesh_INCLUDE="$runfiles/tests/cmake/precompile.cmake"
step BuildsBySubdirectory cmake --build build --parallel "$(nproc)"
step TheClientRuns client_says_hello build/client

installs_the_same() {
  cmake --install build --prefix "$prefix" &&
    diff <(cd bazel && find . | sort) <(cd "$prefix" && find . | sort) &&
    diff -r --exclude='libmesh.*' --exclude=mesh-certs --exclude=mesh-check bazel "$prefix"
}
step InstallsWhatRunInstallDoes installs_the_same

programs_run() {
  configure programs "$runfiles/tests/install" -DCMAKE_PREFIX_PATH="$prefix" &&
    cmake --build programs --parallel "$(nproc)" &&
    says 'mesh 0.' -- programs/program_shared &&
    says 'mesh 0.' -- programs/program_static
}
step ProgramsRunOnTheInstalled programs_run

shows_only_public_symbols() {
  local other
  other=$(nm -DC --defined-only "$prefix/lib/libmesh.so" |
    sed 's/^[0-9a-f]* . //' | grep -vE '@@MESH_0$|^MESH_0$')
  [[ -z $other ]] || {
    echo "symbols that are not public:"
    echo "$other"
    return 1
  }
}
step ShowsOnlyPublicSymbols shows_only_public_symbols

# ---- FetchContent, and the top ----------------------------------------------

tar -czf tree.tgz -C "$work" tree
step ConfiguresByFetchContent configure fetch "$client" \
  -DMESH_URL="file://$work/tree.tgz"

# The sources of tests and examples are not here; their names do.
configures_everything() {
  local source
  for source in $(grep -oE '^  (mesh|tests|examples)/[^)]*' "$tree/cmake/sources.cmake"); do
    [[ -e $tree/$source || $source == *.pb.h ]] ||
      { mkdir -p "$tree/${source%/*}" && touch "$tree/$source"; }
  done
  configure top "$tree" -DMESH_TESTS=ON -DMESH_EXAMPLES=ON
}
step ConfiguresAtTheTop configures_everything

# ---- dependencies -----------------------------------------------------------

without() { # PACKAGE...: the arguments that hide them from find_package().
  printf -- '-DCMAKE_DISABLE_FIND_PACKAGE_%s=ON\n' "$@"
}
mapfile -t no_packages < <(without gRPC Protobuf absl OpenSSL yaml-cpp c-ares)

step TakesAllByPkgConfig says \
  'pkg-config): PkgConfig::mesh_MESH_GRPC' PkgConfig::mesh_MESH_PROTOBUF \
  PkgConfig::mesh_MESH_ABSL_PUBLIC PkgConfig::mesh_MESH_ABSL_PRIVATE \
  PkgConfig::mesh_MESH_OPENSSL PkgConfig::mesh_MESH_YAML_CPP \
  PkgConfig::mesh_MESH_CARES 'protoc: /usr/bin/protoc' \
  -- configure pkg_config "$tree" "${no_packages[@]}"

step NamesAllThatIsMissing fails_and_says \
  'gRPC: looked for the target gRPC::grpc++ or grpc++, by find_package(gRPC) and as grpc++ by pkg-config. Debian: libgrpc++-dev vcpkg: grpc Conan: grpc' \
  'the target protobuf::libprotobuf' \
  'Debian: libprotobuf-dev protobuf-compiler vcpkg: protobuf Conan: protobuf' \
  'the target absl::' 'Debian: libabsl-dev vcpkg: abseil Conan: abseil' \
  'the target OpenSSL::SSL' 'Debian: libssl-dev vcpkg: openssl Conan: openssl' \
  'the target yaml-cpp::yaml-cpp' 'Debian: libyaml-cpp-dev vcpkg: yaml-cpp' \
  'the target c-ares::cares' 'Debian: libc-ares-dev vcpkg: c-ares' \
  -- env PKG_CONFIG_LIBDIR=/nonexistent \
  cmake -S "$tree" -B missing "${no_packages[@]}"

another_protoc() {
  mkdir -p elsewhere/bin
  printf '#!/bin/sh\necho libprotoc 3.6.1\n' >elsewhere/bin/protoc
  chmod +x elsewhere/bin/protoc
  PATH=$work/elsewhere/bin:$PATH says 'mesh: protoc: /usr/bin/protoc' \
    -- configure protoc "$tree"
}
step TakesTheProtocOfItsProtobuf another_protoc

# ---- the parent's own -------------------------------------------------------

parent() { # BUILD ARGUMENTS...
  configure "$1" "$runfiles/tests/cmake/parent" -DMESH_SOURCE="$tree" "${@:2}"
}

changes_nothing_of_the_parent() {
  says 'gRPC (target)' 'Protobuf (target)' 'absl (target)' 'OpenSSL (target)' \
    'yaml-cpp (target)' 'c-ares (target)' 'protoc: $<TARGET_FILE:' \
    -- parent own && diff own/before.txt own/after.txt
}
step ChangesNothingOfTheParent changes_nothing_of_the_parent

step RefusesAnotherGrpc fails_and_says 'gRPC 1.40.2' 'lists: 1.51' MESH_ANY_GRPC \
  -- parent another -DGRPC_MINOR=40
step TakesAnotherGrpcWhenTold parent another -DMESH_ANY_GRPC=ON
step IsAnArchiveOverAnArchive says 'mesh::mesh is the archive' \
  -- parent archive -DGRPC_TYPE=STATIC

finish
