"""Reads and writes wave files. docs/waves.md describes them, docs/schemas/wave.json is their schema."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from migratekit_core.common.files import write_private
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.services.waves import documents
from migratekit_core.services.waves.documents import Document, Place
from migratekit_core.services.waves.model import ADAPTER, SCHEMA, Wave

TODO = hint("make one with: ", migratekit("wave", "plan"), "; docs/waves.md describes it")


def load(path: Path) -> Wave:
    """Return the wave of a file. Raises UsageError, naming every mistake with its line."""
    return _checked(documents.read(path, "wave file", SCHEMA, TODO))


def loads(text: str, what: str = "wave file") -> Wave:
    """Return the wave of a text; `what` names it in messages. Raises as `load`."""
    return _checked(documents.parse(text, what, SCHEMA, TODO))


def dumps(wave: Wave) -> str:
    """Return the text of a wave file; loaded, it is the same wave. Of a machine, defaults are left out."""
    content = _plain(wave)
    machines = content.pop("machines")
    whole = ADAPTER.dump_python(wave, mode="json")
    shown = {key: whole[key] for key in whole if key in content or key in ("must_pass", "limits")}
    return documents.write(SCHEMA, {**shown, "machines": machines})


def save(wave: Wave, path: Path) -> None:
    """Write a wave file, readable for its owner only. Raises UsageError where it cannot be written."""
    write_private(path, dumps(wave))


def digest(wave: Wave) -> str:
    """Return what tells this wave from one that differs in anything (64 characters)."""
    # Without defaults: a setting that a later version adds does not make another wave of it.
    return hashlib.sha256(json.dumps(_plain(wave), sort_keys=True).encode()).hexdigest()


def _plain(wave: Wave) -> dict[str, Any]:
    plain: dict[str, Any] = ADAPTER.dump_python(wave, mode="json", exclude_defaults=True)
    return plain


def _checked(document: Document) -> Wave:
    wave = documents.check(document, ADAPTER, TODO)
    mistakes = _mistakes(wave)
    if mistakes:
        raise document.error(mistakes, TODO)
    return wave


def _mistakes(wave: Wave) -> list[tuple[Place, str]]:
    """Return what contradicts itself, and where."""
    found: list[tuple[Place, str]] = []
    stages = {machine.name: machine.stage for machine in wave.machines}
    for key in ("name", "uuid"):
        seen = Counter(getattr(machine, key) for machine in wave.machines)
        found += [
            (
                ("machines", number, key),
                f"{getattr(machine, key)!r} stands in the wave {seen[getattr(machine, key)]} times",
            )
            for number, machine in enumerate(wave.machines)
            if seen[getattr(machine, key)] > 1
        ]
    for number, machine in enumerate(wave.machines):
        for position, name in enumerate(machine.depends_on):
            place = ("machines", number, "depends_on", position)
            if name not in stages:
                found.append((place, f"{name!r} is no machine of this wave"))
            elif stages[name] >= machine.stage:
                found.append(
                    (place, f"{name!r} is in stage {stages[name]}; it has to be in one before {machine.stage}")
                )
        if machine.networks and machine.networks not in wave.networks:
            known = ", ".join(wave.networks) or "none"
            found.append((("machines", number, "networks"), f"{machine.networks!r} is none of the wave's: {known}"))
    if wave.name in wave.after:
        found.append((("after",), "the wave cannot wait for itself"))
    window = wave.window
    if window.not_before and window.not_after and window.not_before >= window.not_after:
        found.append((("window", "not_after"), "it is not after not_before"))
    return found
