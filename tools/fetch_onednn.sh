#!/usr/bin/env bash
# Fetches a oneDNN newer than the distribution's from PyPI and lays it out for -Donednn_root=DIR.
#   tools/fetch_onednn.sh 3.2 DIR      built for OpenMP, complete in itself
#   tools/fetch_onednn.sh 3.6 DIR      the newest one for OpenMP: the library inside the paddlepaddle
#                                      package, with the headers of 3.2 (one C interface for all of 3)
#   tools/fetch_onednn.sh newest DIR   Intel's current release; runs on SYCL and TBB, which cost
#                                      microseconds a call and keep to one thread on one CPU only
set -euo pipefail

fail() {
  echo "fetch_onednn.sh: $*" >&2
  exit 1
}
[ $# -eq 2 ] && [ -n "$2" ] || { echo "usage: tools/fetch_onednn.sh 3.2|3.6|newest DIR" >&2; exit 2; }
case $1 in
  3.2) packages=(onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0) dependencies=--no-deps ;;
  3.6) packages=(paddlepaddle==3.3.1 onednn-devel-cpu-gomp==2023.2.0) dependencies=--no-deps ;;
  newest) packages=(onednn onednn-devel) dependencies= ;;
  *) echo "usage: tools/fetch_onednn.sh 3.2|3.6|newest DIR" >&2; exit 2 ;;
esac
[ "$(uname -sm)" = "Linux x86_64" ] || fail "these packages are for Linux on x86-64"
python3 -m pip --version >/dev/null 2>&1 || fail "needs Python's pip (Debian: apt-get install python3-pip)"
[ ! -e "$2/lib" ] && [ ! -e "$2/include" ] || fail "$2 already holds a lib or include folder"
mkdir -p "$2"
root=$(cd "$2" && pwd)
work=$(mktemp -d "$root/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching ${packages[*]}" >&2
python3 -m pip --disable-pip-version-check download --quiet --only-binary :all: ${dependencies:+"$dependencies"} \
  --dest "$work/wheels" "${packages[@]}" >"$work/log" 2>&1 ||
  fail "pip cannot fetch ${packages[*]}: $(grep -i error "$work/log" | tail -n 1)"

# A wheel is a zip file. What we want of it lies under */data/ or, in paddlepaddle, in paddle/libs/.
python3 - "$work/wheels" "$root" <<'END'
import os, re, shutil, sys, zipfile
wheels, root = sys.argv[1:]
# Nor does it hold links: one library comes under three names.
written = {}
wanted = re.compile(r"[^/]+\.data/data/(include/.+|lib/[^/]+)$|paddle/libs/(libdnnl\.so[^/]*)$")
for name in sorted(os.listdir(wheels)):
    with zipfile.ZipFile(os.path.join(wheels, name)) as wheel:
        for member in wheel.infolist():
            found = wanted.match(member.filename)
            if not found or member.is_dir() or ".." in member.filename.split("/"):
                continue
            path = os.path.join(root, found[1] or "lib/" + found[2])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            first = written.setdefault((name, member.CRC, member.file_size), path)
            if first != path:
                os.link(first, path)
                continue
            with wheel.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
END
cd "$root/lib"
[ -e libdnnl.so ] || ln -s libdnnl.so.3 libdnnl.so
[ -f "$root/include/oneapi/dnnl/dnnl.h" ] && [ -e libdnnl.so.3 ] ||
  fail "the packages do not hold what was expected of them: ${packages[*]}"

echo "oneDNN $1 lies in $root; build with:"
if [ "$1" != newest ]; then
  echo "  meson setup build-onednn -Donednn_root=$root && ninja -C build-onednn"
else
  variables="LD_LIBRARY_PATH=$root/lib OCL_ICD_FILENAMES=$root/lib/libintelocl.so"
  echo "  LD_LIBRARY_PATH=$root/lib meson setup build-onednn -Donednn_root=$root &&"
  echo "    LD_LIBRARY_PATH=$root/lib ninja -C build-onednn"
  echo "and run with one CPU:"
  echo "  $variables taskset -c 0 build-onednn/tools/dynq"
fi
