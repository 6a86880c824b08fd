"""What a failover or a rehearsal would do, for people and machines; exit 4 where something stands in the way."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migratekit_cli.options import Output
from migratekit_cli.session import as_given
from migratekit_cli.ui import render
from migratekit_core.common.units import human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.failover.outlook import Outlook
    from migratekit_core.services.failover.preflight import Plan

MARKS = {"ok": "ok  ", "warning": "warn", "failed": "FAIL", "unchecked": "?   "}


def show(plan: Plan, output: Output, schema: str) -> None:
    """Write a plan to stdout. Raises RefusedError where it cannot be carried out."""
    render.result(output, schema, data(plan), text="\n".join(lines(plan)))
    refuse(plan)


def refuse(plan: Plan) -> None:
    """Raise RefusedError, with every reason, where a plan cannot be carried out."""
    from migratekit_core.services.failover.checks import RefusedError

    if not plan.ready:
        what = "rehearsed" if plan.outlook is None else "failed over"
        raise RefusedError(f"{plan.vm_name} cannot be {what}", plan.checks)


def data(plan: Plan) -> dict[str, Any]:
    """Return a plan for JSON."""
    return {**render.named(asdict(plan)), "ready": plan.ready}


def lines(plan: Plan) -> list[str]:
    """Return a plan for people."""
    found = [f"{plan.vm_name} becomes {plan.destination_name} in CloudStack"]
    found += [f"  {line}" for line in plan.machine]
    found += [f"  note: {note}" for note in plan.notes]
    found += ["checks"]
    for check in plan.checks:
        found.append(f"  {MARKS[check.state]}  {check.name}: {check.detail}")
        # What to do about the failed ones is the error's, below.
        found += [f"        do: {as_given(check.todo)}"] if check.state == "warning" and check.todo else []
    found += ["steps", *(f"  {number}. {step}" for number, step in enumerate(plan.steps, 1))]
    if plan.calls:
        found += ["calls that change something", *(f"  {call}" for call in plan.calls)]
    return found + _downtime(plan.outlook)


def _downtime(outlook: Outlook | None) -> list[str]:
    if outlook is None:
        return []
    known = outlook.total is not None and outlook.final_sync is not None
    if known:
        assert outlook.total is not None and outlook.final_sync is not None, "known"
        figures = (
            f"expected downtime {human_seconds(outlook.total)}: shutdown {human_seconds(outlook.shutdown)}, "
            f"final sync {human_seconds(outlook.final_sync)}, move and boot {human_seconds(outlook.rest)}"
        )
    else:
        figures = f"expected downtime not known: beside the final sync {human_seconds(outlook.shutdown + outlook.rest)}"
    return [figures, *(f"  {sentence}" for sentence in outlook.basis)]
