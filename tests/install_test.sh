#!/usr/bin/env bash
# What a person who embeds Conclave does: install, build examples/embed against the installed
# package alone, run it. The figures that it must print are the reference implementation's
# (tests/goldens/models/mixtral/golden.safetensors, first sequence).
#
#   tests/install_test.sh BUILD_DIR CXX
set -euo pipefail
build=$1 cxx=$2
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "install_test: $1" >&2; exit 1; }

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || fail "$(cat "$work/install.log")"
library=$(find "$work/prefix" -name libconclave.so)
[ -n "$library" ] || fail "libconclave.so was not installed"
if command -v nm >/dev/null; then
  others=$(nm -DC --defined-only "$library" | awk '{$1 = $2 = ""; print}' |
    grep -vE '^ +((typeinfo|typeinfo name|vtable) for )?conclave::(Error|Model|version|error_kind_name|read_model_info)' || true)
  [ -z "$others" ] || fail "libconclave.so shows more than the API: $others"
fi
headers=$(cd "$work/prefix/include/conclave" && ls)
[ "$headers" = "$(cd "$source/include/conclave" && ls)" ] || fail "headers installed: $headers"
"$work/prefix/bin/conclave" --version >/dev/null || fail "the installed program does not run"

# A copy, so that nothing of the source tree is in reach.
cp -r "$source/examples/embed" "$work/embed"
cmake -S "$work/embed" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_CXX_COMPILER="$cxx" >"$work/configure.log" 2>&1 || fail "$(cat "$work/configure.log")"
cmake --build "$work/build" >"$work/build.log" 2>&1 || fail "$(cat "$work/build.log")"

found=$("$work/build/embed" "$source/tests/goldens/models/mixtral" --ids \
  83,11,53,92,96,18,89,41,69,60,9,76,10,75,70,11,29,44,90,71,41,21,71,33)
expected="most probable next token: 41
layer 0: 4 3 5 9 3 9 8 7   tokens per expert, 2 of 8 each
layer 1: 5 8 7 7 3 6 7 5   tokens per expert, 2 of 8 each"
[ "$found" = "$expected" ] || fail "printed: $found; expected: $expected"
if "$work/build/embed" "$work/nothing" text 2>"$work/error"; then fail "no error for no model"; fi
grep -q '^embed: not found: ' "$work/error" || fail "$(cat "$work/error")"
