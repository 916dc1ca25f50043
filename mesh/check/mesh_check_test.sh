#!/bin/bash
# The program mesh-check, as people run it.
# usage: mesh_check_test.sh MESH_CHECK
set -uo pipefail

# shellcheck source=../../tests/support/steps.sh
source tests/support/steps.sh MeshCheckTest
program=$PWD/$1
work=${TEST_TMPDIR:?}/work
mkdir -p "$work"
cd "$work" || exit 1

cat >good.yaml <<'YAML'
services:
  cart:
    endpoints: [10.0.0.1:80]
    policy: {timeout: 1s}
YAML
cat >other.yaml <<'YAML'
services:
  cart:
    endpoints: [{address: 10.0.0.1:80, weight: 2}, 10.0.0.2:80]
    policy: {timeout: 2s, hedging: {delay: 50ms}}
    guards: {caps: {mode: off}}
  new: {dns: {name: new.prod, port: 80}}
YAML
cat >bad.yaml <<'YAML'
services:
  cart:
    black_hole: {ramp: 1s}
    polcy: {}
YAML

# Runs the program; what it says is in `out` and `err`.
says() { # CODE ARGUMENT...
  local code=$1 got=0
  shift
  "$program" "$@" >out 2>err || got=$?
  [[ $got == "$code" ]] || {
    echo "exit code $got, not $code"
    cat out err
    return 1
  }
}

prints_defaults() {
  says 0 good.yaml && [[ ! -s err ]] &&
    grep -qx '      timeout: 1s' out &&
    grep -qx '        max_attempts: 3' out &&
    grep -qx '    authority: cart' out &&
    cp out whole.yaml
}

reads_what_it_prints() {
  says 0 whole.yaml && cmp out whole.yaml && says 0 good.yaml whole.yaml &&
    [[ ! -s out ]]
}

prints_problems() {
  says 1 bad.yaml && [[ ! -s out ]] && diff err - <<'ERRORS'
bad.yaml:3:5: services.cart must have one of endpoints, endpoints_file and dns.
bad.yaml:3:5: services.cart.black_hole is an old name: write services.cart.silence instead.
bad.yaml:3:18: services.cart.black_hole.ramp is an old name: write services.cart.outlier_ejection.ramp instead.
bad.yaml:4:5: services.cart has no field "polcy"; did you mean "policy"?
ERRORS
}

prints_warnings() {
  printf 'identity: {files: {ca: a, cert: a, key: missing}}\nserver: {crl: if_present}\n' >warned.yaml
  : >a
  says 0 warned.yaml && grep -qx '  crl: if_present' out && diff err - <<'WARNINGS'
warning: warned.yaml:1:41: identity.files.key: the file "missing" could not be read: No such file or directory.
warning: warned.yaml:2:15: server.crl is if_present, but identity.files.crl names no list: nobody is refused for it.
WARNINGS
}

checks_endpoints_files() {
  printf 'services: {cart: {endpoints_file: {path: list.yaml}}}\n' >by_file.yaml
  rm -f list.yaml
  says 0 by_file.yaml || return 1  # Whoever writes it may come later.
  printf 'endpoints: [10.0.0.1:80]\n' >list.yaml
  says 0 by_file.yaml || return 1
  printf 'endpoints: [{address: 10.0.0.1:80, zone: a}]\n' >list.yaml
  says 1 by_file.yaml && [[ ! -s out ]] &&
    grep -q 'list.yaml:1:36: endpoints\[0\].zone is an old name' err || return 1
  # All of them, and one that two services name once.
  printf 'endpoints: [x]\n' >more.yaml
  printf 'services: {a: {endpoints_file: {path: list.yaml}}, b: {endpoints_file: {path: list.yaml}}, c: {endpoints_file: {path: more.yaml}}}\n' >by_files.yaml
  says 1 by_files.yaml && [[ $(wc -l <err) == 2 ]] && grep -q 'more.yaml:1:13: ' err
}

