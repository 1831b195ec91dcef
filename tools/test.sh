#!/usr/bin/env bash
# Installs what the tests need, builds, and runs all of them. The last line is "N passed, N failed".
#   tools/test.sh              every test, with warnings as errors
#   tools/test.sh --sanitize   the same tests in a build with AddressSanitizer and UBSan
set -euo pipefail
source_root=$(cd "$(dirname "$0")/.." && pwd)
. "$source_root/tools/packages.sh"
case "${1-}" in
  '') build=$source_root/build-test options=() ;;
  --sanitize)
    build=$source_root/build-sanitize
    options=(-Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized)
    export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    ;;
  *) echo "usage: tools/test.sh [--sanitize]" >&2; exit 2 ;;
esac
need "${build_packages[@]}" g++ libcriterion-dev python3

if [ ! -f "$build/build.ninja" ]; then
  meson setup "$build" "$source_root" -Dtests=true -Dwerror=true "${options[@]}"
fi
ninja -C "$build"

passed=0 failed=0
# count LABEL PASSED FAILED: adds to the totals that the last line shows.
count() {
  passed=$((passed + $2)) failed=$((failed + $3))
  echo "$1: $2 passed, $3 failed"
}
check() {
  local label=$1
  shift
  if "$@"; then count "$label" 1 0; else count "$label" 0 1; fi
}

log=$build/unit-tests.log
status=0
"$build/tests/dynq-tests" -j2 2>&1 | tee "$log" || status=$?
synthesis=$(grep -o 'Tested: .*' "$log" | tr -dc '0-9 \n' | tail -n 1)
read -r tested unit_passed _ <<<"$synthesis"
[ "${tested:-0}" -gt 0 ] || { tested=1 unit_passed=0; }
[ "$status" -eq 0 ] || [ "$tested" -ne "$unit_passed" ] || tested=$((tested + 1))
count "unit tests" "$unit_passed" $((tested - unit_passed))

if [ -x "$build/tools/dynq" ]; then
  DYNQ=$build/tools/dynq DYNQ_SOURCE_ROOT=$source_root \
    python3 -B -m unittest discover -v -s "$source_root/tests/cli" >"$log" 2>&1 || true
  tail -n 40 "$log"
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log")
  bad=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | grep -oE '(failures|errors)=[0-9]+' |
    cut -d= -f2 | paste -sd+ || true)
  [ "${ran:-0}" -gt 0 ] || { ran=1 bad=1; }
  bad=$((${bad:-0}))
  count "command tests" $((ran - bad)) "$bad"
fi

check "exported symbols" "$source_root/tests/check_symbols.sh" "$build"
if [ -z "${1-}" ]; then
  check "installed library, C11 and C++17" "$source_root/tests/check_install.sh" "$build"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
