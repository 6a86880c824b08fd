"""Reads what a mapping is about: the machines' cards, the cloud's networks, and what is mapped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from migratekit_core.adapters.cloudstack import networks
from migratekit_core.adapters.vsphere import client, inventory
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.schema import require_schema
from migratekit_core.services.networks import store
from migratekit_core.services.networks.model import Entry, NetworkMap, join
from migratekit_core.services.networks.overview import Overview, find_goal, overview

Row = Mapping[str, Any]


def network_map(runtime: Runtime) -> NetworkMap:
    """Return the mapping of the configuration and the database."""
    return join(runtime.config.networks.map, store.stored(runtime.databases.oma))


def collect(runtime: Runtime, names: Sequence[str] = ()) -> Overview:
    """Return the networks of both sides for these machines, or for all; nothing is changed.

    Raises PreconditionError for a machine that is unknown or ambiguous.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        found = tuple(sorted(inventory.list_vms(service), key=lambda vm: vm.path))
    machines = inventory.choose(found, names, everything=not names)
    return overview(machines, goals(runtime), network_map(runtime))


def goals(runtime: Runtime) -> list[Row]:
    """Return the networks of the cloud's zone."""
    cloud = runtime.cloud()
    return [*networks.list_networks(cloud, str(networks.zone(cloud, runtime.ossea.zone)["id"]))]


def save(runtime: Runtime, entries: Iterable[Entry], *, replace_all: bool = False) -> tuple[Entry, ...]:
    """Store entries and return them. Raises PreconditionError, with every one whose target is not usable."""
    require(runtime.config, "ossea")
    require_schema(runtime.databases)
    wanted, rows = tuple(entries), goals(runtime)
    targets = dict.fromkeys(entry.target for entry in wanted if entry.target is not None)
    problems = [problem for problem in (find_goal(rows, target) for target in targets) if isinstance(problem, str)]
    if problems:
        known = ", ".join(sorted(str(row.get("name")) for row in rows)) or "none"
        raise PreconditionError(
            "the mapping is not stored",
            f"{'; '.join(problems)}; it has: {known}",
            "correct these, then run it again",
            code=ErrorCode.NAME_UNKNOWN,
        )
    store.store(runtime.databases.oma, wanted, replace_all=replace_all)
    return wanted
