"""Checks of the demo: each says what it expected and saw, all of them end up in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class CheckError(Exception):
    """A check failed: `NAME: expected …, saw …`."""


class Checks:
    """What was checked, measured and identified."""

    def __init__(self) -> None:
        self._done: list[dict[str, Any]] = []
        self._figures: dict[str, Any] = {}
        self.identifiers: dict[str, Any] = {}

    @property
    def count(self) -> int:
        """Return how many checks passed."""
        return sum(check["ok"] for check in self._done)

    def equal(self, name: str, expected: Any, seen: Any) -> None:
        """Check that what was seen is what was expected."""
        self._record(name, expected == seen, f"{expected}", f"{seen}")

    def true(self, name: str, holds: bool, seen: str) -> None:
        """Check that something holds; `seen` describes it."""
        self._record(name, holds, "it to hold", seen)

    def figure(self, name: str, value: Any) -> None:
        """Keep a figure for the report."""
        self._figures[name] = value

    def identify(self, **identifiers: Any) -> None:
        """Keep identifiers for the report."""
        self.identifiers.update(identifiers)

    def write(self, path: Path, result: str, line: str, seconds: float) -> None:
        """Write the report."""
        report = {
            "result": result,
            "summary": line,
            "seconds": round(seconds, 3),
            "checks": self._done,
            "figures": self._figures,
            "identifiers": self.identifiers,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2, default=sorted) + "\n")

    def _record(self, name: str, ok: bool, expected: str, seen: str) -> None:
        self._done.append({"check": name, "ok": ok, "expected": expected, "seen": seen})
        if not ok:
            raise CheckError(f"{name}: expected {expected}, saw {seen}")
        print(f"  ok: {name}", flush=True)
