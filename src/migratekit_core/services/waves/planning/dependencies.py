"""Who needs whom: of machines, and of the groups that they are in."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from migratekit_core.adapters.vsphere.inventory.filters import any_fits
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.services.waves.planning.candidates import Candidate, LeftOut
from migratekit_core.services.waves.rules import Globs, Needs, Rules

Edges = dict[str, frozenset[str]]
"""Names of what each needs."""


def machine_needs(
    candidates: Iterable[Candidate], left_out: Iterable[LeftOut], rules: Rules
) -> tuple[Edges, tuple[str, ...]]:
    """Return which machines each machine needs, by name, and what is to be said about it.

    Raises UsageError, naming it, for a circle.
    """
    machines = tuple(candidates)
    out = tuple(left_out)
    needs: defaultdict[str, set[str]] = defaultdict(set)
    notes: list[str] = []
    for number, rule in enumerate(rules.depends_on, 1):
        who = _meant(machines, rule.machines, rule.groups)
        whom = _meant(machines, rule.needs, rule.needs_groups)
        gone = [each for each in out if rule.needs and any_fits(rule.needs, [each.vm, each.vm_path])]
        if who and gone:
            names = ", ".join(f"{each.vm} ({each.kind}: {each.why})" for each in gone)
            notes.append(f"{_some(who)} {'need' if len(who) > 1 else 'needs'} what is in no wave: {names}")
        if not who or not (whom or gone):
            notes.append(f"depends_on[{number}] {_what(rule, who)} no machine that is to be moved")
        for name in who:
            needs[name] |= {other for other in whom if other != name}
    edges = {each.name: frozenset(needs[each.name]) for each in machines}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        # graphlib tells it from what is needed to who needs it.
        circle = " needs ".join(reversed(error.args[1]))
        raise UsageError(
            "the dependencies go round in a circle",
            circle,
            "take one of them out of depends_on in the rule file",
            code=ErrorCode.WAVE_INVALID,
        ) from None
    return edges, tuple(notes)


def stages(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the stage of each machine: 1, or one more than the highest of those of them that it needs."""
    inside = set(names)
    edges = {name: [other for other in needs[name] if other in inside] for name in inside}
    found: dict[str, int] = {}
    for name in TopologicalSorter(edges).static_order():
        found[name] = 1 + max((found[other] for other in edges[name]), default=0)
    return found


def circles(edges: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Return the nodes put together where each leads to each other (Kosaraju's algorithm), each one's in order."""
    order: list[str] = []
    seen: set[str] = set()
    for node in edges:
        _walk(node, edges, seen, order.append)
    back: defaultdict[str, list[str]] = defaultdict(list)
    for node, others in edges.items():
        for other in others:
            back[other].append(node)
    found = []
    seen = set()
    for node in reversed(order):
        if node not in seen:
            together: list[str] = []
            _walk(node, back, seen, together.append)
            found.append(tuple(sorted(together)))
    return found


def in_order(edges: Mapping[str, Iterable[str]], rank: Callable[[str], Any]) -> list[str]:
    """Return the nodes so that each comes after what it needs, and else by rank, the lowest first."""
    left = {node: set(others) for node, others in edges.items()}
    needed_by: defaultdict[str, list[str]] = defaultdict(list)
    for node, others in left.items():
        for other in others:
            needed_by[other].append(node)
    heap = [(rank(node), node) for node, others in left.items() if not others]
    heapq.heapify(heap)
    done = []
    while heap:
        _, node = heapq.heappop(heap)
        done.append(node)
        for other in needed_by[node]:
            left[other].discard(node)
            if not left[other]:
                heapq.heappush(heap, (rank(other), other))
    assert len(done) == len(left), "circles were put together before"
    return done


def _walk(start: str, edges: Mapping[str, Iterable[str]], seen: set[str], leave: Callable[[str], Any]) -> None:
    """Visit what can be reached, depth first, without recursion; `leave` is called as each node is left."""
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(edges.get(start, ())))]
    while stack:
        node, rest = stack[-1]
        following = next((other for other in rest if other not in seen), None)
        if following is None:
            stack.pop()
            leave(node)
        else:
            seen.add(following)
            stack.append((following, iter(edges.get(following, ()))))


def _meant(machines: tuple[Candidate, ...], names: Globs, groups: Globs) -> list[str]:
    return [
        each.name
        for each in machines
        if (names and any_fits(names, [each.vm.name, each.vm.path])) or (groups and any_fits(groups, [each.group]))
    ]


def _what(rule: Needs, who: list[str]) -> str:
    return "names, as needed," if who else f"({', '.join((*rule.machines, *rule.groups))}) names"


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
