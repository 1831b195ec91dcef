# Sourced by quickstart.sh and test.sh: installs Debian packages that are missing.
#
# need PACKAGE...: does nothing when all are installed; otherwise installs them with apt-get, or, where
# that is not possible (not root, no apt), says in one line what to install and exits with 1. Removes
# nothing. PACKAGE:arm64 makes arm64 an architecture whose packages dpkg accepts.
need() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "${0##*/}: please install these packages (Debian names) and run this again: ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}" >&2
  local log
  log=$(mktemp)
  case "${missing[*]}" in *:arm64*) dpkg --add-architecture arm64 ;; esac
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
      --no-remove --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "${0##*/}: apt-get could not install: ${missing[*]}" >&2
    exit 1
  fi
  rm -f "$log"
}

build_packages=(gcc libc6-dev meson ninja-build pkg-config libjansson-dev zlib1g-dev
  libopenblas-dev libdnnl-dev libutf8proc-dev dataset-fashion-mnist)
# A cross compiler, an emulator and what the library and its tests are linked with.
aarch64_packages=(gcc-aarch64-linux-gnu qemu-user libjansson-dev:arm64 zlib1g-dev:arm64
  libutf8proc-dev:arm64)
