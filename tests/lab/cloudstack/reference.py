"""The API reference: the recorded table of a 4.22 management server (tests/data/cloudstack-4.22/apis.json).

listApis answers from it, the dispatcher checks by it, and so does the check of every request (`requests_check`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "data" / "cloudstack-4.22" / "apis.json"
ROLES = {0: "User", 1: "Root Admin", 2: "Domain Admin"}
"""The default role of each account type."""

_ENTITIES = {
    "zoneid": "zone", "zoneids": "zone", "serviceofferingid": "serviceoffering", "diskofferingid": "diskoffering",
    "overridediskofferingid": "diskoffering", "networkid": "network", "networkids": "network",
    "templateid": "template", "ostypeid": "ostype", "hostid": "host", "storageid": "storagepool",
    "virtualmachineid": "virtualmachine", "volumeid": "volume", "volumeids": "volume", "snapshotid": "snapshot",
    "vmsnapshotid": "vmsnapshot", "vmsnapshotids": "vmsnapshot", "nicid": "nic", "domainid": "domain",
    "securitygroupids": "securitygroup", "affinitygroupids": "affinitygroup", "affinitygroupid": "affinitygroup",
    "userdataid": "userdata", "vpcid": "vpc", "accountid": "account", "projectid": "project", "jobid": "job",
}  # fmt: skip
"""What a parameter's id is of."""
_JAVA = {
    "attachVolume": "user.volume.AttachVolumeCmd", "createSnapshot": "user.snapshot.CreateSnapshotCmd",
    "createTags": "user.tag.CreateTagsCmd", "createVMSnapshot": "user.vmsnapshot.CreateVMSnapshotCmd",
    "createVolume": "user.volume.CreateVolumeCmd", "deleteSnapshot": "user.snapshot.DeleteSnapshotCmd",
    "deleteTags": "user.tag.DeleteTagsCmd", "deleteVMSnapshot": "user.vmsnapshot.DeleteVMSnapshotCmd",
    "deployVirtualMachine": "user.vm.DeployVMCmd", "destroyVirtualMachine": "user.vm.DestroyVMCmd",
    "detachVolume": "user.volume.DetachVolumeCmd", "expungeVirtualMachine": "admin.vm.ExpungeVMCmd",
    "resizeVolume": "user.volume.ResizeVolumeCmd", "startVirtualMachine": "user.vm.StartVMCmd",
    "stopVirtualMachine": "user.vm.StopVMCmd",
}  # fmt: skip
"""How a job names its command."""
_NUMBERS = re.compile(r"^(\d+(?:\.\d+)*)")
_VERB = re.compile(r"^[a-z]+")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command; `entity` is what its id is of, None where it is none."""

    name: str
    type: str
    required: bool
    entity: str | None = None
    since: str | None = None


@dataclass(frozen=True)
class Command:
    """A command; `roles` are the default roles that have it."""

    name: str
    is_async: bool
    parameters: tuple[Parameter, ...]
    response: tuple[str, ...]
    roles: frozenset[str]
    since: str | None

    @property
    def response_name(self) -> str:
        """Return the name of the one member of its answer."""
        return f"{self.name.lower()}response"

    @property
    def is_list(self) -> bool:
        """Return whether it lists things, in pages."""
        return any(parameter.name == "pagesize" for parameter in self.parameters)

    @property
    def java_class(self) -> str:
        """Return how a job names it."""
        return f"org.apache.cloudstack.api.command.{_JAVA.get(self.name, self.name)}"

    def parameter(self, name: str) -> Parameter | None:
        """Return one of its parameters."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


def version(text: str | None) -> tuple[int, ...]:
    """Return a version as numbers that compare; `None` is the oldest. 4.20 and 4.20.0 are one."""
    match = _NUMBERS.match(text or "")
    numbers = [int(part) for part in match[1].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@cache
def table() -> Mapping[str, Command]:
    """Return the recorded table."""
    rows = json.loads(TABLE.read_text())
    return {name: _command(name, row) for name, row in rows.items()}


def _command(name: str, row: Mapping[str, object]) -> Command:
    given, response, roles = row["params"], row["response"], row["roles"]
    assert isinstance(given, list) and isinstance(response, list) and isinstance(roles, list)
    parameters = tuple(
        Parameter(one["name"], one["type"], one["required"], _entity(name, one["name"], one["type"]), one.get("since"))
        for one in given
    )
    since = row["since"]
    return Command(
        name, bool(row["async"]), parameters, tuple(response), frozenset(roles), str(since) if since else None
    )


def _entity(command: str, parameter: str, kind: str) -> str | None:
    """Return what an id is of; that of `deleteVolume` is of a volume. Ids of what the double has not are unknown."""
    if parameter in _ENTITIES:
        return _ENTITIES[parameter]
    if parameter in ("id", "ids"):
        return _VERB.sub("", command).lower().removesuffix("s").replace("capabilitie", "capability")
    return "unknown" if kind == "uuid" else None


@cache
def commands(cloud_version: str) -> Mapping[str, Command]:
    """Return what a cloud of this version knows: commands and parameters that are newer are not there."""
    newest = version(cloud_version)
    known = {
        name: replace(command, parameters=tuple(one for one in command.parameters if version(one.since) <= newest))
        for name, command in table().items()
        if version(command.since) <= newest
    }
    deploy = known["deployVirtualMachine"]
    if deploy.parameter("volumeid") is None:  # then the template is needed
        needed = tuple(replace(one, required=one.required or one.name == "templateid") for one in deploy.parameters)
        known["deployVirtualMachine"] = replace(deploy, parameters=needed)
    return known
