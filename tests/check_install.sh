#!/usr/bin/env bash
# check_install.sh BUILD: installs into a temporary prefix and builds models/mlp_host.c against it with
# pkg-config, as C11 and as C++17, shared and static, and runs it on a quantized model. models/lab_host.c as C11,
# shared; the same for tests/text_host.c and the library dynq-text, where that was built.
set -euo pipefail
build=$1
source_root=$(cd "$(dirname "$0")/.." && pwd)
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
DESTDIR=$prefix meson install -C "$build" --no-rebuild >/dev/null
pc=$(dirname "$(find "$prefix" -name dynq.pc)")
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$prefix
libraries=$(dirname "$pc")
"$build/tools/dynq" quantize "$source_root/models/fashion-mnist-mlp.safetensors" -o "$prefix/int8.st" -q >/dev/null
host=$source_root/models/mlp_host.c
read -ra flags <<<"$(pkg-config --cflags dynq)"
read -ra libs <<<"$(pkg-config --libs dynq)"
gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${flags[@]}" "$host" -o "$prefix/host-c" "${libs[@]}"
g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++ "${flags[@]}" "$host" -x none \
  -o "$prefix/host-cpp" "${libs[@]}"
gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${flags[@]}" "$source_root/models/lab_host.c" \
  -o "$prefix/lab-c" "${libs[@]}"
LD_LIBRARY_PATH=$libraries "$prefix/lab-c" "$source_root/models/fashion-mnist-mlp.safetensors" >"$prefix/lab.out"
[ "$(grep -c 'alone .* dB, in the chain' "$prefix/lab.out")" -eq 6 ]
grep -q '^ranges per segment: the same bytes in any batch' "$prefix/lab.out"
grep -q '^ranges per tensor: neighbours matter' "$prefix/lab.out"
read -ra libs <<<"$(pkg-config --static --libs-only-l dynq | sed 's/-ldynq\b//')"
gcc -std=c11 "${flags[@]}" "$host" -o "$prefix/host-static" "$libraries/libdynq.a" "${libs[@]}"
for program in host-c host-cpp host-static; do
  LD_LIBRARY_PATH=$libraries "$prefix/$program" "$prefix/int8.st" >"$prefix/$program.out"
  [ "$(wc -l <"$prefix/$program.out")" -eq 8 ]
  cmp "$prefix/$program.out" "$prefix/host-c.out"
done

if [ -e "$pc/dynq-text.pc" ]; then
  host=$source_root/tests/text_host.c
  read -ra flags <<<"$(pkg-config --cflags dynq-text)"
  read -ra libs <<<"$(pkg-config --libs dynq-text)"
  gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${flags[@]}" "$host" -o "$prefix/text-c" "${libs[@]}"
  g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++ "${flags[@]}" "$host" -x none \
    -o "$prefix/text-cpp" "${libs[@]}"
  gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${flags[@]}" "$source_root/models/sentence_host.c" \
    -o "$prefix/sentence-c" "${libs[@]}"
  if LD_LIBRARY_PATH=$libraries "$prefix/sentence-c" "$prefix/none" a b 2>"$prefix/sentence.err"; then
    exit 1
  fi
  grep -q '^sentence_host: .*/none' "$prefix/sentence.err"
  for program in text-c text-cpp; do
    LD_LIBRARY_PATH=$libraries "$prefix/$program" >"$prefix/$program.out"
    [ "$(cat "$prefix/$program.out")" = '[CLS] token ##izer ! [SEP]' ]
  done
fi
