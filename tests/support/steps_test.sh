#!/usr/bin/env bash
# What a script of steps leaves behind: a file that an XML reader takes, with
# each step's name and verdict, and an exit code that says whether all held.
set -uo pipefail

source tests/support/steps.sh steps_test

# A script of three steps, of which one fails. The names hold all that XML
# gives a meaning to.
script='
source tests/support/steps.sh inner
step "a < b & c > \"d\"" true
step "it'"'"'s <false/>" false
step "plain" true
finish'

inner() {
  XML_OUTPUT_FILE="$TEST_TMPDIR/inner.xml" TEST_TMPDIR="$TEST_TMPDIR" \
    bash -c "$script" >"$TEST_TMPDIR/inner.log"
}

reads_as_written() {
  python3 -c '
import sys
import xml.etree.ElementTree as xml
cases = xml.parse(sys.argv[1]).findall("testsuite/testcase")
found = [(case.get("name"), case.find("failure") is not None) for case in cases]
print(found)
sys.exit(found != [("a < b & c > \"d\"", False), ("it\x27s <false/>", True),
                   ("plain", False)])
' "$TEST_TMPDIR/inner.xml"
}

fails() { ! "$@"; }

step "a step that fails fails the script" fails inner
step "the verdicts are readable" reads_as_written
step "the log has the names as written" \
  grep -qxF 'FAILED: it'"'"'s <false/>' "$TEST_TMPDIR/inner.log"
finish
