"""Where Linux tells of its disks, and where its filters are; tests have their own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common import programs

SECONDS = 120.0
"""How long LVM and mdadm may take to answer."""


@dataclass(frozen=True)
class Linux:
    """A system: everything is looked for below its root."""

    root: Path = Path("/")

    @property
    def sys(self) -> Path:
        """Return sysfs."""
        return self.root / "sys"

    @property
    def proc(self) -> Path:
        """Return procfs."""
        return self.root / "proc"

    @property
    def udev(self) -> Path:
        """Return udev's database: a file for each device."""
        return self.root / "run/udev/data"

    @property
    def here(self) -> bool:
        """Return whether it is the system that runs: commands are run there alone."""
        return self.root == Path("/")

    def at(self, path: Path) -> Path:
        """Return where a file of the system is, named by its absolute path."""
        return self.root / path.relative_to("/")

    def has(self, *names: str) -> bool:
        """Return whether one of some programs is installed."""
        folders = ("usr/sbin", "sbin", "usr/bin", "bin", "usr/lib/systemd", "lib/systemd", "usr/libexec/udisks2")
        return any(os.access(self.root / folder / name, os.X_OK) for folder in folders for name in names)

    def printed(self, name: str, *arguments: str) -> str | None:
        """Return what a program prints; None where it is missing or fails."""
        return programs.printed(name, *arguments, seconds=SECONDS)


def text(file: Path) -> str:
    """Return what is in a file; "" where it cannot be read."""
    try:
        return file.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
