#!/usr/bin/env bash
# Installs what dynq needs, builds it, and shows INT8 against FP32: accuracy or cosine, error layer by
# layer, latency. Run again, the install and build steps have nothing to do.
#   tools/quickstart.sh                an MLP on the Fashion-MNIST test images; the same with plots in
#                                      report.html in the current folder
#   tools/quickstart.sh --transformer  a sentence encoder, all-MiniLM-L6-v2, fetched once (84 MB), from its
#                                      published files to the similarity of five sentences; leaves
#                                      minilm.safetensors and minilm-int8.safetensors in the current folder
set -euo pipefail
source_root=$(cd "$(dirname "$0")/.." && pwd)
. "$source_root/tools/packages.sh"
case "${1-}" in
  '' | --transformer) [ $# -le 1 ] || { echo "usage: tools/quickstart.sh [--transformer]" >&2; exit 2; } ;;
  *) echo "usage: tools/quickstart.sh [--transformer]" >&2; exit 2 ;;
esac
need "${build_packages[@]}"

build=$source_root/build
if [ ! -f "$build/build.ninja" ]; then
  meson setup "$build" "$source_root" --buildtype=release >"$source_root/build.log" 2>&1 ||
    { tail -n 20 "$source_root/build.log" >&2; exit 1; }
fi
ninja -C "$build" >"$source_root/build.log" 2>&1 ||
  { tail -n 40 "$source_root/build.log" >&2; exit 1; }
dynq=$build/tools/dynq

mlp() {
  local data=/usr/share/datasets/fashion-mnist model=$source_root/models/fashion-mnist-mlp.safetensors
  "$dynq" compare "$model" \
    --data "$data/t10k-images-idx3-ubyte.gz" --labels "$data/t10k-labels-idx1-ubyte.gz" \
    --calibration-data "$data/train-images-idx3-ubyte.gz" --html report.html
  echo
  "$dynq" bench "$model" -b 1,64 -t 1
  echo
  echo "The same with plots: report.html"
}

transformer() {
  local folder sentences=$source_root/tests/golden/sentences.txt
  folder=$("$source_root/tools/get-minilm.sh" | tail -n 1)
  "$dynq" convert "$folder" -o minilm.safetensors -q
  "$dynq" quantize minilm.safetensors -o minilm-int8.safetensors -q | tail -n 1
  echo
  printf '%s\n' 'A cat is sitting on the mat.' 'The kitten rests on a rug.' \
    'Shares fell sharply in early trading.' 'The stock market opened much lower.' \
    'How do I bake bread without yeast?' | "$dynq" embed minilm-int8.safetensors --similarity
  echo
  "$dynq" compare minilm.safetensors --data "$sentences" --html report.html \
    --variants 'int8-static-max,int8-static-mse,int8-dynamic-tensor,int8-dynamic-segment,int8-dynamic-row,int8-dynamic-*-smooth'
  echo
  "$dynq" bench minilm.safetensors -b 1 -s 16,128 -t 1
  echo
  echo "The comparison with plots: report.html. Try: $dynq \\"
  echo "       embed minilm-int8.safetensors FILE --query 'your question'"
}

if [ $# -eq 0 ]; then mlp; else transformer; fi
