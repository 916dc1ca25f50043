# Sourced by tests that are scripts. Each `step` is a test case; `finish` says
# how they went.

suite=$1 # The name of the test suite.
cases='' failures=0
log=${TEST_TMPDIR:?}/step.log

# escaped TEXT: the text as the value of an attribute in XML.
escaped() {
  printf %s "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'
}

# step NAME COMMAND...: runs it. Its output is shown when it fails.
step() {
  local shown=$1 started=$SECONDS name
  name=$(escaped "$shown")
  shift
  echo "== $shown"
  if "$@" >"$log" 2>&1; then
    cases+="<testcase classname=\"$suite\" name=\"$name\""
    cases+=" time=\"$((SECONDS - started))\"/>"
  else
    cat "$log"
    echo "FAILED: $shown"
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
