#!/usr/bin/env bash
# usage: schema_test.sh MESH_CHECK
set -euo pipefail
exec python3 tests/schema/schema_test.py "$1"
