"""How long the first syncs of a wave take: its machines are copied on paper, within its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.services.assessment.sizing import EFFICIENCY
from migratekit_core.services.waves.model import Estimate, Limits, Machine
from migratekit_core.services.waves.places import Places, needs
from migratekit_core.services.waves.rules import Rates


@dataclass(frozen=True)
class Measured:
    """What earlier syncs took."""

    machine: float
    """Bytes per second of one machine's first sync."""
    basis: str
    """What was measured, in words."""


def estimate(machines: Sequence[Machine], limits: Limits, rates: Rates, measured: Measured | None) -> Estimate | None:
    """Return how long it takes, in order and within the limits; None where no rate is known.

    The link is shared evenly among those that are copied, and none takes more than a machine does.
    """
    each = measured.machine if measured is not None else rates.machine
    caps = [cap for cap in (rates.link * EFFICIENCY if rates.link else None, limits.bandwidth) if cap]
    link = min(caps) if caps else None
    if each is None and link is None:
        return None
    total = sum(machine.data_bytes for machine in machines)
    seconds = duration(machines, limits, each, link)
    basis = measured.basis if measured is not None else ""
    return Estimate(
        data_bytes=total,
        seconds=round(seconds, 1),
        bytes_per_second=round(total / seconds, 1) if seconds else 0.0,
        rate_from="measured" if measured is not None else "given",
        rate_basis=basis,
    )


def duration(machines: Sequence[Machine], limits: Limits, each: float | None, link: float | None) -> float:
    """Return the seconds until all are copied. `each` and `link` are bytes per second, one of them at least known."""
    waiting = [machine for machine in machines if machine.data_bytes]
    wanted = {machine.uuid: needs(machine, limits, REPLICATE) for machine in waiting}
    left: dict[str, float] = {}
    places = Places()
    now = 0.0
    while waiting or left:
        later = []
        for machine in waiting:
            if places.room(wanted[machine.uuid]):
                places.take(wanted[machine.uuid])
                left[machine.uuid] = float(machine.data_bytes)
            else:
                later.append(machine)
        waiting = later
        shares = [link / len(left)] if link is not None else []
        rate = min([*shares, *([each] if each is not None else [])])
        step = min(left.values()) / rate
        now += step
        for uuid in list(left):
            left[uuid] -= rate * step
            # A byte is less than what floats lose on the way.
            if left[uuid] < 1:
                del left[uuid]
                places.give(wanted[uuid])
    return now
