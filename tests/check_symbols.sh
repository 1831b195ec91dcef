#!/usr/bin/env bash
# check_symbols.sh BUILD: the shared library exports exactly the symbols in exported_symbols.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
diff -u "$here/exported_symbols.txt" \
  <(nm -D --defined-only "$1/libdynq.so" | awk '{print $3}' | LC_ALL=C sort)
