#!/bin/bash
# Lays out what is installed and packs it.
# usage: make_tar.sh OUT ARCHIVE SHARED_LIBRARY HEADERS ROOTS PROTOS PROGRAMS \
#   TEMPLATE...
#   HEADERS  file of lines "path/in/tree.h file"
#   ROOTS    the public headers; what they include comes along
set -euo pipefail

out=$1 archive=$2 shared=$3 listing=$4 roots=$5 protos=$6 programs=$7
shift 7

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

declare -A file_of
while read -r path file; do file_of[$path]=$file; done <"$listing"

add_header() {
  local path=$1 target=$tree/include/$1 included
  [[ ! -e $target ]] || return 0
  [[ -n ${file_of[$path]:-} ]] || {
    echo "make_tar: no header $path" >&2
    exit 1
  }
  install -D -m 644 "${file_of[$path]}" "$target"
  while read -r included; do
    add_header "$included"
  done < <(sed -n 's/^#include "\(mesh\/[^"]*\)".*/\1/p' "$target")
}
for root in $roots; do add_header "$root"; done

version=$(sed -n 's/^#define MESH_VERSION "\(.*\)"$/\1/p' \
  "$tree/include/mesh/version.h")
lib=$tree/lib
install -D -m 644 "$archive" "$lib/libmesh.a"
install -m 755 "$shared" "$lib/libmesh.so.$version"
ln -s "libmesh.so.$version" "$lib/libmesh.so.0"
ln -s libmesh.so.0 "$lib/libmesh.so"

for proto in $protos; do
  install -D -m 644 "$proto" "$tree/share/mesh/proto/$proto"
done

for program in $programs; do
  install -D -m 755 -s "$program" "$tree/bin/$(basename "$program")"
done

for template in "$@"; do
  name=$(basename "$template" .in)
  case $name in
    *.pc) target=$lib/pkgconfig/$name ;;
    *.cmake) target=$lib/cmake/mesh/$name ;;
  esac
  mkdir -p "$(dirname "$target")"
  sed "s/@VERSION@/$version/g" "$template" >"$target"
done

tar -C "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
  -cf "$out" bin include lib share
