#!/bin/bash
# The installed library, as a program outside the tree sees it: CMake and
# pkg-config, shared and static, its symbols and its headers.
# usage: install_test.sh MESH_TAR PROGRAM_CC CMAKELISTS FRONT_DOOR_PY
set -uo pipefail

# shellcheck source=../support/steps.sh
source tests/support/steps.sh InstallTest
tar_file=$PWD/$1 program=$PWD/$2 cmakelists=$PWD/$3 front_door=$PWD/$4
work=${TEST_TMPDIR:?}/install
prefix=$work/prefix
mkdir -p "$prefix" "$work/source"
cp "$program" "$work/source/program.cc"
cp "$cmakelists" "$work/source/CMakeLists.txt"
cd "$work" || exit 1

cmake_program() {
  cmake -S source -B build -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_BUILD_TYPE=Release && cmake --build build
}

pkg_config_says() { # OPTION PACKAGE
  PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config "$1" "$2"
}

pkg_config_compiles() {
  local flags
  flags=$(pkg_config_says --cflags mesh) || return 1
  # shellcheck disable=SC2086
  g++ -std=c++17 $flags -c source/program.cc -o program.o
}

pkg_config_links() { # NAME PACKAGE
  local flags
  flags=$(pkg_config_says --libs "$2") || return 1
  # shellcheck disable=SC2086
  g++ program.o -o "$1" $flags
}

runs() { # PROGRAM
  local said
  said=$(LD_LIBRARY_PATH=$prefix/lib "$1") && echo "$said" &&
    [[ $said == "mesh "* ]]
}

needs_libmesh() { # PROGRAM yes|no
  local found=no
  [[ -x $1 ]] || return 1
  readelf -d "$1" | grep -q 'NEEDED.*\[libmesh\.so\.0\]' && found=yes
  [[ $found == "$2" ]]
}

only_public_symbols() {
  local other
  nm -DC --defined-only "$prefix/lib/libmesh.so" |
    sed 's/^[0-9a-f]* . //' >symbols
  other=$(grep -vE \
    -e '^MESH_0$' \
    -e '^(mesh::v1::|(typeinfo|typeinfo name|vtable) for mesh::v1::)' \
    -e '^descriptor_table_mesh_2fv1_' \
    -e '^mesh::(CreateChannel\(|Default(ConfigText|Metrics|PrometheusText)[\[(]|Mesh::|server::(Attach|PeerOf)\()' \
    -e '^mesh::security::(Identity::|IdentityFeed::|IdentityBytes::~)' \
    -e '^mesh::telemetry::HistogramSnapshot::' symbols)
  [[ -z $other ]] || {
    echo "symbols that are not public:"
    echo "$other"
    return 1
  }
  grep -q '^mesh::Mesh::FromFile(' symbols &&
    grep -q '^mesh::Mesh::Create(' symbols &&
    grep -q '^mesh::CreateChannel(' symbols &&
    grep -q '^mesh::security::Identity::Make(' symbols &&
    grep -q '^mesh::server::PeerOf(' symbols
}

each_header_stands_alone() {
  local header
  [[ -f $prefix/include/mesh/mesh.h ]] || return 1
  while read -r header; do
    echo "#include \"$header\"" |
      g++ -std=c++17 -fsyntax-only -I"$prefix/include" -x c++ - || return 1
  done < <(cd "$prefix/include" && find . -name '*.h' | sed 's/^\.\///')
}

checks_a_configuration() {
  local said
  echo 'services: {cart: {endpoints: [10.0.0.1:80]}}' >mesh.yaml
  said=$("$prefix/bin/mesh-check" mesh.yaml) &&
    [[ $said == *"load_balancing:"*"least_request"* ]] &&
    ! "$prefix/bin/mesh-check" mesh.yaml --unknown
}

makes_certificates() {
  "$prefix/bin/mesh-certs" init ca &&
    "$prefix/bin/mesh-certs" issue ca cart --spiffe spiffe://prod/cart &&
    openssl verify -CAfile ca/ca.crt cart/tls.crt &&
    ! "$prefix/bin/mesh-certs" forge
}

front_door_is_no_wider() {
  python3 "$front_door" "$prefix/include" | tee counted
}

step Unpacks tar -xf "$tar_file" -C "$prefix"
step CMakeBuildsAProgram cmake_program
step TheSharedProgramRuns runs build/program_shared
step TheSharedProgramNeedsTheSoname needs_libmesh build/program_shared yes
step TheStaticProgramRuns runs build/program_static
step TheStaticProgramNeedsNoLibrary needs_libmesh build/program_static no
step PkgConfigCompilesAProgram pkg_config_compiles
step PkgConfigLinksASharedProgram pkg_config_links shared mesh
step PkgConfigsSharedProgramRuns runs ./shared
step PkgConfigLinksAStaticProgram pkg_config_links static mesh-static
step PkgConfigsStaticProgramRuns runs ./static
step ShowsOnlyPublicSymbols only_public_symbols
step MeshCheckRuns checks_a_configuration
step MakesCertificates makes_certificates
step EachHeaderStandsAlone each_header_stands_alone
step TheFrontDoorIsNoWider front_door_is_no_wider
tail -n 1 counted
step ProtosAreInstalled test -f "$prefix/share/mesh/proto/mesh/v1/config.proto"
finish
