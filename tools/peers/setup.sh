#!/usr/bin/env bash
# Installs the peers from PyPI and makes their models under the folder that PEERS names (1.2 GB, some
# minutes). Run again, it only makes what is missing. Measures nothing.
#   PEERS=DIR tools/peers/setup.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -n "${PEERS:-}" ] || { echo "setup.sh: set PEERS to a folder outside the repository" >&2; exit 2; }
mkdir -p "$PEERS/made" "$PEERS/log"
PEERS=$(cd "$PEERS" && pwd)
export PEERS

if [ ! -e "$PEERS/minilm" ]; then
  published=${DYNQ_MINILM:-$("$here/../get-minilm.sh" | tail -n 1)}
  [ -f "$published/model.safetensors" ] ||
    { echo "setup.sh: $published holds no model.safetensors" >&2; exit 1; }
  ln -s "$(cd "$published" && pwd)" "$PEERS/minilm"
fi

if [ ! -e "$PEERS/venv/complete" ]; then
  echo "installing the peers" >&2
  python3 -m venv "$PEERS/venv"
  "$PEERS/venv/bin/pip" --disable-pip-version-check install --quiet numpy scipy safetensors \
    tokenizers onnx onnxruntime openvino nncf ctranslate2
  touch "$PEERS/venv/complete"
fi

# make FILE SCRIPT: runs the script unless the last file it writes is there.
make() {
  [ -e "$PEERS/made/$1" ] && return 0
  echo "making $1 (log: $PEERS/log/$2.log)" >&2
  "$PEERS/venv/bin/python" "$here/$2.py" >"$PEERS/log/$2.log" 2>&1 ||
    { tail -n 20 "$PEERS/log/$2.log" >&2; exit 1; }
}
make texts.npz make_texts
make onnx_int8_channel.onnx make_onnx
make ov_int8_static.xml make_openvino
make ct2_int8/model.bin make_ctranslate2
echo "ready: PEERS=$PEERS python3 $here/run.py latency"
