#!/usr/bin/env bash
# Runs a benchmark for seconds and holds some of its figures against what they
# must be in a run of any length. A time among them is only so long that what
# never ends is found.
#
#   smoke_test.sh NAME PROGRAM OPTION... -- "FIGURE OPERATOR NUMBER"...
set -uo pipefail

source tests/support/steps.sh "$1"
shift
command=()
while [[ $1 != -- ]]; do
  command+=("$1")
  shift
done
shift
json="$TEST_TMPDIR/figures.json"

holds() {
  python3 -c '
import json, operator, sys
path, name, sign, number = sys.argv[1:]
with open(path, encoding="utf-8") as text:
    value = json.load(text)[name]
print(f"{name} is {value}")
sys.exit(not {"=": operator.eq, ">": operator.gt, "<": operator.lt}[sign](value, float(number)))
' "$json" "$@"
}

step "it runs" "${command[@]}" --json "$json"
for condition in "$@"; do
  read -r name sign number <<<"$condition"
  step "$condition" holds "$name" "$sign" "$number"
done
finish
