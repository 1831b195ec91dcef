#!/usr/bin/env bash
# check_symbols.sh BUILD: the shared libraries export exactly the symbols in exported_symbols.txt and, where
# it was built, exported_symbols_text.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# exports LIST LIBRARY
exports() {
  diff -u "$here/$1" <(nm -D --defined-only "$2" | awk '{print $3}' | LC_ALL=C sort)
}
exports exported_symbols.txt "$1/libdynq.so"
if [ -e "$1/src/text/libdynq-text.so" ]; then
  exports exported_symbols_text.txt "$1/src/text/libdynq-text.so"
fi
