"""How much machines write, by vCenter's own statistics. Nothing is changed to find out.

QueryChangedDiskAreas would be exact, but of a running machine it answers for snapshots only (VMware's API reference:
without one it works for machines that are powered off), and an assessment makes none. What is written is an upper bound
of what changes: a block that is written twice counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from migratekit_core.adapters.vsphere.inventory import VirtualMachine

SAMPLE_SECONDS = 20
"""Interval of the real-time statistics, which every host keeps for an hour."""
LONGEST_SECONDS = 3600
BATCH = 64
"""Machines in one question (vCenter's config.vpxd.stats.maxQueryMetrics is 64 by default)."""
KIB = 1024
_GROUP, _COUNTER, _ROLLUP = "virtualDisk", "write", "average"
"""KB per second, of each virtual disk."""


def write_rates(service: Any, machines: Sequence[VirtualMachine], seconds: float) -> Mapping[str, float]:
    """Return bytes written per second in the last `seconds`, by managed object id.

    Machines that are off write nothing; of one that runs and has no statistics there is no entry.
    """
    from pyVmomi import vim

    manager = service.RetrieveContent().perfManager
    counter = next(
        (
            each.key
            for each in manager.perfCounter
            if (each.groupInfo.key, each.nameInfo.key, str(each.rollupType)) == (_GROUP, _COUNTER, _ROLLUP)
        ),
        None,
    )
    rates = {vm.moref: 0.0 for vm in machines if vm.power != "poweredOn"}
    if counter is None:
        return rates
    samples = max(1, math.ceil(min(seconds, LONGEST_SECONDS) / SAMPLE_SECONDS))
    metric = vim.PerformanceManager.MetricId(counterId=counter, instance="*")
    running = [vm for vm in machines if vm.power == "poweredOn"]
    for batch in _batches(running):
        specs = [
            vim.PerformanceManager.QuerySpec(
                entity=vim.VirtualMachine(vm.moref, service._stub),
                metricId=[metric],
                intervalId=SAMPLE_SECONDS,
                maxSample=samples,
            )
            for vm in batch
        ]
        for answer in manager.QueryPerf(querySpec=specs):
            series = [[value for value in disk.value if value >= 0] for disk in answer.value]
            known = [values for values in series if values]
            if known:
                rates[answer.entity._moId] = sum(sum(values) / len(values) for values in known) * KIB
    return rates


def _batches(machines: Sequence[VirtualMachine]) -> Iterator[Sequence[VirtualMachine]]:
    for start in range(0, len(machines), BATCH):
        yield machines[start : start + BATCH]
