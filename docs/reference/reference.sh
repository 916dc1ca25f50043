#!/usr/bin/env bash
# Checks that the pages in this directory are those that the schema makes, or
# makes them so.
# usage: reference.sh check|update SCHEMA_GEN DESCRIPTOR_SET
set -euo pipefail
verb=$1 schema_gen=$2 descriptor_set=$3
directory="${BUILD_WORKSPACE_DIRECTORY:-.}/docs/reference"
status=0

page() {
  local file=$1 what=$2 made
  made="$(mktemp)"
  "$schema_gen" "$descriptor_set" "$what" >"$made"
  if [[ $verb == update ]]; then
    cat "$made" >"$directory/$file"
  elif ! diff -u "$directory/$file" "$made"; then
    echo "$file is out of date: bazel run //docs/reference:update" >&2
    status=1
  fi
  rm -f "$made"
}

page config.md reference
page mesh.schema.json schema
page endpoints.schema.json endpoints-schema
exit "$status"
