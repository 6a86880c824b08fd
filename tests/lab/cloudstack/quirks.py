"""The forms in which real management servers answer, and ours does not by itself: a fault asks for one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .call import Work
from .model import Volume
from .state import Cloud, Fault

KEPT = frozenset(
    {"id", "name", "state", "size", "virtualmachineid", "tags", "key", "value", "iscustomized", "resourceid"}
)
"""What no version leaves out of a row where it has a value."""


def numbers_as_text(answer: Any) -> Any:
    """Every number as text, and text that is a number as one."""
    if isinstance(answer, Mapping):
        return {name: numbers_as_text(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [numbers_as_text(value) for value in answer]
    if isinstance(answer, int) and not isinstance(answer, bool):
        return str(answer)
    if isinstance(answer, str) and answer.isdecimal():
        return int(answer)
    return answer


def missing_keys(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A list without its count and with rows of a few keys; a job's result that names its thing and no more."""
    if "jobstatus" in answer:
        result = answer.get("jobresult")
        kept = {"jobstatus": answer["jobstatus"]}
        return kept | ({"jobresult": _only(result, frozenset({"id", "errortext"}))} if result else {})
    rows = {name: [_only(row, KEPT) for row in value] for name, value in answer.items() if isinstance(value, list)}
    return rows or dict(answer)


def _only(value: Any, names: frozenset[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    kept = {name: held for name, held in value.items() if name in names}
    return kept or {name: _only(held, names) for name, held in value.items() if isinstance(held, Mapping)}


def text_result(answer: Mapping[str, Any], *, plain: bool) -> dict[str, Any]:
    """A job's result as text: JSON within JSON, or words."""
    result = answer.get("jobresult")
    if result is None:
        return dict(answer)
    words = str(result.get("errortext", "done")) if plain else json.dumps(result)
    return {**answer, "jobresulttype": "text", "jobresult": words}


def shaped(answer: Mapping[str, Any], fault: Fault | None) -> Mapping[str, Any]:
    """An answer in the form that the fault wants."""
    match fault.mode if fault else "":
        case "numbers-as-text":
            told: dict[str, Any] = numbers_as_text(answer)
            return told
        case "missing-keys":
            return missing_keys(answer)
        case "text-result" | "plain-result" as mode:
            return text_result(answer, plain=mode == "plain-result")
    return answer


def lagging(cloud: Cloud, work: Work, fault: Fault | None, before: Volume | None) -> Work:
    """Work after which the lists go on showing its volume as it was before, for the fault's seconds."""
    if fault is None or fault.mode != "stale-list" or work.instanceid is None:
        return work
    volume_id = work.instanceid
    cloud.stale[volume_id] = (float("inf"), before)

    def run() -> Mapping[str, Any]:
        try:
            return work.run()
        finally:
            cloud.stale[volume_id] = (time.monotonic() + fault.seconds, before)

    return replace(work, run=run)


def listed(cloud: Cloud) -> list[Volume]:
    """The volumes as the lists show them."""
    now = time.monotonic()
    shown = []
    for volume in cloud.volumes.values():
        until, before = cloud.stale.get(volume.id, (0.0, volume))
        seen = before if now < until else volume
        if seen is not None:
            shown.append(seen)
    return shown