# Also beside other errors, at the place that names them where they cannot be read.
checks_endpoints_files_in_place() {
  printf 'endpoints: [x]\n' >more.yaml
  printf 'services:\n  cart:\n    endpoints_file: {path: more.yaml}\n    policy: {timeout: 0s}\n' >both.yaml
  says 1 both.yaml && diff err - <<'ERRORS' || return 1
both.yaml:4:23: services.cart.policy.timeout must be in 1ms..24h, but is 0s.
more.yaml:1:13: endpoints[0].address: "x" has no port; an address is "IPv4:port", "[IPv6]:port" or "unix:/path".
ERRORS
  # Once, whichever of two files names it.
  cp both.yaml again.yaml
  says 1 both.yaml again.yaml && [[ $(grep -c '^more.yaml:' err) == 1 && $(wc -l <err) == 3 ]] ||
    return 1
  mkdir -p directory
  [[ -p fifo ]] || mkfifo fifo
  ln -sfn loop loop
  printf 'services: {a: {endpoints_file: {path: directory}}, b: {endpoints_file: {path: fifo}}, c: {endpoints_file: {path: loop}}, d: {endpoints_file: {path: "l\\e[31m\\n"}}}\n' >odd.yaml
  says 1 odd.yaml && diff err - <<'ERRORS'
odd.yaml:1:39: services.a.endpoints_file.path: the file "directory" could not be read: it is a directory.
odd.yaml:1:79: services.b.endpoints_file.path: the file "fifo" could not be read: it is not a regular file.
odd.yaml:1:114: services.c.endpoints_file.path: the file "loop" could not be read: Too many levels of symbolic links.
ERRORS
}

# Whatever a file is called.
does_nothing_to_a_terminal() {
  printf 'endpoints: [x]\n' >$'l\e[31m\nx'
  printf 'services: {a: {endpoints_file: {path: "l\\e[31m\\nx"}}}\n' >named.yaml
  says 1 named.yaml && grep -q '^l \[31m x:1:13: ' err && ! grep -q $'\e' err &&
    says 1 $'no\e[31m\nx' && [[ $(wc -l <err) == 1 ]] && ! grep -q $'\e' err
}

prints_differences() {
  says 0 good.yaml other.yaml && [[ ! -s err ]] && diff out - <<'LINES'
services.cart.endpoints["10.0.0.1:80"].weight: 1 -> 2
services.cart.endpoints["10.0.0.2:80"]: (absent) -> (given)
services.cart.policy.timeout: 1s -> 2s
services.cart.policy.hedging.delay: adaptive -> 50ms
services.cart.guards.caps.mode: enforce -> off
services.new: (absent) -> (given)
LINES
}

checks_both() {
  says 1 bad.yaml missing.yaml && [[ ! -s out ]] &&
    grep -q '^bad.yaml:4:5: ' err && grep -q 'missing.yaml' err &&
    says 1 good.yaml bad.yaml && says 1 missing.yaml
}

refuses_other_arguments() {
  says 2 && grep -q '^usage: mesh-check FILE' err &&
    says 2 --verbose good.yaml && grep -q 'the argument "--verbose" is unknown' err &&
    says 2 -h && says 2 good.yaml good.yaml good.yaml && [[ ! -s out ]]
}

helps() {
  says 0 --help && [[ ! -s err ]] && grep -q '^usage: mesh-check FILE' out &&
    ! grep -q '.\{81\}' out
}

reports_a_full_disk() {
  local got=0
  "$program" good.yaml >/dev/full 2>err || got=$?
  ((got == 1)) && grep -qx 'mesh-check: the standard output cannot be written.' err || return 1
  got=0
  "$program" good.yaml >&- 2>err || got=$?
  ((got == 1)) && grep -qx 'mesh-check: the standard output cannot be written.' err
}

step PrintsEveryDefault prints_defaults
step ReadsWhatItPrints reads_what_it_prints
step PrintsAllProblems prints_problems
step PrintsWarnings prints_warnings
step ChecksEndpointsFiles checks_endpoints_files
step ChecksEndpointsFilesInPlace checks_endpoints_files_in_place
step DoesNothingToATerminal does_nothing_to_a_terminal
step PrintsTheDifferences prints_differences
step ChecksBothFiles checks_both
step RefusesOtherArguments refuses_other_arguments
step Helps helps
step ReportsAFullDisk reports_a_full_disk
finish
