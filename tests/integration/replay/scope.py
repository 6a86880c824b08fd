"""Which recordings are asked of the double, and which are not and why."""

from __future__ import annotations

from migratekit_core.services.assessment.commands import CLOUDSTACK, HELPFUL, OPTIONAL

NAMED = (
    "listTags", "deleteTags", "listVMSnapshot", "listUsers", "listProjects", "expungeVirtualMachine",
    "listCapabilities", "listApis", "queryAsyncJobResult", "updateVirtualMachine", "createTags",
    "noSuchApi",
)  # fmt: skip
"""Commands beside those of the product's table: what its switches, tags and tenants need, and one that is none."""

COMMANDS = frozenset({*(api for apis in CLOUDSTACK.values() for api in apis), *HELPFUL, *OPTIONAL, *NAMED})

NEVER_RECORDED = frozenset({"listApis"})
"""Commands that MigrateKit uses and that no recording asks: the answer would fill the file."""

_CLUSTERS = "the double has one cluster: a volume that is moved to another one with its attach"
_ASSIGNED = "made by assignVirtualMachine, which MigrateKit never calls"
_NO_CALL = "no call, but what a client saw while the server was away"
LEFT_OUT: dict[str, str] = {
    "restart.seen_by_client": _NO_CALL,
    "restart.seen_by_client.crash": _NO_CALL,
    "attachVolume.of_snapshot.to_other_cluster": _CLUSTERS,
    "attachVolume.pool_of_another_cluster.running": _CLUSTERS,
    "attachVolume.pool_of_another_cluster.stopped": _CLUSTERS,
    "attachVolume.pool_of_another_cluster.with_snapshot": _CLUSTERS,
    "attachVolume.during_migration": _CLUSTERS,
    "listVirtualMachines.after_assign": _ASSIGNED,
    "listVirtualMachines.after_assign.old_owner": _ASSIGNED,
}
"""Recordings of commands in scope that the double is not asked, by reason."""

_STATISTICS = "statistics, which the server had collected of machines that had run for minutes"
MAY_BE_ABSENT: dict[str, str] = {
    **{
        f"virtualmachine.{name}": _STATISTICS
        for name in (
            "cpuused", "diskioread", "diskiowrite", "diskkbsread", "diskkbswrite", "memoryintfreekbs", "memorykbs",
            "memorytargetkbs", "networkkbsread", "networkkbswrite",
        )
    },
    "snapshot.ostypeid": "one of five snapshots of root volumes has it in a list, the others have not",
}  # fmt: skip
"""Fields that depend on the surroundings of the recorded server, by reason: the double may lack or have them."""
