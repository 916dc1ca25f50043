#!/usr/bin/env bash
# The CMake example, copied out of the tree, builds against an installed mesh and
# runs.
set -euo pipefail

readonly work="${TEST_TMPDIR:?}"
server=
trap '[[ -z $server ]] || kill "$server"' EXIT

mkdir "$work/prefix"
tar -xf packaging/mesh.tar -C "$work/prefix"
cp -RL examples/cmake "$work/client"
cmake -S "$work/client" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix"
cmake --build "$work/build"

examples/hello/server >"$work/address" &
server=$!
for _ in {1..100}; do
  [[ ! -s $work/address ]] || break
  sleep 0.1
done
said=$("$work/build/client" "$(<"$work/address")")
[[ $said == 'Hello, CMake!' ]] || {
  echo "the client said: $said" >&2
  exit 1
}
