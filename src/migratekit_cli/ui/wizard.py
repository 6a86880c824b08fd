"""Asks, on a terminal, where each network goes that is not mapped yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migratekit_cli.ui import plain
from migratekit_cli.ui.ask import text

if TYPE_CHECKING:
    from migratekit_core.services.networks.model import Entry
    from migratekit_core.services.networks.overview import Overview, Source

LEAVE_OUT, SKIP = "-", ""


def ask(found: Overview) -> tuple[Entry, ...]:
    """Return what was answered. What is skipped stays unmapped."""
    from migratekit_core.services.networks.model import Entry

    entries: list[Entry] = []
    if not found.unmapped:
        plain.err("every network is mapped")
        return ()
    names = Counter(source.name for source in found.sources)
    about = ["Networks of CloudStack:"]
    about += [f"  {number:2}  {goal.name}  {goal.type} {goal.cidr}" for number, goal in enumerate(found.goals, 1)]
    about.append("Answer with a number or a name; - leaves its cards out; Enter skips it.")
    for number, source in enumerate(found.unmapped, 1):
        target = _answer(found, [*about, "", f"[{number}/{len(found.unmapped)}] {_described(source)}"])
        about = []
        if target != SKIP:
            # Networks of one name are told apart by their paths.
            key = source.path if names[source.name] > 1 and source.path else source.name
            entries.append(Entry(key, None if target == LEAVE_OUT else target, origin="wizard"))
    return tuple(entries)


def _described(source: Source) -> str:
    machines = ", ".join(dict.fromkeys(card.vm for card in source.cards))
    gone = ", which is gone or not visible" if source.state == "deleted" else ""
    return f"{source.path or source.name} ({source.kind}{gone}), used by {machines}"


def _answer(found: Overview, about: Sequence[str]) -> str:
    """Return the name (or, where several have it, the id) of a network, LEAVE_OUT or SKIP; ask until one is meant."""
    names = Counter(goal.name for goal in found.goals)
    while True:
        said = text("  goes to", default="", about=about)
        if said in (LEAVE_OUT, SKIP):
            return said
        numbered = found.goals[int(said) - 1 : int(said)] if said.isdecimal() and int(said) > 0 else ()
        meant = numbered or [goal for goal in found.goals if said in (goal.id, goal.name)]
        if len(meant) == 1:
            return meant[0].name if names[meant[0].name] == 1 else meant[0].id
        about = [f"  {said!r} is none of them"]
