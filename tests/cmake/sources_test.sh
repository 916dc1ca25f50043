#!/usr/bin/env bash
# cmake/sources.cmake lists what the BUILD files do. (The lists of tests and
# examples are compared by ./run lint.)
set -uo pipefail

# shellcheck source=../support/steps.sh
source tests/support/steps.sh SourcesTest

# The values of the list NAME in cmake/sources.cmake.
listed() { # NAME
  sed -n "/^set($1\$/,/)\$/{/^set/d; s/^ *//; s/)\$//; p}" cmake/sources.cmake |
    sort
}

same() { # WHAT LISTED WANTED
  [[ -n $3 ]] && diff <(echo "$2") <(echo "$3") || {
    echo "cmake/sources.cmake is out of date ($1): ./run sources" >&2
    return 1
  }
}

sources() {
  same sources "$({
    listed MESH_SOURCES
    listed MESH_CERTS_SOURCES
    listed MESH_CHECK_SOURCES
  } | sort -u)" \
    "$(grep '\.cc$' tests/cmake/mesh_sources.txt | grep -v '\.pb\.cc$' | sort)"
}

protos() {
  same protos "$({ listed MESH_PROTOS; listed MESH_CERTS_PROTOS; } | sort)" \
    "$(sed -n 's/\.pb\.cc$/.proto/p' tests/cmake/mesh_sources.txt | sort)"
}

public_headers() {
  same 'public headers' "$(listed MESH_PUBLIC_HEADERS)" \
    "$(tar -tf packaging/mesh.tar | sed -n 's/^include\/\(.*\.h\)$/\1/p' | sort)"
}

step TheLibrarysSources sources
step TheLibrarysProtos protos
step ThePublicHeaders public_headers
finish
