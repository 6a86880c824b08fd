"""One login at vCenter, and everything that `doctor` wants to know from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

from migratekit_core.adapters.vsphere import client, inventory
from migratekit_core.adapters.vsphere.patience import CallMode, in_mode
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config
from migratekit_core.services.assessment.privileges import Lacking, read_lacking

SAMPLE = 25
"""Machines whose privileges are asked about; `assess --all` asks about every one."""


@dataclass(frozen=True)
class Look:
    """What vCenter said."""

    product: str
    ahead: float
    """Seconds that its clock is ahead of this host's; negative: behind."""
    uncertainty: float
    """How far off `ahead` may be."""
    machines: int
    """How many of the machines that the account sees were asked about; at most SAMPLE."""
    lacking: tuple[Lacking, ...]
    problem: str
    """Why privileges are not known; "" where they are."""


def look(config: Config) -> Look:
    """Return what vCenter says, now: nothing is asked again. Raises UsageError, AuthError, UnreachableError."""
    require(config, "vcenter")
    assert config.vcenter is not None, "require has seen to it"
    with in_mode(CallMode(at_once=True)), client.connect(config.vcenter) as service:
        about = service.RetrieveContent().about
        before = time.time()
        theirs = service.CurrentTime().timestamp()
        after = time.time()
        machines = tuple(islice(inventory.list_vms(service), SAMPLE))
        lacking: tuple[Lacking, ...] = ()
        problem = ""
        try:
            with client.faults("the privilege check"):
                lacking = read_lacking(service, machines)
        except MigrateKitError as error:
            problem = error.why
    product = f"{about.fullName or about.name}"
    return Look(product, theirs - (before + after) / 2, (after - before) / 2, len(machines), lacking, problem)
