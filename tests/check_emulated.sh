#!/usr/bin/env bash
# check_emulated.sh BUILD: the command on an emulated x86-64 CPU without AVX writes the same quantized model
# and the same output, byte for byte, as on this one. An instruction too many outside of kernels/ ends it.
set -euo pipefail
build=$1
source_root=$(cd "$(dirname "$0")/.." && pwd)
model=$source_root/models/fashion-mnist-mlp.safetensors
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tail -c $((8 * 784 * 4)) "$model" >"$folder/x.f32" # weights do as inputs

# answer NAME DYNQ...: quantizes and runs the model
answer() {
  local name=$folder/$1
  shift
  "$@" quantize "$model" -o "$name.safetensors" -q >/dev/null
  "$@" run "$name.safetensors" -i "$folder/x.f32" -o "$name.npy" -q >/dev/null
}
emulated=(qemu-x86_64 -cpu Nehalem "$build/tools/dynq")
"${emulated[@]}" info --json | grep -q '"kernel": "ref"'
answer here "$build/tools/dynq"
answer there "${emulated[@]}"
cmp "$folder/here.safetensors" "$folder/there.safetensors"
cmp "$folder/here.npy" "$folder/there.npy"
