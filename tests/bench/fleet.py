"""A wave of 5,000 machines on 64 workers, whose transfer alone is replaced by waiting, beside the ideal schedule."""

from __future__ import annotations

from pathlib import Path

from tests.bench.measure import Row
from tests.fleet import scale


def fleet(folder: Path) -> Row:
    """Measure what the fleet adds to the time that the machines themselves take."""
    done = scale.measure(folder, scale.BIG)
    figures = done.plain()
    more = {
        "machines": f"{done.machines} on {done.workers} workers with {done.slots} slots each",
        "beyond the ideal schedule": f"{figures['beyond_ideal']} s, {figures['beyond_ideal_percent']} %",
        "scheduler's CPU for each machine": f"{figures['scheduler_cpu_ms_per_machine']} ms",
        "workers' CPU for each machine": f"{figures['workers_cpu_ms_per_machine']} ms",
        "scheduler's memory": f"{done.scheduler_memory >> 20} MiB, {done.memory_before >> 20} MiB before",
    }
    what = f"a wave of {done.machines} machines, whose transfer is replaced by waiting"
    return Row("fleet", what, "the ideal schedule", [done.seconds], [done.ideal], 0, "0.9", more)
