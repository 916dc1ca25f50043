# Sourced by tests that are scripts. Each `step` is a test case; `finish` says
# how they went.

suite=$1 # The name of the test suite.
cases='' failures=0
log=${TEST_TMPDIR:?}/step.log

# step NAME COMMAND...: runs it. Its output is shown when it fails.
step() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  if "$@" >"$log" 2>&1; then
    cases+="<testcase classname=\"$suite\" name=\"$name\""
    cases+=" time=\"$((SECONDS - started))\"/>"
  else
    cat "$log"
    echo "FAILED: $name"
    failures=$((failures + 1))
    cases+="<testcase classname=\"$suite\" name=\"$name\">"
    cases+="<failure message=\"see the log\"/></testcase>"
  fi
}

# The last command of a test.
finish() {
  if [[ -n ${XML_OUTPUT_FILE:-} ]]; then
    echo "<testsuites><testsuite name=\"$suite\">$cases</testsuite></testsuites>" \
      >"$XML_OUTPUT_FILE"
  fi
  exit $((failures > 0))
}
