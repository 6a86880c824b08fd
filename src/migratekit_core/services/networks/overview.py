"""Networks on both sides, the mapping between them, and what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.vsphere.inventory import Nic, VirtualMachine
from migratekit_core.services.networks.model import Entry, NetworkMap

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """A card, where it is now, and where it goes."""

    vm: str
    vm_path: str
    label: str
    mac: str
    connected: bool
    network: str
    """Its network's name, "" where it has none."""
    unresolved: str
    """Why it has none."""
    target: str | None
    """None: it is left out, or nothing says where it goes (`problem`)."""
    origin: str
    """config, file, by-name, wizard or set; "" where nothing says anything."""
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A network of the source."""

    name: str
    path: str
    """Inventory path; "" where it is gone or not visible."""
    kind: str
    state: str
    record: tuple[str, ...]
    """Other names that machines have on record for it."""
    cards: tuple[Card, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Return where its cards go."""
        return tuple(dict.fromkeys(card.target for card in self.cards if card.target))

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with its cards, each once."""
        return tuple(dict.fromkeys(card.problem for card in self.cards if card.problem))


@dataclass(frozen=True)
class Goal:
    """A network of the cloud."""

    id: str
    name: str
    type: str
    cidr: str
    gateway: str
    state: str
    used_by: tuple[str, ...]
    """Names of the source networks that go there."""


@dataclass(frozen=True)
class Overview:
    """Everything about networks."""

    sources: tuple[Source, ...]
    unresolved: tuple[Card, ...]
    """Cards without a network."""
    goals: tuple[Goal, ...]
    overridden: tuple[Entry, ...]
    """Stored entries that the configuration has a line of its own for."""
    unused: tuple[Entry, ...]
    """Entries that mean no card."""

    @property
    def cards(self) -> tuple[Card, ...]:
        """Return all cards."""
        return (*(card for source in self.sources for card in source.cards), *self.unresolved)

    @property
    def complete(self) -> bool:
        """Return whether each card has a network to go to, or is left out."""
        return not any(card.problem for card in self.cards)

    @property
    def unmapped(self) -> tuple[Source, ...]:
        """Return the networks with cards that nothing says anything about."""
        return tuple(source for source in self.sources if any(not card.origin for card in source.cards))


def overview(machines: Iterable[VirtualMachine], goals: Iterable[Row], mapping: NetworkMap) -> Overview:
    """Return what is there and what is incomplete. `goals`: rows of listNetworks."""
    rows = list(goals)
    groups: dict[tuple[str, str], list[tuple[Nic, Card]]] = {}
    unresolved: list[Card] = []
    used: set[Entry] = set()
    for vm in machines:
        taken: dict[str, str] = {}
        for nic in vm.nics:
            entry = mapping.of(vm, nic)
            used |= {entry} if entry is not None else set()
            card = _card(vm, nic, entry, rows, taken)
            if nic.network:
                groups.setdefault((nic.network_path or nic.network, nic.network_kind), []).append((nic, card))
            else:
                unresolved.append(card)
    sources = tuple(_source(members) for _, members in sorted(groups.items()))
    return Overview(
        sources=sources,
        unresolved=tuple(unresolved),
        goals=tuple(_goal(row, sources) for row in sorted(rows, key=lambda row: str(row.get("name")))),
        overridden=tuple(mapping.overridden()),
        unused=tuple(entry for entry in mapping.entries if entry not in used),
    )


def find_goal(rows: Iterable[Row], wanted: str) -> Row | str:
    """Return the network of the cloud with this id or name, or what is wrong."""
    found = [row for row in rows if wanted in (row.get("id"), row.get("name"))]
    if len(found) == 1:
        row = found[0]
        return row if row.get("canusefordeploy", True) else f"no machine can be deployed into network {wanted!r}"
    if found:
        ids = ", ".join(str(row.get("id")) for row in found)
        return f"{len(found)} networks of CloudStack are called {wanted!r}: name one by its id ({ids})"
    return f"CloudStack has no network {wanted!r}"


def by_name(found: Overview) -> tuple[Entry, ...]:
    """Return entries for the unmapped networks that the cloud has exactly one network of the same name for.

    Of several networks of one name none is mapped: which of them is meant would be a guess.
    """
    entries = []
    names = Counter(source.name for source in found.sources)
    for source in found.unmapped:
        if names[source.name] > 1:
            continue
        same = [goal for goal in found.goals if goal.name.lower() == source.name.lower()]
        if len(same) == 1:
            entries.append(Entry(source.name, same[0].name, origin="by-name"))
    return tuple(dict.fromkeys(entries))


def _card(vm: VirtualMachine, nic: Nic, entry: Entry | None, rows: list[Row], taken: dict[str, str]) -> Card:
    target, problem = None, ""
    if entry is None:
        problem = nic.unresolved or f"network {nic.network!r} is not mapped"
    elif entry.target is not None:
        row = find_goal(rows, entry.target)
        if isinstance(row, str):
            target, problem = entry.target, row
        else:
            target = str(row.get("name"))
            if str(row.get("id")) in taken:
                problem = f"{taken[str(row.get('id'))]} and {nic.label} of {vm.name} both go to {target!r}"
            taken.setdefault(str(row.get("id")), nic.label)
    return Card(
        vm=vm.name,
        vm_path=vm.path,
        label=nic.label,
        mac=nic.mac,
        connected=nic.connected or nic.start_connected,
        network=nic.network,
        unresolved=nic.unresolved,
        target=target,
        origin=entry.origin if entry is not None else "",
        problem=problem,
    )


def _source(members: list[tuple[Nic, Card]]) -> Source:
    nic = members[0][0]
    records = dict.fromkeys(
        other.network_record for other, _ in members if other.network_record not in ("", nic.network)
    )
    states = [other.network_state for other, _ in members]
    return Source(
        name=nic.network,
        path=nic.network_path,
        kind=nic.network_kind,
        state="renamed" if "renamed" in states else states[0],
        record=tuple(records),
        cards=tuple(card for _, card in members),
    )


def _goal(row: Row, sources: tuple[Source, ...]) -> Goal:
    name = str(row.get("name"))
    return Goal(
        id=str(row.get("id")),
        name=name,
        type=str(row.get("type", "")),
        cidr=str(row.get("cidr") or ""),
        gateway=str(row.get("gateway") or ""),
        state=str(row.get("state", "")),
        used_by=tuple(source.name for source in sources if name in source.targets),
    )
