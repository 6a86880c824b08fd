"""Waves of machines: the whole plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from migratekit_core.adapters.vsphere.inventory import who_is_left_out
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.common.units import human_seconds
from migratekit_core.services.waves.model import Machine, NetworkMap, Wave, Window
from migratekit_core.services.waves.planning import packing
from migratekit_core.services.waves.planning.candidates import BLOCKED, Candidate, Found, LeftOut, sort_out
from migratekit_core.services.waves.planning.dependencies import Edges, machine_needs, stages
from migratekit_core.services.waves.planning.estimate import Measured, estimate
from migratekit_core.services.waves.rules import Rules


@dataclass(frozen=True)
class Plan:
    """What came of it."""

    waves: tuple[Wave, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    """What somebody has to know: groups that were torn apart, dependencies on what is not moved, windows too short."""


def plan(
    machines: Iterable[Found],
    rules: Rules,
    kept_out: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    measured: Measured | None = None,
) -> Plan:
    """Return the waves of these machines.

    `kept_out`: kind and reason, by vCenter and managed object id, of machines that are blocked or taken. Raises
    UsageError for dependencies that go round in a circle, and for a limit of time without a rate; PreconditionError
    where no machine is left.
    """
    machines = tuple(machines)
    candidates, left_out = sort_out(machines, rules, kept_out or {})
    if not candidates:
        why = (
            f"{len(left_out)} are kept out, the first: {left_out[0].vm}: {left_out[0].why}"
            if left_out
            else "no machine fits"
        )
        blocked = any(each.kind == BLOCKED for each in left_out)
        todo = "mend what blocks them, or accept it with --baseline; " if blocked else ""
        todo += "look at select and leave_out of the rule file"
        raise PreconditionError(
            "there is nothing to plan",
            why,
            todo,
            code=ErrorCode.NOTHING_TO_PLAN,
            facts={"left_out": len(left_out)},
        )
    needs, notes = machine_needs(candidates, left_out, rules)
    if own := who_is_left_out(found.vm for found in machines):
        notes = (*notes, f"not planned: {own}")
    _check_rate(rules, measured)

    def fits(chosen: Sequence[tuple[Candidate, str]]) -> bool:
        if rules.waves.duration is None or len(chosen) == 1:
            return True
        found = estimate([each.machine(oma, 1, ()) for each, oma in chosen], rules.limits, rules.rates, measured)
        return found is None or found.seconds <= rules.waves.duration

    found, between, together = packing.units(candidates, needs)
    loads, torn = packing.pack(found, between, needs, rules, fits)
    width = len(str(len(loads)))
    names = [f"{rules.name}-{number:0{width}}" for number in range(1, len(loads) + 1)]
    wave_of = {each.name: name for name, load in zip(names, loads, strict=True) for each, _ in load.chosen}
    waves = []
    for number, (name, load) in enumerate(zip(names, loads, strict=True)):
        whole = _machines(load, needs)
        earlier = {wave_of[other] for each in whole for other in needs[each.name]} - {name}
        window = rules.start.window(number) if rules.start is not None else Window()
        wave = Wave(
            name=name,
            machines=whole,
            after=tuple(each for each in names if each in earlier),
            window=window,
            must_pass=rules.must_pass,
            limits=rules.limits,
            networks=_networks(rules, whole),
            estimate=estimate(whole, rules.limits, rules.rates, measured),
        )
        waves.append(wave)
    said = (*notes, *together, *torn, *(note for wave in waves for note in _too_short(wave)))
    return Plan(tuple(waves), left_out, said)


def _machines(load: packing.Load, needs: Edges) -> tuple[Machine, ...]:
    """Return the machines of a wave in order: by stage, and spread over hosts and datastores."""
    oma = {each.name: name for each, name in load.chosen}
    stage = stages(oma, needs)
    found = []
    for number in sorted(set(stage.values())):
        for each in packing.spread(one for one, _ in load.chosen if stage[one.name] == number):
            inside = sorted(name for name in needs[each.name] if name in oma)
            found.append(each.machine(oma[each.name], number, inside))
    return tuple(found)


def _networks(rules: Rules, machines: Iterable[Machine]) -> dict[str, NetworkMap]:
    used = {machine.networks for machine in machines if machine.networks}
    return {name: mapped for name, mapped in rules.networks.items() if name in used}


def _check_rate(rules: Rules, measured: Measured | None) -> None:
    rates = rules.rates
    if (
        rules.waves.duration is not None
        and measured is None
        and not (rates.link or rates.machine or rules.limits.bandwidth)
    ):
        raise UsageError(
            "waves.duration needs a rate",
            "without one nobody can say how long a wave takes",
            "give --bandwidth 1Gbit/s, --history, or rates in the rule file",
            code=ErrorCode.WAVE_INVALID,
        )


def _too_short(wave: Wave) -> list[str]:
    window, expected = wave.window, wave.estimate
    if expected is None or window.not_before is None or window.not_after is None:
        return []
    length = (window.not_after - window.not_before).total_seconds()
    if expected.seconds <= length:
        return []
    return [f"wave {wave.name} takes about {human_seconds(expected.seconds)}; its window has {human_seconds(length)}"]


def with_rates(rules: Rules, link: float | None) -> Rules:
    """Return the rules with the link's bandwidth of the command line, where it is given."""
    return rules if link is None else replace(rules, rates=replace(rules.rates, link=link))
