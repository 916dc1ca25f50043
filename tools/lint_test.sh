#!/usr/bin/env bash
set -euo pipefail
python3 tools/lint_test.py
exec python3 tools/lint_prose_test.py
