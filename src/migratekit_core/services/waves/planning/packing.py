"""Puts groups into waves: none larger than it may be, none before what it needs, hosts and datastores evenly used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from migratekit_core.adapters.vsphere.inventory.filters import any_fits
from migratekit_core.common.units import human_bytes
from migratekit_core.services.waves.planning.candidates import Candidate
from migratekit_core.services.waves.planning.dependencies import Edges, circles, in_order, stages
from migratekit_core.services.waves.rules import Rules, Sizes

Fits = Callable[[Sequence[tuple[Candidate, str]]], bool]
"""Whether machines, each with its OMA, take no longer than a wave may."""


@dataclass(frozen=True)
class Unit:
    """Machines that stay together."""

    key: str
    groups: tuple[str, ...]
    machines: tuple[Candidate, ...]

    @property
    def data(self) -> int:
        """Return the bytes of its first syncs."""
        return sum(each.data for each in self.machines)


@dataclass
class Load:
    """A wave while it is filled."""

    chosen: list[tuple[Candidate, str]] = field(default_factory=list)
    """Machines, each with its OMA."""
    by_host: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_store: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def data(self) -> int:
        """Return the bytes of its first syncs."""
        return sum(each.data for each, _ in self.chosen)

    def growth(self, machines: Iterable[Candidate]) -> int:
        """Return by how many bytes the busiest host and the busiest datastore would get busier."""
        hosts, stores = Counter(self.by_host), Counter(self.by_store)
        _add(hosts, stores, machines)
        return _most(hosts) - _most(self.by_host) + _most(stores) - _most(self.by_store)

    def placed(self, machines: Iterable[Candidate], sizes: Sizes) -> list[tuple[Candidate, str]] | None:
        """Return what would be in it with these machines, each with its OMA; None where there is no room."""
        both = list(self.chosen)
        disks: Counter[str] = Counter()
        data: Counter[str] = Counter()
        for each, oma in both:
            disks[oma] += each.disks
            data[oma] += each.data
        # The largest first: they have the least choice.
        for each in sorted(machines, key=lambda one: (-one.disks, -one.data, one.name)):
            open_omas = [oma for oma in each.omas if disks[oma] + each.disks <= sizes.oma_disks]
            if not open_omas:
                return None
            oma = min(open_omas, key=lambda name: (data[name], each.omas.index(name)))
            disks[oma] += each.disks
            data[oma] += each.data
            both.append((each, oma))
        too_many = len(both) > sizes.machines
        too_much = sizes.data is not None and len(both) > 1 and sum(each.data for each, _ in both) > sizes.data
        return None if too_many or too_much else both

    def take(self, chosen: list[tuple[Candidate, str]]) -> None:
        """Hold these machines now."""
        before = {each.uuid for each, _ in self.chosen}
        _add(self.by_host, self.by_store, (each for each, _ in chosen if each.uuid not in before))
        self.chosen = chosen


def units(candidates: Iterable[Candidate], needs: Edges) -> tuple[dict[str, Unit], dict[str, set[str]], list[str]]:
    """Return what stays together, which of them each needs (by key), and what is to be said about it.

    Groups that need each other stay together.
    """
    machines = {each.name: each for each in candidates}
    members: dict[str, list[Candidate]] = {}
    for each in machines.values():
        members.setdefault(each.group, []).append(each)
    edges: dict[str, set[str]] = {group: set() for group in members}
    for name, needed in needs.items():
        edges[machines[name].group] |= {machines[other].group for other in needed}
    found: dict[str, Unit] = {}
    of_group: dict[str, str] = {}
    notes = []
    for together in circles(edges):
        key = together[0]
        found[key] = Unit(key, together, tuple(each for group in together for each in members[group]))
        of_group |= dict.fromkeys(together, key)
        if len(together) > 1:
            notes.append(f"groups {', '.join(together)} stay together: they need each other")
    between: dict[str, set[str]] = {key: set() for key in found}
    for group, others in edges.items():
        between[of_group[group]] |= {of_group[other] for other in others} - {of_group[group]}
    return found, between, notes


def pack(
    found: Mapping[str, Unit], between: Mapping[str, set[str]], needs: Edges, rules: Rules, fits: Fits
) -> tuple[list[Load], list[str]]:
    """Return the waves, in order, and what is to be said about them."""
    loads = [Load() for _ in range(_fewest(found.values(), rules.waves))]
    place: dict[str, int] = {}
    notes: list[str] = []
    for key in in_order(between, lambda key: _rank(found[key], rules)):
        unit = found[key]
        first = max((place[other] for other in between[key]), default=0)
        early = _ordered(unit, rules) < len(rules.order)
        number = _put(unit.machines, loads, first, rules.waves, fits, early=early)
        if number is None:
            parts = _torn(unit, needs, rules.waves, fits)
            for part in parts:
                number = _put(part, loads, first, rules.waves, fits, early=True)
                if number is None:
                    number = _alone(part, loads, first, rules.waves, notes)
                first = number
            if len(parts) > 1:
                notes.append(_apart(unit, len(parts), rules.waves))
        assert number is not None, "a unit has machines"
        place[key] = number
    return [load for load in loads if load.chosen], notes


def _fewest(found: Iterable[Unit], sizes: Sizes) -> int:
    """Return how many waves there are at least: opened at once, they are filled evenly."""
    machines = [each for unit in found for each in unit.machines]
    omas = {oma for each in machines for oma in each.omas}
    parts = [
        (len(machines), sizes.machines),
        (sum(each.disks for each in machines), sizes.oma_disks * len(omas)),
        (sum(each.data for each in machines), sizes.data or 0),
    ]
    return max(-(-whole // most) for whole, most in parts if most)


def _put(
    machines: Sequence[Candidate], loads: list[Load], first: int, sizes: Sizes, fits: Fits, *, early: bool
) -> int | None:
    """Put machines into a wave from number `first` on, or into a new one.

    It is the one where they weigh least, or with `early` the first. Return its number; None where not even an empty one
    has room.
    """
    open_waves = []
    for number in range(first, len(loads)):
        chosen = loads[number].placed(machines, sizes)
        if chosen is not None:
            weight = (0, 0) if early else (loads[number].growth(machines), loads[number].data)
            open_waves.append((weight, number, chosen))
    for _, number, chosen in sorted(open_waves, key=lambda each: each[:2]):
        if fits(chosen):
            loads[number].take(chosen)
            return number
    chosen = Load().placed(machines, sizes)
    if chosen is None or not fits(chosen):
        return None
    loads.append(Load())
    loads[-1].take(chosen)
    return len(loads) - 1


def _torn(unit: Unit, needs: Edges, sizes: Sizes, fits: Fits) -> list[list[Candidate]]:
    """Return the parts of a unit that is too large for a wave, so that each comes after what it needs."""
    stage = stages((each.name for each in unit.machines), needs)
    parts: list[list[Candidate]] = [[]]
    for each in sorted(unit.machines, key=lambda one: (stage[one.name], one.group, one.name)):
        chosen = Load().placed([*parts[-1], each], sizes)
        if parts[-1] and (chosen is None or not fits(chosen)):
            parts.append([])
        parts[-1].append(each)
    return parts


def _alone(part: Sequence[Candidate], loads: list[Load], first: int, sizes: Sizes, notes: list[str]) -> int:
    """Put a machine that is too large for any wave into one of its own."""
    [each] = part
    loads.append(Load())
    loads[-1].take([(each, each.omas[0])])
    most = human_bytes(sizes.data) if sizes.data is not None and each.data > sizes.data else "what a wave may take"
    notes.append(f"{each.name} alone is more than a wave may have ({human_bytes(each.data)}; {most}); it has its own")
    assert len(loads) > first, "what it needs is in an earlier one"
    return len(loads) - 1


def _apart(unit: Unit, parts: int, sizes: Sizes) -> str:
    reasons = []
    if len(unit.machines) > sizes.machines:
        reasons.append(f"{len(unit.machines)} machines, a wave has at most {sizes.machines}")
    if sizes.data is not None and unit.data > sizes.data:
        reasons.append(f"{human_bytes(unit.data)}, a wave has at most {human_bytes(sizes.data)}")
    if not reasons:
        disks = sum(each.disks for each in unit.machines)
        reasons.append(f"{disks} disks, an OMA takes {sizes.oma_disks}; or it takes too long")
    return f"group {', '.join(unit.groups)} is torn apart into {parts} parts: {'; '.join(reasons)}"


def _rank(unit: Unit, rules: Rules) -> tuple[int, int, str]:
    """Return where a unit stands: as the rules order it, then the largest first: they have the least choice."""
    return (_ordered(unit, rules), -unit.data, unit.key)


def _ordered(unit: Unit, rules: Rules) -> int:
    places = [number for number, glob in enumerate(rules.order) if any_fits((glob,), list(unit.groups))]
    return min(places, default=len(rules.order))


def spread(machines: Iterable[Candidate]) -> list[Candidate]:
    """Return machines so that those next to each other are on different hosts and datastores, where they can be.

    Of each host the largest comes first: what takes longest is not begun last.
    """
    queues: dict[tuple[str, str], list[Candidate]] = {}
    for each in sorted(machines, key=lambda one: (one.data, one.name)):
        queues.setdefault((each.vcenter, each.host), []).append(each)
    hosts: Counter[tuple[str, str]] = Counter()
    stores: Counter[tuple[str, str]] = Counter()
    found = []

    def busy(key: tuple[str, str]) -> tuple[int, int, int, tuple[str, str]]:
        nearest = queues[key][-1]
        used = max((stores[nearest.vcenter, name] for name in nearest.datastores), default=0)
        return hosts[key], used, -nearest.data, key

    while queues:
        key = min(queues, key=busy)
        each = queues[key].pop()
        if not queues[key]:
            del queues[key]
        hosts[key] += 1
        stores.update((each.vcenter, name) for name in each.datastores)
        found.append(each)
    return found


def _add(hosts: Counter[tuple[str, str]], stores: Counter[tuple[str, str]], machines: Iterable[Candidate]) -> None:
    for each in machines:
        hosts[each.vcenter, each.host] += each.data
        for name in each.datastores:
            stores[each.vcenter, name] += each.data // max(len(each.datastores), 1)


def _most(counter: Counter[tuple[str, str]]) -> int:
    return max(counter.values(), default=0)
