"""What a plan is made of: machines of vSphere or of files, and what keeps some of them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.config.profiles import chosen
from migratekit_core.config.schema import Config
from migratekit_core.services.assessment import baseline as baselines
from migratekit_core.services.assessment.assessment import assess
from migratekit_core.services.assessment.collect import collect, read_document
from migratekit_core.services.assessment.rule import Severity
from migratekit_core.services.assessment.sizing import BY_TAG
from migratekit_core.services.waves.planning.candidates import BLOCKED, TAKEN, Found
from migratekit_core.services.waves.rules import Rules

ASSESS_SCHEMA = "migratekit.assess/1"
KeptOut = dict[tuple[str, str], tuple[str, str]]
"""Kind and reason, by vCenter and managed object id."""


@dataclass(frozen=True)
class Inventory:
    """Where machines are read: a `discover --output json` file (`-`: stdin), or the vCenter of a profile."""

    vcenter: str = ""
    file: Path | None = None


def parse(text: str) -> Inventory:
    """Return what `FILE` or `VCENTER=FILE` means."""
    name, equals, path = text.partition("=")
    return Inventory(name, Path(path)) if equals and "/" not in name else Inventory("", Path(text))


def gather(
    config: Config, inventories: Sequence[Inventory], rules: Rules, accepted: Path | None = None
) -> tuple[list[Found], KeptOut]:
    """Return all machines, and those that a finding of assess blocks. Only reads.

    `accepted`: a baseline of findings that block nothing. Raises what reading raises.
    """
    baseline = baselines.read(accepted) if accepted is not None else None
    machines: list[Found] = []
    blocked: KeptOut = {}
    for each in inventories:
        site = collect(chosen(config, each.vcenter), (), everything=True, offline=each.file, with_tags=asks_tags(rules))
        machines += [Found(vm, each.vcenter) for vm in site.chosen]
        found = assess(site)
        if baseline is not None:
            found = baselines.apply(found, baseline, date.today()).assessment
        by_uuid = {(vm.uuid, vm.path): vm.moref for vm in site.chosen}
        for finding in found.findings:
            moref = by_uuid.get((finding.vm_uuid, finding.vm_path))
            if finding.severity is Severity.BLOCKER and moref is not None:
                blocked.setdefault(
                    (each.vcenter, moref), (BLOCKED, f"{finding.rule}: {finding.what}: {finding.message}")
                )
    return machines, blocked


def judged(path: Path, machines: Sequence[Found]) -> KeptOut:
    """Return what an `assess --output json` document says is blocked. Raises UsageError where it is none."""
    todo = hint("write one with: ", migratekit("assess", "--all", "--output", "json"), " > assessment.json")
    document = read_document(path, ASSESS_SCHEMA, "assessment", todo)
    try:
        verdicts = {(each["vm_uuid"], each["vm_path"]): each["verdict"] for each in document["machines"]}
        reasons: dict[tuple[str, str], str] = {}
        for each in document["findings"]:
            if each["severity"] == Severity.BLOCKER.value:
                key = (each["vm_uuid"], each["vm_path"])
                reasons.setdefault(key, f"{each['rule']}: {each['what']}: {each['message']}")
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no assessment",
            f"it lacks {error}",
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(path)},
        ) from None
    found: KeptOut = {}
    for each in machines:
        key = (each.vm.uuid, each.vm.path)
        if verdicts.get(key) == "blocked":
            found[each.vcenter, each.vm.moref] = (BLOCKED, reasons.get(key, "blocked"))
        elif key not in verdicts:
            found[each.vcenter, each.vm.moref] = (BLOCKED, f"{path.name} does not know it: assess it, too")
    return found


def not_free(machines: Sequence[Found], taken: Mapping[str, str]) -> KeptOut:
    """Return the machines that are in another wave or failed over; `taken` has the reasons by instanceUuid."""
    return {(each.vcenter, each.vm.moref): (TAKEN, taken[each.vm.uuid]) for each in machines if each.vm.uuid in taken}


def asks_tags(rules: Rules) -> bool:
    """Return whether the rules ask for tags, which are read only then."""
    matches: list[Any] = [rules.select, *rules.leave_out, *rules.groups.values(), *rules.places]
    return any(by.startswith(BY_TAG) for by in rules.group_by) or any(match.tags for match in matches)
