#!/usr/bin/env bash
# The README's commands do what it says. Each block ```sh is run; what follows in
# a block ```text must be found in what it prints, line by line.
set -euo pipefail

readonly readme=examples/mtls/README.md work=${TEST_TMPDIR:?}/mtls
readonly script=$TEST_TMPDIR/script
export PATH=$PWD/examples/mtls:$PWD/mesh/certs:$PATH

mkdir "$work"
cp -L examples/mtls/*.yaml "$work"

# One shell runs all blocks, so that jobs and files stay. After each block it
# marks the end of what that has printed.
awk '
  BEGIN {
    print "set -eu"
    print "trap \"exit 1\" TERM"
    print "trap \"kill \\$(jobs -p) 2>/dev/null || true\" EXIT"
  }
  /^```sh$/ { block = 1; next }
  block && /^```$/ { block = 0; print "echo \"== end " ++n "\""; next }
  # A command that is to fail: with -e, "!" alone would not notice success.
  block && /^! / { print "if " substr($0, 3) "; then exit 1; fi"; next }
  block { print }
' "$readme" >"$script"
blocks=$(grep -c '^echo "== end' "$script")
((blocks >= 9)) || { echo "the README has $blocks blocks" >&2; exit 1; }

cd "$work"
if ! timeout 60 bash "$script" >printed 2>&1; then
  cat printed
  echo "a command of the README failed" >&2
  exit 1
fi
cat printed
cd - >/dev/null

# What the README says that the last block before it prints.
awk '
  /^```sh$/ { ++n }
  /^```text$/ { text = 1; next }
  /^```$/ { text = 0 }
  text { print n "\t" $0 }
' "$readme" >"$work/expected"
(($(wc -l <"$work/expected") >= 8))
while IFS=$'\t' read -r block line; do
  awk -v n="$block" '
    $0 == "== end " n { exit }
    /^== end / { said = ""; next }
    { said = said $0 "\n" }
    END { printf "%s", said }
  ' "$work/printed" >"$work/said"
  grep -qF -- "$line" "$work/said" || {
    echo "block $block does not print: $line" >&2
    exit 1
  }
done <"$work/expected"
