#!/bin/bash
# The program mesh-certs, as people run it, and what openssl says of its files.
# usage: mesh_certs_test.sh MESH_CERTS
set -uo pipefail

# shellcheck source=../../tests/support/steps.sh
source tests/support/steps.sh MeshCertsTest
program=$PWD/$1
work=${TEST_TMPDIR:?}/work
mkdir -p "$work"
cd "$work" || exit 1

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

# openssl says so, and fails.
refused() { # TEXT ARGUMENT...
  local text=$1
  shift
  ! openssl verify "$@" >refusal 2>&1 && grep -q "$text" refusal
}

quiet() { says 0 "$@" && [[ ! -s out && ! -s err ]]; }

makes_an_authority() {
  quiet init ca && openssl verify -x509_strict -CAfile ca/ca.crt ca/ca.crt &&
    [[ $(stat -c %a ca/ca.key) == 600 && $(stat -c %a ca/ca.crt) == 644 ]] &&
    openssl x509 -in ca/ca.crt -noout -text >text &&
    grep -q 'CN = mesh development authority' text &&
    grep -A1 'X509v3 Key Usage: critical' text | grep -q 'Certificate Sign, CRL Sign'
}

issues_an_svid() {
  quiet issue ca a --spiffe spiffe://prod/cart && quiet trust a ca &&
    openssl verify -x509_strict -CAfile a/ca.crt -purpose sslserver a/tls.crt &&
    openssl verify -x509_strict -CAfile a/ca.crt -purpose sslclient a/tls.crt &&
    [[ $(stat -c %a a/tls.key) == 600 && ! -e a/crl.pem ]] &&
    openssl x509 -in a/tls.crt -noout -ext subjectAltName |
    grep -q 'URI:spiffe://prod/cart' &&
    # Its key fits.
    cmp <(openssl pkey -in a/tls.key -pubout) \
      <(openssl x509 -in a/tls.crt -noout -pubkey) &&
    [[ $(find a -type f | wc -l) == 3 ]]
}

issues_for_one_end() {
  quiet issue ca s --dns cart.prod --dns cart --for server --key rsa &&
    openssl verify -CAfile ca/ca.crt -purpose sslserver s/tls.crt &&
    ! openssl verify -CAfile ca/ca.crt -purpose sslclient s/tls.crt &&
    openssl x509 -in s/tls.crt -noout -ext subjectAltName |
    grep -q 'DNS:cart.prod, DNS:cart$' &&
    quiet issue ca c --dns cart.prod --for client --key ed25519 &&
    openssl verify -CAfile ca/ca.crt -purpose sslclient c/tls.crt &&
    ! openssl verify -CAfile ca/ca.crt -purpose sslserver c/tls.crt
}

issues_with_dates() {
  quiet issue ca old --dns a --starts -2h --lifetime 1h &&
    refused 'has expired' -CAfile ca/ca.crt old/tls.crt &&
    quiet issue ca new --dns a --starts 1h &&
    refused 'not yet valid' -CAfile ca/ca.crt new/tls.crt &&
    quiet issue ca short --dns a --lifetime 5s &&
    openssl x509 -in short/tls.crt -noout -checkend 0 &&
    ! openssl x509 -in short/tls.crt -noout -checkend 6
}

issues_below_an_intermediate() {
  quiet intermediate ca middle --key p384 && quiet issue middle m --spiffe spiffe://prod/m &&
    [[ $(grep -c BEGIN m/tls.crt) == 2 && $(grep -c BEGIN middle/ca.crt) == 2 ]] &&
    openssl verify -CAfile ca/ca.crt -untrusted m/tls.crt m/tls.crt &&
    ! openssl verify -CAfile ca/ca.crt m/tls.crt &&
    # Who trusts it trusts its root, once.
    quiet trust m middle ca && cmp m/ca.crt ca/ca.crt
}

