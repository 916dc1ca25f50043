#!/usr/bin/env bash
set -euo pipefail
exec python3 tools/front_door_test.py
