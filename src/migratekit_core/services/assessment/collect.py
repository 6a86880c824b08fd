"""Reads what an assessment looks at. Only reads, on both sides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from migratekit_core.adapters.readers import readers
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, choose
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, UsageError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.config.load import require
from migratekit_core.config.schema import Config, Networks
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.target import read_target

STDIN = Path("-")
INVENTORY_SCHEMA = "migratekit.discover/1"


def collect(
    config: Config,
    names: Sequence[str],
    *,
    everything: bool,
    with_target: bool = False,
    offline: Path | None = None,
    measure: float | None = None,
    with_tags: bool = False,
    note: Callable[[str], None] | None = None,
) -> Site:
    """Return the site with the machines that are named, or all.

    `offline` is the JSON of an earlier `discover`: then vSphere is not asked. `measure`: vCenter is asked what was
    written in the last so many seconds. `with_tags`: tags are read, too (a file has them, or not). `note` is told
    what is waited for. Raises UsageError where nothing is named or the file is none, PreconditionError
    for an unknown or ambiguous machine, and what the connections raise.
    """
    if not names and not everything:
        raise UsageError(
            "no machine is named",
            "assess looks at those that are named, or at all",
            "add names, or --all",
            code=ErrorCode.USAGE,
        )
    if names and everything:
        raise UsageError(
            "machines are named, and all are asked for",
            "--all means every machine",
            "leave one out",
            code=ErrorCode.USAGE,
        )
    facts: dict[str, Any] = {"missing": {}}
    if offline is not None:
        if measure is not None:
            raise UsageError(
                "--measure-changes needs vSphere",
                "an inventory file has no statistics",
                "leave one of them out",
                code=ErrorCode.USAGE,
            )
        machines = read_inventory(offline)
        chosen = choose(machines, names, everything)
        if with_tags and any(vm.tags is None for vm in chosen):
            raise UsageError(
                f"{offline} has no tags",
                "they were not read",
                hint("write it with: ", migratekit("discover", "--tags", "-o", "json")),
                code=ErrorCode.TAGS_UNAVAILABLE,
                facts={"path": str(offline)},
            )
        facts["missing"]["privileges"] = "the assessment is offline (--offline)"
    else:
        machines, chosen = _from_vsphere(config, names, everything, measure, with_tags, facts, note)
    if with_target:
        require(config, "ossea")
        facts["target"] = read_target(config)
    else:
        facts["missing"]["target"] = "the target was not asked (--target)"
    if config.networks == Networks() and config.ossea is None:
        facts["missing"]["network_map"] = "no configuration has a [networks] table"
    else:
        facts["network_map"] = config.networks.map
    return Site(
        machines=machines,
        chosen=chosen,
        readers=tuple(reader.name for reader in readers.usable(config.source)),
        test_network=config.networks.test or "",
        **facts,
    )


def _from_vsphere(
    config: Config,
    names: Sequence[str],
    everything: bool,
    measure: float | None,
    with_tags: bool,
    facts: dict[str, Any],
    note: Callable[[str], None] | None,
) -> tuple[tuple[VirtualMachine, ...], tuple[VirtualMachine, ...]]:
    from migratekit_core.adapters.vsphere import client, inventory
    from migratekit_core.adapters.vsphere.tags import read_tags
    from migratekit_core.services.assessment.changes import write_rates
    from migratekit_core.services.assessment.privileges import read_lacking

    require(config, "vcenter")
    assert config.vcenter is not None, "require has seen to it"
    tags = read_tags(config.vcenter) if with_tags else None
    with client.connect(config.vcenter, note) as service:
        machines = tuple(sorted(inventory.list_vms(service, tags), key=lambda vm: vm.path))
        chosen = choose(machines, names, everything)
        try:
            with client.faults("the privilege check"):
                facts["privileges"] = read_lacking(service, chosen)
        except MigrateKitError as error:
            # An old ESXi host, or an account that may not even ask: the rest can be assessed all the same.
            facts["missing"]["privileges"] = f"vSphere did not answer: {error.why}"
        if measure is not None:
            with client.faults("the statistics of vCenter"):
                facts["write_rates"] = write_rates(service, chosen, measure)
    return machines, chosen


def read_inventory(path: Path) -> tuple[VirtualMachine, ...]:
    """Return the machines of a `discover --output json` document (`-`: stdin). Raises UsageError where it is none."""
    todo = hint("write one with: ", migratekit("discover", "--output", "json"), " > inventory.json")
    document = read_document(path, INVENTORY_SCHEMA, "inventory", todo)
    try:
        return tuple(TypeAdapter(tuple[VirtualMachine, ...]).validate_python(document.get("vms")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is no inventory",
            f"vms.{where}: {first['msg']}",
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(path)},
        ) from None


def read_document(path: Path, schema: str, kind: str, todo: Hint | str) -> dict[str, Any]:
    """Return a JSON document of ours (`-`: from stdin). Raises UsageError, with `todo`, where it is no `kind`."""
    try:
        document = json.loads(sys.stdin.read() if path == STDIN else path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read", str(error), todo, code=ErrorCode.FILE_UNREADABLE, facts={"path": str(path)}
        ) from None
    if not isinstance(document, dict) or document.get("schema") != schema:
        named = document.get("schema") if isinstance(document, dict) else None
        raise UsageError(
            f"{path} is no {kind}",
            f"its schema is {named!r}, not {schema}",
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(path)},
        )
    return document
