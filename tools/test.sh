#!/usr/bin/env bash
# Installs what the tests need, builds with warnings as errors, and runs the tests. The last line is
# "N passed, N failed".
#   tools/test.sh                  every test, then those of units and of the command (but for pages,
#                                  the encoder in compare, tune, training and the tour) again on every kernel that this CPU
#                                  runs, kernels on emulated CPUs, and everything on an emulated aarch64
#   tools/test.sh --sanitize       every test but the tour of docs/ in a build with AddressSanitizer and
#                                  UBSan
#   tools/test.sh --compiler NAME  kernels, units and the command in a build of that compiler, e.g. clang or
#                                  a path
# Tests of the published encoder take it from the folder that DYNQ_MINILM names, or else from the cache of
# tools/get-minilm.sh; without it they are skipped, and a line says so. Nothing is fetched but packages.
set -euo pipefail
source_root=$(cd "$(dirname "$0")/.." && pwd)
. "$source_root/tools/packages.sh"
mode=${1-} options=() packages=()
case "$mode" in
  '') build=$source_root/build-test cases=20000 ;;
  --sanitize)
    build=$source_root/build-sanitize cases=2000
    options=(-Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized)
    export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    ;;
  --compiler)
    export CC=${2:?the name of a compiler is missing}
    build=$source_root/build-$(basename "$CC") cases=5000
    command -v "$CC" >/dev/null || packages=("$CC")
    ;;
  *) echo "usage: tools/test.sh [--sanitize | --compiler NAME]" >&2; exit 2 ;;
esac
if [ -z "$mode" ] && [ "$(uname -m)" = x86_64 ]; then
  packages+=("${aarch64_packages[@]}")
fi
[ -z "$mode" ] || export DYNQ_TEST_BUILD=$mode # another than the first
need "${build_packages[@]}" g++ libcriterion-dev python3 chromium "${packages[@]}"

minilm=${DYNQ_MINILM:-$("$source_root/tools/get-minilm.sh" --cached 2>/dev/null || true)}
unset DYNQ_MINILM
[ -z "$minilm" ] || export DYNQ_MINILM=$minilm

if [ ! -f "$build/build.ninja" ]; then
  meson setup "$build" "$source_root" -Dtests=true -Dwerror=true "${options[@]}"
fi
ninja -C "$build"

passed=0 failed=0 kernels_checked=' ' kernels_skipped=' ' skipped=' '
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

# note_skipped LOG: remembers tests that say there that they want the encoder, as "suite/name: skipped: ..."
# or "name (...) ... skipped '...'".
note_skipped() {
  local name
  for name in $(sed -nE 's/^([^ ]+)(:| .*) skipped.*DYNQ_MINILM.*/\1/p' "$1"); do
    case "$skipped" in
      *" $name "*) ;;
      *) skipped+="$name " ;;
    esac
  done
}

# emulated CPU PATTERN...: the unit tests that match, on that CPU under qemu-user; the counts are the
# last line of the log. Without the published encoder, which would take many minutes.
emulated() {
  local cpu=$1 log=$aarch64/tests-$1.log
  shift
  env -u DYNQ_MINILM qemu-aarch64 -cpu "$cpu" "$aarch64/tests/dynq-tests" "$@" >"$log" 2>&1 || true
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
  kernel_check "kernels, emulated aarch64 CPU \"max\"" qemu-aarch64 -cpu max \
    "$aarch64/tests/dynq-kernel-check" --cases 20000
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

# kernel_check LABEL PROGRAM...: every kernel against "ref"; the program's last line has the numbers.
kernel_check() {
  local label=$1 log=$build/kernel-check.log status=0 numbers
  shift
  "$@" 2>&1 | tee "$log" || status=$?
  kernels_checked+=$(sed -nE 's/^gemm_s8 .*cases:(.*)/\1/p' "$log")' '
  kernels_skipped+=$(sed -n 's/ skipped, this CPU lacks:.*//p' "$log" | tr '\n' ' ')
  numbers=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log")
  case "$status $numbers" in
    '0 '[1-9]*' 0' | '1 '*' '[1-9]*) read -r good bad <<<"$numbers" ;;
    *) good=0 bad=1 ;;
  esac
  count "$label" "$good" "$bad"
}