rotates_an_authority() {
  quiet init next --name 'next authority' && quiet trust a ca next &&
    [[ $(grep -c BEGIN a/ca.crt) == 2 ]] &&
    openssl verify -CAfile a/ca.crt a/tls.crt && cp a/tls.crt before.crt &&
    quiet issue next a --spiffe spiffe://prod/cart && ! cmp -s a/tls.crt before.crt &&
    openssl verify -CAfile a/ca.crt a/tls.crt before.crt &&
    quiet trust a next && openssl verify -CAfile a/ca.crt a/tls.crt &&
    ! openssl verify -CAfile a/ca.crt before.crt
}

revokes() {
  quiet issue ca bad --spiffe spiffe://prod/bad && quiet issue ca good --spiffe spiffe://prod/good &&
    quiet crl ca && quiet trust good ca &&
    openssl verify -crl_check -CAfile good/ca.crt -CRLfile good/crl.pem bad/tls.crt &&
    quiet crl ca --revoke bad/tls.crt && quiet trust good ca &&
    openssl verify -crl_check -CAfile good/ca.crt -CRLfile good/crl.pem good/tls.crt &&
    refused 'certificate revoked' -crl_check -CAfile good/ca.crt -CRLfile good/crl.pem \
      bad/tls.crt &&
    # It stays revoked, and the number counts.
    quiet crl ca --lifetime 1h && openssl crl -in ca/crl.pem -noout -text >text &&
    grep -A1 'CRL Number' text | grep -q '  3$' && grep -q 'Serial Number' text &&
    # A list that is gone is gone from those who knew it.
    quiet trust good next && [[ ! -s good/crl.pem ]]
}

says_what_is_wrong() {
  says 1 issue missing x --dns a && grep -q 'the file "missing/ca.crt" could not be read' err &&
    says 1 issue ca no/such/place --dns a && grep -q 'could not be made' err &&
    says 1 crl ca --revoke err && grep -q 'the file "err": there is no certificate' err &&
    cp -r ca mixed && cp next/ca.key mixed/ && says 1 issue mixed x --dns a &&
    grep -q 'the authority in "mixed" cannot be used: the key is not that' err
}

# What `check` says of two directories, without serial numbers and dates.
checks() { # CODE A B ARGUMENT...
  says "$1" check "${@:2}" && sed -i -E 's/, serial [0-9a-f]+, valid until [0-9TZ:-]+/, .../' out
}

checks_two_ends() {
  quiet init one && quiet init two --name 'another authority' &&
    quiet issue one x --spiffe spiffe://prod/x && quiet trust x one &&
    quiet issue one y --spiffe spiffe://prod/y && quiet trust y one &&
    quiet issue two z --spiffe spiffe://prod/z && quiet trust z two &&
    checks 0 x y && diff out - <<'LINES' || return 1
x: spiffe://prod/x, ...
y: spiffe://prod/y, ...
client x to server y: good
client y to server x: good
LINES
  checks 1 x z && [[ $(grep -c 'the client refuses: unknown_authority' out) == 2 ]] &&
    [[ $(grep -c 'the server refuses: unknown_authority' out) == 2 ]] &&
    # One end trusts the other, which does not trust it.
    quiet trust x one two && checks 1 x z &&
    [[ $(grep -c 'the client refuses' out) == 1 && $(grep -c 'the server refuses' out) == 1 ]] &&
    grep -q '^client z to server x: the client refuses' out &&
    grep -q '^client x to server z: the server refuses' out
}

