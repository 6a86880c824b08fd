"""The rules, one module for each topic. Importing this package registers all of them (`rule.RULES`)."""

from migratekit_core.services.assessment.rules import (  # noqa: F401 (importing them is what registers)
    compute,
    devices,
    disks,
    guest,
    names,
    network,
    permissions,
    placement,
    snapshots,
    state,
    storage,
    target,
    target_machine,
)
