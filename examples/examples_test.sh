#!/usr/bin/env bash
# Each example runs against real servers and says what it should.
set -euo pipefail

readonly examples=examples
readonly work="${TEST_TMPDIR:?}"
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true' EXIT

# start NAME COMMAND...: starts a server and sets `address` to what it says.
start() {
  local said="$work/$1.address"
  shift
  : >"$said"
  "$@" >"$said" &
  servers+=($!)
  local tries
  for tries in {1..100}; do
    address=$(<"$said")
    [[ -n $address ]] && return
    sleep 0.1
  done
  echo "a server did not start" >&2
  exit 1
}

# expect WHAT COMMAND...: the command must succeed, and say WHAT, as a pattern
# over all its output.
expect() {
  local what=$1 said
  shift
  said=$("$@" 2>&1) || {
    printf '%s failed and said:\n%s\n' "$*" "$said" >&2
    exit 1
  }
  # shellcheck disable=SC2053
  [[ $said == $what ]] || {
    printf '%s said:\n%s\nand not: %s\n' "$*" "$said" "$what" >&2
    exit 1
  }
  echo "ok: $*"
}

start first "$examples/hello/server"
first=$address
start second "$examples/hello/server"
second=$address
start broken "$examples/hello/server" --broken
broken=$address
start tier "$examples/tier/tier" "$first,$second"
tier=$address

expect 'Hello, world!' "$examples/quickstart/quickstart" "$first,$second"
expect 'Hello, dear world!' "$examples/quickstart/quickstart" "$tier"
expect '*Hello, number 7!*' "$examples/async/completion_queue" "$first,$second"
expect '*Hello, number 7!*' "$examples/async/callback" "$first,$second"
expect $'3\n2\n1\nHello, Ada!\nHello, Grace!\nHello, Barbara!' \
  "$examples/streaming/streaming" "$first,$second"

cp "$examples/policy/mesh.yaml" "$work"
printf 'endpoints:\n- %s\n- %s\n' "$first" "$second" >"$work/greeters.yaml"
expect '*Greet: 20 of 20*SignGuestbook: 20 of 20*' \
  "$examples/policy/policy" "$work/mesh.yaml"
# With a broken server, what may be retried still succeeds; the rest does not
# all.
printf 'endpoints:\n- %s\n- %s\n' "$first" "$broken" >"$work/greeters.yaml"
expect '*Greet: 20 of 20*SignGuestbook: *' \
  "$examples/policy/policy" "$work/mesh.yaml"

# Where nobody answers, the fallback does; what it does not know fails.
printf 'endpoints:\n- %s\n' "$broken" >"$work/greeters.yaml"
expect $'Hello, whoever you are!\nSignGuestbook failed' \
  "$examples/fallback/fallback" "$work/mesh.yaml"
printf 'endpoints:\n- %s\n' "$first" >"$work/greeters.yaml"
expect $'Hello, world!\nworld was here' \
  "$examples/fallback/fallback" "$work/mesh.yaml"
# The guide shows the same code.
shown=$(sed -n '/^## Fallback/,/^## Across tiers/p' docs/resilience.md |
  sed -n '/^```cpp/,/^```$/{/^```/!p}')
[[ -n $shown ]]
while IFS= read -r line; do
  grep -qxF -- "$line" "$examples/fallback/fallback.cc" || {
    echo "docs/resilience.md shows what fallback.cc does not have: $line" >&2
    exit 1
  }
done <<<"$shown"

expect '*nothing breaks *100.000%*nobody answers*' \
  "$examples/simulate/simulate" "$examples/simulate/mesh.yaml"
