"""The stand-in for VMware's VDDK: its folder, as an operator has one, and what was called in it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common.files import write_private

HERE = Path(__file__).parent
BUILT = HERE.parents[2] / ".lab" / "vddk"
PLUGIN = BUILT / "nbdkit-vddk-plugin.so"
LIBRARY = "lib64/libvixDiskLib.so.8"
LARGEST_SECTORS = (2 << 20) // 512


@dataclass(frozen=True)
class Vddk:
    """An unpacked stand-in."""

    libdir: Path

    @property
    def settings(self) -> dict[str, str]:
        """Return the environment that has a command read through it."""
        return {
            "MIGRATEKIT_SOURCE__VDDK__LIBDIR": str(self.libdir),
            "MIGRATEKIT_SOURCE__VDDK__PLUGIN": str(PLUGIN),
            "MIGRATEKIT_SOURCE__READER": "vddk",
        }

    def calls(self) -> list[list[str]]:
        """Return what was called: `open PID PATH`, `read PID START SECTORS`, `close PID`."""
        log = self.libdir / "calls"
        return [line.split(" ", 3) for line in log.read_text().splitlines()] if log.exists() else []

    def forget(self) -> None:
        """Forget what was called."""
        (self.libdir / "calls").unlink(missing_ok=True)

    def lose_session(self) -> None:
        """Have the next read find its session lost."""
        (self.libdir / "lose-session").touch()

    @property
    def loses_session(self) -> bool:
        """Return whether that is still to come."""
        return (self.libdir / "lose-session").exists()

    def most_at_once(self) -> int:
        """Return how many disks were open at the same time."""
        now = most = 0
        for name, *_ in self.calls():
            now += {"open": 1, "close": -1}.get(name, 0)
            most = max(most, now)
        return most


def unpack(libdir: Path, datastores: Path) -> Vddk:
    """Put the library into a folder, with what it has to know of the lab."""
    (libdir / "lib64").mkdir(parents=True, mode=0o700)
    (libdir / LIBRARY).symlink_to(BUILT / LIBRARY)
    lines = [sys.executable, str(HERE / "answer.py"), str(datastores), str(libdir / "calls")]
    write_private(libdir / "lab.conf", "\n".join(lines) + "\n")
    return Vddk(libdir)
