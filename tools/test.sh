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
packages=("${build_packages[@]}" g++ libcriterion-dev python3)
emulate=
if [ -z "${1-}" ] && [ "$(uname -m)" = x86_64 ]; then
  emulate=yes packages+=("${aarch64_packages[@]}")
fi
need "${packages[@]}"

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

# emulated CPU PATTERN...: the unit tests that match, on that CPU under qemu-user; the counts are the
# last line of the log.
emulated() {
  local cpu=$1 log=$aarch64/tests-$1.log
  shift
  qemu-aarch64 -cpu "$cpu" "$aarch64/tests/dynq-tests" "$@" >"$log" 2>&1 || true
  tail -n 1 "$log" | grep -qE '^[1-9][0-9]* passed, [0-9]+ failed$' ||
    echo '0 passed, 1 failed' >>"$log"
}

# The shipped model quantized and run there and here: the same bytes.
same_answers() {
  local model=$source_root/models/fashion-mnist-mlp.safetensors file=$aarch64/answers
  local input=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
  qemu-aarch64 "$aarch64/tools/dynq" quantize "$model" -o "$file.safetensors" -q >/dev/null &&
    qemu-aarch64 "$aarch64/tools/dynq" run "$file.safetensors" -i "$input" -o "$file.npy" -q &&
    "$build/tools/dynq" quantize "$model" -o "$file-here.safetensors" -q >/dev/null &&
    "$build/tools/dynq" run "$file-here.safetensors" -i "$input" -o "$file-here.npy" -q &&
    cmp "$file.safetensors" "$file-here.safetensors" && cmp "$file.npy" "$file-here.npy"
}

# Everything on a CPU with both kernels; kernels and sessions on one that has neon_dotprod alone and
# on one with neither.
test_aarch64() {
  local cpu good bad
  aarch64=$source_root/build-aarch64
  if [ ! -f "$aarch64/build.ninja" ]; then
    meson setup "$aarch64" "$source_root" --cross-file "$source_root/tests/cross/aarch64.ini" \
      -Dtests=true -Dwerror=true -Dopenblas=disabled -Donednn=disabled
  fi
  ninja -C "$aarch64"
  emulated max &
  { emulated cortex-a76 'kernels*' 'session/*'; emulated cortex-a53 'kernels*' 'session/*'; } &
  wait
  for cpu in max cortex-a76 cortex-a53; do
    grep -E 'failed: |^FAILED' "$aarch64/tests-$cpu.log" || true
    read -r good _ bad _ <<<"$(tail -n 1 "$aarch64/tests-$cpu.log")"
    count "unit tests on aarch64, emulated $cpu" "$good" "$bad"
  done
  if [ -x "$build/tools/dynq" ]; then
    check "the same answers on emulated aarch64" same_answers
  fi
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
if [ -n "$emulate" ]; then
  test_aarch64
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
