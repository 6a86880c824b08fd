"""Stand-ins for what converts a guest: real programs on PATH, which write to the disks that they are given.

The real ones need a kernel of their own and minutes without KVM; the nox session `conversion` runs them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MARK = b"converted by the stand-in\n"
MARK_AT = 8192
"""Where on each disk the mark is written."""
TOOL = """\
#!/bin/bash
# Writes to every disk of the description that it is given, as the real tool does, unless it was told to fail half-way.
set -e
echo "[   0.0] Setting up the source: $*"
for disk in $(grep -o 'file="[^"]*"' "${@: -1}" | cut -d'"' -f2); do
  head -c 3000000 /dev/urandom | dd of="$disk" bs=4k seek=64 conv=notrunc status=none
  if [ "$STAND_IN" = fail ]; then
    echo "virt-v2v-in-place: error: inspection could not detect the source guest"
    exit 1
  fi
  printf '%s' "$STAND_IN_MARK" | dd of="$disk" bs=1 seek=8192 conv=notrunc status=none
done
if [ "$STAND_IN" = hang ]; then
  touch "$STAND_IN_FLAG"
  sleep 600
fi
echo "[   9.0] Finishing off"
"""
LOOK = """\
#!/bin/sh
# libguestfs' shell, of a disk that it can read and in which it finds nothing.
cat >/dev/null
"""


@dataclass(frozen=True)
class Tool:
    """The stand-in, and how commands find it."""

    folder: Path
    flag: Path

    def setting(self, does: str) -> dict[str, str]:
        """Return the environment of a command whose tool does this: `work`, `fail` or `hang`."""
        return {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "STAND_IN": does,
            "STAND_IN_FLAG": str(self.flag),
            "STAND_IN_MARK": MARK.decode(),
            # Hosts of tests have no kernel for libguestfs; that is looked for in a test of its own.
            "SUPERMIN_KERNEL": "/stand-in",
        }

    @classmethod
    def make(cls, folder: Path) -> Tool:
        """Put the stand-ins into a folder of their own below this one."""
        programs = folder / "bin"
        programs.mkdir()
        for name, text in (("virt-v2v-in-place", TOOL), ("guestfish", LOOK)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        return cls(programs, folder / "hangs")


def converted(volume: Path) -> bool:
    """Return whether a volume is one that the stand-in has converted."""
    with volume.open("rb") as file:
        file.seek(MARK_AT)
        return file.read(len(MARK)) == MARK
