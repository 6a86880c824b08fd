"""Findings that were looked at and accepted, in a file that belongs into version control."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.services.assessment.assessment import Assessment
from migratekit_core.services.assessment.rule import Finding

SCHEMA = "migratekit.assess-baseline/1"


class Entry(BaseModel):
    """An accepted finding: by its fingerprint, or (written by hand) by rule and patterns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    vm: str = "*"
    """Inventory path, or a pattern of it (`/DC0/vm/lab/*`); "" for findings about the site."""
    subject: str = "*"
    fingerprint: str | None = None
    reason: str
    expires: date | None = None
    """The last day on which it holds."""

    def accepts(self, found: Finding) -> bool:
        """Return whether this entry means the finding."""
        if self.fingerprint is not None:
            return self.fingerprint == found.fingerprint
        return (
            self.rule == found.rule and fnmatchcase(found.vm_path, self.vm) and fnmatchcase(found.subject, self.subject)
        )


class Baseline(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_name: Literal["migratekit.assess-baseline/1"]
    accepted: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Applied:
    """An assessment without what was accepted, and which entries did nothing."""

    assessment: Assessment
    expired: tuple[Entry, ...]
    unused: tuple[Entry, ...]


def read(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError where it cannot be read or is none."""
    todo = hint("write one with: ", migratekit("assess", "--all", "--write-baseline", "FILE"))
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"baseline {path} cannot be read",
            " ".join(str(error).split()),
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(path)},
        ) from None
    if not isinstance(document, dict):
        raise UsageError(
            f"baseline {path} is none", "it is no mapping", todo, code=ErrorCode.FILE_INVALID, facts={"path": str(path)}
        )
    try:
        return Baseline.model_validate({"schema_name": document.pop("schema", None), **document})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]).replace("schema_name", "schema")
        raise UsageError(
            f"baseline {path} is none",
            f"{where}: {first['msg']}",
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(path)},
        ) from None


def apply(assessment: Assessment, baseline: Baseline, today: date) -> Applied:
    """Take accepted findings out; what expired is a finding again."""
    valid = [entry for entry in baseline.accepted if entry.expires is None or entry.expires >= today]
    expired = [entry for entry in baseline.accepted if entry.expires is not None and entry.expires < today]
    by_fingerprint = {entry.fingerprint: entry for entry in valid if entry.fingerprint is not None}
    by_hand = [entry for entry in valid if entry.fingerprint is None]
    kept, accepted, used = [], [], set()
    for found in assessment.findings:
        entry = by_fingerprint.get(found.fingerprint)
        entry = entry or next((entry for entry in by_hand if entry.accepts(found)), None)
        if entry is None:
            kept.append(found)
        else:
            accepted.append(found)
            used.add(entry)
    # An entry may be about machines that this run did not look at: that is no news.
    unused = [entry for entry in valid if entry not in used]
    cleaned = replace(assessment, findings=tuple(kept), accepted=tuple(accepted))
    return Applied(cleaned, tuple(expired), tuple(unused))


def write(path: Path, findings: Iterable[Finding], reason: str, expires: date | None, earlier: Baseline | None) -> int:
    """Write a baseline that accepts these findings; return how many. Reasons of earlier entries are kept.

    Raises UsageError where the file cannot be written.
    """
    known = {entry.fingerprint: entry for entry in (earlier.accepted if earlier else ()) if entry.fingerprint}
    by_hand = [entry for entry in (earlier.accepted if earlier else ()) if entry.fingerprint is None]
    entries = list(by_hand)
    for found in findings:
        if any(entry.accepts(found) for entry in by_hand):
            continue
        entries.append(known.get(found.fingerprint) or _entry(found, reason, expires))
    rows = [_row(entry) for entry in entries]
    text = yaml.safe_dump({"schema": SCHEMA, "accepted": rows}, sort_keys=False, allow_unicode=True, width=120)
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(
            f"baseline {path} cannot be written",
            error.strerror or str(error),
            "name another file",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(path)},
        ) from None
    return len(entries)


def _entry(found: Finding, reason: str, expires: date | None) -> Entry:
    return Entry(
        rule=found.rule,
        vm=found.vm_path,
        subject=found.subject,
        fingerprint=found.fingerprint,
        reason=reason,
        expires=expires,
    )


def _row(entry: Entry) -> dict[str, Any]:
    return {key: value for key, value in entry.model_dump().items() if value is not None}
