"""How planned waves look: what a file says in a few lines, the table of a plan, and both for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from migratekit_cli.ui import render
from migratekit_cli.ui.render import count
from migratekit_core.common.units import human_bytes, human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.waves.model import Wave
    from migratekit_core.services.waves.planning.plan import Plan

MOST_HOSTS = 3


def document(wave: Wave) -> dict[str, Any]:
    """Return a wave as its file has it, whole."""
    from migratekit_core.services.waves.model import ADAPTER

    plain: dict[str, Any] = ADAPTER.dump_python(wave, mode="json")
    return plain


def table(plan: Plan) -> render.Table:
    """Return a plan as a table."""
    drawn = render.Table(
        "WAVE", "MACHINES", "DATA", "DURATION", "BANDWIDTH", "BEGINS", "AFTER", "BUSIEST HOST", "GROUPS",
        right=("MACHINES", "DATA", "DURATION", "BANDWIDTH"),
    )  # fmt: skip
    for wave in plan.waves:
        begins = f"{wave.window.not_before:%Y-%m-%d %H:%M %Z}" if wave.window.not_before else ""
        hosts = Counter(each.host for each in wave.machines if each.host).most_common(1)
        groups = list(dict.fromkeys(each.group for each in wave.machines))
        more = f" and {len(groups) - MOST_HOSTS} more" if len(groups) > MOST_HOSTS else ""
        drawn.add(
            wave.name,
            len(wave.machines),
            human_bytes(sum(each.data_bytes for each in wave.machines)),
            human_seconds(wave.estimate.seconds) if wave.estimate else "",
            human_rate(wave.estimate.bytes_per_second) if wave.estimate else "",
            begins,
            ", ".join(wave.after),
            f"{hosts[0][0]} ({hosts[0][1]})" if hosts else "",
            ", ".join(groups[:MOST_HOSTS]) + more,
        )
    return drawn


def about(wave: Wave) -> Iterator[str]:
    """Yield what a wave is, in a few lines."""
    data = sum(each.data_bytes for each in wave.machines)
    yield f"wave {wave.name}: {count(len(wave.machines), 'machine')}, {human_bytes(data)}" + (
        f": {wave.description}" if wave.description else ""
    )
    if wave.estimate is not None:
        pace = human_rate(wave.estimate.bytes_per_second)
        yield f"takes about {human_seconds(wave.estimate.seconds)} at {pace} ({rate(wave)})"
    window = wave.window
    if window.not_before or window.not_after:
        begin = window.not_before.isoformat() if window.not_before else "any time"
        yield f"may be begun from {begin}" + (f" until {window.not_after.isoformat()}" if window.not_after else "")
    if wave.after:
        yield f"is cut over after {', '.join(wave.after)}"
    passes = [
        name for name, asked in (("verified", wave.must_pass.verify), ("rehearsed", wave.must_pass.rehearse)) if asked
    ]
    if passes:
        yield f"machines are {' and '.join(passes)}; below {wave.must_pass.abort_below:g} % the cut-over is taken back"
    limits = wave.limits
    each = {"ESXi host": limits.esxi_host, "datastore": limits.datastore, "vCenter": limits.vcenter, "OMA": limits.oma}
    told = [f"{most} per {name}" for name, most in each.items() if most is not None]
    told += [f"{limits.oma_disks} disks per OMA"] if limits.oma_disks else []
    told += [human_rate(limits.bandwidth)] if limits.bandwidth else []
    yield f"at most {', '.join(told)}" if told else "without limits"


def rate(wave: Wave) -> str:
    """Return where the rate of an estimate is from."""
    assert wave.estimate is not None, "the caller has looked"
    return wave.estimate.rate_basis or wave.estimate.rate_from


def notes(plan: Plan) -> Iterator[str]:
    """Yield what is to be said of a plan beside its table."""
    machines = sum(len(wave.machines) for wave in plan.waves)
    yield f"{count(machines, 'machine')} in {count(len(plan.waves), 'wave')}, {len(plan.left_out)} left out"
    first = plan.waves[0]
    if first.estimate is None:
        yield "no rate is known, so no duration: give --bandwidth, --history, or rates in the rule file"
    else:
        total = sum(wave.estimate.seconds for wave in plan.waves if wave.estimate)
        yield f"all waves one after another: {human_seconds(total)}; rate: {rate(first)}"
    yield from plan.notes
    for left in plan.left_out:
        yield f"{left.kind}: {left.vm_path or left.vm}: {left.why}"