checks_names_dates_and_lists() {
  checks 0 x y --peer 'spiffe://prod/*' && checks 1 x y --peer spiffe://prod/y &&
    grep -q '^client y to server x: the client refuses: not_allowed' out &&
    quiet issue one old --spiffe spiffe://prod/old --starts -2h && quiet trust old one &&
    checks 1 old y && grep -q '^old: chain: it expired at' out &&
    grep -q '^client y to server old: the client refuses: expired' out &&
    ! grep -q '^client y to server old: the server refuses' out &&
    quiet issue one srv --dns srv --for server && quiet trust srv one &&
    quiet issue one both --dns both && quiet trust both one && checks 1 srv both &&
    grep -q '^client srv to server both: the server refuses: bad_purpose' out &&
    grep -q '^client both to server srv: good' out &&
    # Whoever has no SPIFFE ID trusts no trust domain.
    checks 1 both y && grep -q '^client both to server y: the client refuses: no_bundle' out &&
    quiet crl one --revoke x/tls.crt && quiet trust y one && checks 1 x y &&
    [[ $(grep -c 'refuses: revoked' out) == 2 ]] &&
    cp x/tls.key y/ && checks 1 x y && grep -q '^y: key: it is not that of' out &&
    says 1 check x nowhere && grep -q 'nowhere/ca.crt' err
}

# An agent and what it serves, rotated; killed and started again.
serves() {
  local socket=/tmp/mesh_certs_test_$$ agent
  quiet issue one w --spiffe spiffe://prod/w && quiet trust w one || return 1
  says 1 serve "unix:$socket" nowhere && grep -q 'nowhere: the file "nowhere/tls.crt"' err || return 1
  "$program" serve "unix:$socket" w --federate other=two/ca.crt >served 2>&1 &
  agent=$!
  until grep -q listens served; do
    kill -0 "$agent" || { cat served; return 1; }
    sleep 0.05
  done
  [[ -S $socket ]] || return 1
  # A second one does not take the place of the first.
  says 1 serve "unix:$socket" w && grep -q 'cannot listen' err || return 1
  kill "$agent" && wait "$agent" && [[ $(<served) == "the agent listens at unix:$socket" ]]
}

refuses_other_arguments() {
  says 2 && grep -q '^usage: mesh-certs' err && says 2 destroy && grep -q '"destroy" is unknown' err &&
    says 2 init && says 2 init none y && says 2 init none --key dsa && grep -q 'is "dsa"' err &&
    says 2 init none --lifetime soon && says 2 init none --lifetime -1h && says 2 init none --lifetime inf &&
    says 2 init none --name && grep -q 'needs a value' err && says 2 init none --dns a &&
    says 2 issue ca none && says 2 issue ca none --dns a --spiffe spiffe://a/b &&
    says 2 issue ca none --dns a --for both && says 2 issue ca none --spiffe spiffe://a/b --for client &&
    says 2 issue ca none --spiffe spiffe://A/b &&
    says 2 check none && says 2 check ca ca --peer x && says 2 serve unix:/tmp/x &&
    says 2 serve unix:/tmp/x ca --federate x && says 2 trust none && says 2 crl && [[ ! -e none ]]
}

helps() { says 0 --help && [[ ! -s err ]] && grep -q '^usage: mesh-certs' out; }

# A reader sees a whole file at each moment, and no other key than its own.
replaces_in_one_step() {
  local i
  touch busy
  (while [[ -e busy ]]; do quiet_issue; done) &
  local writer=$!
  for ((i = 0; i < 50; i++)); do
    openssl x509 -in loop/tls.crt -noout 2>/dev/null || [[ ! -e loop/tls.crt ]] || {
      echo 'half a file'
      rm busy
      wait "$writer"
      return 1
    }
  done
  rm busy
  wait "$writer"
  [[ -s loop/tls.crt && $(find loop -type f | wc -l) == 2 ]]
}
quiet_issue() { "$program" issue ca loop --dns a; }

step MakesAnAuthority makes_an_authority
step IssuesAnSvid issues_an_svid
step IssuesForOneEnd issues_for_one_end
step IssuesWithDates issues_with_dates
step IssuesBelowAnIntermediate issues_below_an_intermediate
step RotatesAnAuthority rotates_an_authority
step Revokes revokes
step ReplacesInOneStep replaces_in_one_step
step ChecksTwoEnds checks_two_ends
step ChecksNamesDatesAndLists checks_names_dates_and_lists
step Serves serves
step SaysWhatIsWrong says_what_is_wrong
step RefusesOtherArguments refuses_other_arguments
step Helps helps
finish
