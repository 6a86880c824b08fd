"""sdist and wheel; and what the wheel needs at run time, with the hashes of the lock file."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION.txt").read_text().strip()
DEBIAN_VERSION = VERSION.replace(".dev", "~dev")
"""With Debian, too, a version in development is older than the one that it becomes."""


def build(folder: Path, *kinds: str, source: Path = ROOT) -> list[Path]:
    """Build `sdist`, `wheel` or both of a source tree; return the files."""
    before = set(folder.glob("*")) if folder.exists() else set()
    targets = [word for kind in kinds for word in ("--target", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder.resolve()), *targets]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    return sorted(set(folder.glob("*")) - before)


def run_time() -> set[str]:
    """Return the names of all packages that the program needs here, and those that they need."""
    found: set[str] = set()
    waiting = ["migratekit"]
    while waiting:
        for text in requires(waiting.pop()) or []:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if name not in found:
                found.add(name)
                waiting.append(name)
            for extra in requirement.extras:
                waiting += [name] if _of_extra(name, extra) - found else []
                found |= _of_extra(name, extra)
    return found


def _of_extra(name: str, extra: str) -> set[str]:
    wanted = set()
    for text in requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            wanted.add(canonicalize_name(requirement.name))
    return wanted


def lock(names: set[str]) -> str:
    """Return the part of requirements.lock that pins these packages. Raises ValueError where one is not in it."""
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    pinned = {canonicalize_name(re.split(r"[=\[ ;]", block, maxsplit=1)[0]): block for block in blocks if "==" in block}
    missing = names - pinned.keys()
    if missing:
        raise ValueError(f"requirements.lock lacks {', '.join(sorted(missing))}")
    return "".join(pinned[name] for name in sorted(names))
