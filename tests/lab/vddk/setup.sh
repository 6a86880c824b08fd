#!/usr/bin/env bash
# Builds the two halves of the VDDK reader's tests into .lab/vddk: nbdkit's real vddk plugin, which Debian 12 has no
# package of, from Debian's source of nbdkit; and the stand-in for VMware's library. Safe to repeat.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
die() { printf 'setup: %s\n       %s\n' "$1" "$2" >&2; exit 1; }

out=$PWD/.lab/vddk
wanted=$(cat tests/lab/vddk/setup.sh tests/lab/vddk/vixdisklib.c | sha256sum | cut -d' ' -f1)
[[ -e $out/lib64/libvixDiskLib.so.8 && -e $out/nbdkit-vddk-plugin.so && $(cat "$out/sum" 2>/dev/null) == "$wanted" ]] && exit 0
printf 'setup: building the VDDK plugin and its stand-in library\n' >&2
mkdir -p "$out/lib64"

gcc -shared -fPIC -O2 -Wall -Wextra -Werror -Wl,-soname,libvixDiskLib.so.8 -o "$out/lib64/libvixDiskLib.so.8" \
  tests/lab/vddk/vixdisklib.c -lpthread

if [[ ! -e $out/nbdkit-vddk-plugin.so ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial"
  # Whatever mirror this machine uses, and only lists of our own: apt's stay as they are.
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/\?$' || true)
  [[ -n $mirror ]] || die "no Debian mirror is configured" "apt-get indextargets names none"
  # Debian 12's own source of nbdkit is no longer on every mirror; the plugin of the next release works with its nbdkit.
  printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$mirror" >"$work/sources.list"
  apt=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o APT::Sandbox::User=root)
  {
    apt-get "${apt[@]}" update && (cd "$work" && apt-get "${apt[@]}" source --download-only nbdkit)
  } >"$work/log" 2>&1 || { tail -n 10 "$work/log" >&2; die "nbdkit's source cannot be had" "see above"; }
  mkdir "$work/nbdkit"
  tar -xf "$work"/nbdkit_*.orig.tar.* -C "$work/nbdkit" --strip-components=1
  common=$work/nbdkit/common
  touch "$work/config.h"
  gcc -shared -fPIC -O2 -w -D_GNU_SOURCE -DHAVE_DLADDR -DHAVE_POSIX_MEMALIGN -DPACKAGE_VERSION='"lab"' \
    -DVDDK_LIBDIR='"/usr/lib/vmware-vix-disklib"' -include stdlib.h \
    -I"$work" -I"$common/include" -I"$common/utils" -I"$common/replacements" \
    "$work"/nbdkit/plugins/vddk/*.c "$common"/utils/{cleanup,cleanup-nbdkit,vector}.c \
    -o "$out/nbdkit-vddk-plugin.so" -lpthread
fi
printf '%s' "$wanted" >"$out/sum"
