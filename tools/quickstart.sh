#!/usr/bin/env bash
# Installs what dynq needs, builds it, and shows INT8 against FP32 on the Fashion-MNIST test images:
# accuracy, error layer by layer, latency. Writes the same as report.html in the current folder.
# Run again, the install and build steps have nothing to do.
set -euo pipefail
source_root=$(cd "$(dirname "$0")/.." && pwd)
. "$source_root/tools/packages.sh"
need "${build_packages[@]}"

build=$source_root/build
if [ ! -f "$build/build.ninja" ]; then
  meson setup "$build" "$source_root" --buildtype=release >"$source_root/build.log" 2>&1 ||
    { tail -n 20 "$source_root/build.log" >&2; exit 1; }
fi
ninja -C "$build" >"$source_root/build.log" 2>&1 ||
  { tail -n 40 "$source_root/build.log" >&2; exit 1; }

data=/usr/share/datasets/fashion-mnist
model=$source_root/models/fashion-mnist-mlp.safetensors
"$build/tools/dynq" compare "$model" \
  --data "$data/t10k-images-idx3-ubyte.gz" --labels "$data/t10k-labels-idx1-ubyte.gz" \
  --calibration-data "$data/train-images-idx3-ubyte.gz" --html report.html
echo
"$build/tools/dynq" bench "$model" -b 1,64 -t 1
echo
echo "The same with plots: report.html"
