#!/usr/bin/env bash
set -euo pipefail
exec python3 tests/errors/errors_test.py