unit_tests() {
  local label=$1 log=$build/unit-tests.log status=0 synthesis tested passing
  "$build/tests/dynq-tests" -j2 2>&1 | tee "$log" || status=$?
  note_skipped "$log"
  synthesis=$(grep -o 'Tested: .*' "$log" | tr -dc '0-9 \n' | tail -n 1)
  read -r tested passing _ <<<"$synthesis" || true
  [ "${tested:-0}" -gt 0 ] || { tested=1 passing=0; }
  [ "$status" -eq 0 ] || [ "$tested" -ne "$passing" ] || tested=$((tested + 1))
  count "$label" "$passing" $((tested - passing))
}

# command_tests LABEL COMMAND: what tests/cli says of this dynq.
command_tests() {
  local label=$1 log=$build/command-tests.log ran bad
  DYNQ=$2 DYNQ_SOURCE_ROOT=$source_root \
    python3 -B -m unittest discover -v -s "$source_root/tests/cli" >"$log" 2>&1 || true
  tail -n 40 "$log"
  note_skipped "$log"
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' "$log")
  bad=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | grep -oE '(failures|errors)=[0-9]+' |
    cut -d= -f2 | paste -sd+ || true)
  [ "${ran:-0}" -gt 0 ] || { ran=1 bad=1; }
  bad=$((${bad:-0}))
  count "$label" $((ran - bad)) "$bad"
}

# other_kernels: units and command again on every kernel that this CPU runs: those that it would choose if
# it had not the features of the better ones, which go one by one, and those that need no fewer.
other_kernels() {
  local list chosen needs kernel first='' before='' cpu
  export DYNQ_TEST_WITHOUT=
  while true; do
    cpu=${DYNQ_TEST_WITHOUT:+, CPU without $DYNQ_TEST_WITHOUT}
    list=$("$build/tests/dynq-kernel-check" --list) || true
    chosen=$(awk '$2 == "chosen" { print $1 }' <<<"$list")
    needs=$(sed -nE 's/^[^ ]+ +chosen *//p' <<<"$list")
    if [ "${chosen:-$before}" = "$before" ]; then
      count "a kernel but ${before:-the first}$cpu" 0 1
      break
    fi
    first=${first:-$chosen}
    for kernel in $(sed -nE "s/^([^ ]+) +(chosen|runs) +$needs\$/\1/p" <<<"$list"); do
      [ "$kernel" != "$first" ] || continue
      DYNQ_TEST_KERNEL=$kernel unit_tests "unit tests, kernel $kernel$cpu"
      DYNQ_TEST_KERNEL=$kernel command_tests "command tests, kernel $kernel$cpu" "$build/tests/dynq-masked"
    done
    before=$chosen
    [ -n "$needs" ] || break
    DYNQ_TEST_WITHOUT+=${DYNQ_TEST_WITHOUT:+,}${needs##* }
  done
  unset DYNQ_TEST_WITHOUT
}

# kernels_not_run: of the builds that were tested, those that no CPU here has, nor an emulated one.
kernels_not_run() {
  local kernel names=''
  for kernel in $(tr ' ' '\n' <<<"$kernels_skipped" | sort -u); do
    case "$kernels_checked" in
      *" $kernel "*) ;;
      *) names+=" $kernel" ;;
    esac
  done
  echo "kernels that were not run:${names:- none}"
}

# emulated_x86: what this CPU cannot show, e.g. that no AVX instruction is where none may be. The emulator
# of Debian 12 has no AVX-512, and reads beyond masked loads.
emulated_x86() {
  local cpu
  for cpu in max max,-avx2 Nehalem; do
    kernel_check "kernels, emulated x86-64 CPU \"$cpu\"" qemu-x86_64 -cpu "$cpu" \
      "$build/tests/dynq-kernel-check" --cases 500 --slack 64
  done
  check "command, emulated x86-64 CPU \"Nehalem\"" "$source_root/tests/check_emulated.sh" "$build"
}

kernel_check "kernels" "$build/tests/dynq-kernel-check" --cases "$cases"
unit_tests "unit tests"
command_tests "command tests" "$build/tools/dynq"
if [ "$mode" != --compiler ]; then
  check "exported symbols" "$source_root/tests/check_symbols.sh" "$build"
fi
if [ -z "$mode" ]; then
  check "installed library, C11 and C++17" "$source_root/tests/check_install.sh" "$build"
  other_kernels
  if [ "$(uname -m)" = x86_64 ]; then
    emulated_x86
    test_aarch64
  fi
fi

kernels_not_run
[ "$skipped" = ' ' ] || echo "skipped:$skipped(run tools/get-minilm.sh, or set DYNQ_MINILM to its folder)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
