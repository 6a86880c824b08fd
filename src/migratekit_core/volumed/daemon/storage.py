"""CloudStack's volumes and snapshots. Nothing else in MigrateKit calls these commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import AsyncJobs, Cloud, by_name_or_id
from migratekit_core.adapters.cloudstack.patience import LostJobError, Patience
from migratekit_core.adapters.cloudstack.refusals import disk_limit
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.units import GIB, round_up
from migratekit_core.config.schema import Ossea
from migratekit_core.volumed.names import TAG

MAKE = "createVolume"
Told = TypeVar("Told")
WHOLE = frozenset({"id", "name", "state", "size"})
"""What a job's result has to say of a volume, to be taken for it."""


_learned: dict[str, int] = {}
"""Data disks of one virtual machine by the API's URL, where a refusal has told them."""


@dataclass(frozen=True)
class Volume:
    """A volume as CloudStack describes it; `size` is bytes."""

    id: str
    name: str
    state: str
    type: str
    size: int
    vm_id: str | None
    device_id: int | None
    template_id: str | None
    """The template that its root disk was made of."""
    tags: dict[str, str]
    pool_id: str | None = None
    """The storage pool that it lies on, where the account may see that: administrators only."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a volume."""

    id: str
    name: str
    state: str
    volume_id: str
    """What it is of, also where that is deleted."""
    tags: dict[str, str]


class Storage:
    """The volumes of one cloud, in the configured zone."""

    def __init__(self, ossea: Ossea, patience: Patience | None = None) -> None:
        self.cloud = Cloud(ossea, patience)
        self._ossea = ossea
        self._zone_id = ""
        self._offering_id = ""
        self._oma_vm_id = ""

    def zone_id(self) -> str:
        """Return the id of the configured zone."""
        if not self._zone_id:
            zones = self.cloud.list("listZones", "zone")
            self._zone_id = by_name_or_id(zones, self._ossea.zone, "zone", "ossea.zone")["id"]
        return self._zone_id

    def offering_id(self) -> str:
        """Return the id of the disk offering; it has to be a custom one, for the size is ours."""
        if not self._offering_id:
            found = self.cloud.list("listDiskOfferings", "diskoffering", zoneid=self.zone_id())
            offering = by_name_or_id(found, self._ossea.disk_offering, "disk offering", "ossea.disk_offering")
            if not offering.get("iscustomized"):
                raise PreconditionError(
                    f"disk offering {self._ossea.disk_offering!r} has a fixed size",
                    "replicas have the size of their source disks",
                    "set ossea.disk_offering to a custom disk offering",
                    code=ErrorCode.OFFERING_UNFIT,
                    facts={"offering": self._ossea.disk_offering},
                )
            self._offering_id = offering["id"]
        return self._offering_id

    def oma_vm_id(self) -> str:
        """Return the id of the virtual machine that this daemon runs on."""
        if not self._oma_vm_id:
            self._oma_vm_id = str(self.oma_row()["id"])
        return self._oma_vm_id

    def oma_row(self) -> dict[str, Any]:
        """Return the virtual machine that this daemon runs on, as CloudStack lists it.

        Raises PreconditionError where there is none, or it is in a project.
        """
        return compute.oma(self.cloud, self._ossea.oma_vm)

    def commands(self) -> frozenset[str]:
        """Return the commands that the account's role has, and "" where it may not ask for them."""
        listed = self._readable(lambda: self.cloud.request("listApis").get("api"))
        return frozenset(str(api.get("name")) for api in listed or ({"name": ""},))

    def capabilities(self) -> dict[str, Any]:
        """Return the cloud's settings, as far as every account sees them; empty where the role may not ask."""
        return self._readable(lambda: self.cloud.request("listCapabilities").get("capability")) or {}

    def account(self) -> dict[str, Any]:
        """Return the row of the account that the volumes will belong to; empty where it is not known."""
        oma = self.oma_row()
        owner = (oma.get("account"), oma.get("domainid"))
        rows = self._readable(lambda: list(self.cloud.list("listAccounts", "account"))) or ()
        return next((row for row in rows if (row.get("name"), row.get("domainid")) == owner), {})

    def vm_snapshots(self, vm_id: str) -> int | None:
        """Return how many VM snapshots a virtual machine has; None where the role lacks the call."""
        return self._readable(lambda: len(self.cloud.list("listVMSnapshot", "vmSnapshot", virtualmachineid=vm_id)))

    def _readable(self, ask: Callable[[], Told]) -> Told | None:
        """Return what a call tells that is helpful only; None where the role lacks it."""
        try:
            return ask()
        except AuthError as error:
            if error.code is ErrorCode.NOT_ALLOWED:
                return None
            raise

    def max_disks(self) -> int | None:
        """Return how many data disks CloudStack attaches to the OMA: as configured, or as a refusal has said."""
        return self._ossea.max_disks or _learned.get(self._ossea.api_url)

    def refuse_full(self) -> None:
        """Raise PreconditionError (`vm-full`) where the OMA has as many data disks as ossea.max_disks allows."""
        limit = self._ossea.max_disks
        if limit is None:
            return
        attached = sum(volume.type != "ROOT" for volume in self.attached_to(self.oma_vm_id()))
        if attached >= limit:
            raise PreconditionError(
                "the OMA takes no further disk",
                f"{attached} are attached, and ossea.max_disks is {limit}",
                "raise ossea.max_disks if CloudStack attaches more",
                code=ErrorCode.VM_FULL,
            )

    def get(self, volume_id: str) -> Volume | None:
        """Return a volume, or None where there is none."""
        try:
            found = self.cloud.list("listVolumes", "volume", id=volume_id)
        except OperationFailedError as error:
            if is_gone(error):
                return None
            raise
        return _volume(found[0]) if found else None

    def named(self, name: str) -> Volume | None:
        """Return the volume with exactly this name; listVolumes' own name filter is a search."""
        found = [item for item in self.cloud.list("listVolumes", "volume", name=name) if item.get("name") == name]
        return _volume(found[0]) if found else None

    def ours(self) -> list[Volume]:
        """Return every volume with our tag."""
        return [_volume(item) for item in self.cloud.tagged("listVolumes", "volume", "Volume", TAG)]

    def create(self, name: str, size: int, jobs: AsyncJobs) -> Volume:
        """Create a volume of at least `size` bytes; CloudStack counts in whole GiB."""
        gib = round_up(size, GIB) // GIB
        made = self.cloud.run(MAKE, jobs, name=name, size=gib, diskofferingid=self.offering_id(), zoneid=self.zone_id())
        return self._made(made, name)

    def create_from_snapshot(self, name: str, snapshot_id: str, jobs: AsyncJobs) -> Volume:
        """Create a volume with a snapshot's content."""
        made = self.cloud.run(MAKE, jobs, name=name, snapshotid=snapshot_id, zoneid=self.zone_id())
        return self._made(made, name)

    def _made(self, result: dict[str, Any], name: str) -> Volume:
        """Return the volume of a job's result; where that is but text, or lacks things, as the lists have it."""
        if result.keys() >= WHOLE:
            return _volume(result)
        found = self.get(str(result["id"])) if "id" in result else self.named(name)
        if found is None:
            raise LostJobError(
                f"volume {name} was made but is not listed",
                "the job told no id",
                "run again",
                code=ErrorCode.LOST,
                facts={"volume": name},
            )
        return found

    def tag(self, volume: Volume, tags: dict[str, str], jobs: AsyncJobs) -> Volume:
        """Put on a volume the tags that it lacks."""
        pairs = [{"key": key, "value": value} for key, value in tags.items() if key not in volume.tags]
        if pairs:
            self.cloud.run("createTags", jobs, resourceids=volume.id, resourcetype="Volume", tags=pairs)
        return volume

    def delete(self, volume_id: str) -> None:
        """Delete a detached volume."""
        self.cloud.request("deleteVolume", id=volume_id)

    def attach(self, volume_id: str, vm_id: str, device_id: int | None, jobs: AsyncJobs) -> Volume:
        """Attach a volume; `device_id` 0 makes it the root disk of a stopped machine."""
        try:
            answer = self.cloud.run("attachVolume", jobs, id=volume_id, virtualmachineid=vm_id, deviceid=device_id)
        except MigrateKitError as error:
            if error.code is ErrorCode.VM_FULL and vm_id == self.oma_vm_id():
                # Where no number is told (PCI slots), it is as many as there are.
                there = sum(volume.type != "ROOT" for volume in self.attached_to(vm_id))
                _learned[self._ossea.api_url] = disk_limit(error.why) or there
            raise
        # What the job tells of the volume may be but text, or lack things; the list has it whole.
        found = _volume(answer) if answer.keys() >= WHOLE and answer.get("size") else self.get(volume_id)
        if found is None:
            raise LostJobError(
                f"volume {volume_id} is attached but not listed",
                "the lists lag behind",
                "run again",
                code=ErrorCode.LOST,
                facts={"volume_id": volume_id},
            )
        return found

    def detach(self, volume_id: str, jobs: AsyncJobs) -> None:
        """Detach a volume from whatever it is attached to."""
        self.cloud.run("detachVolume", jobs, id=volume_id)

    def attached_to(self, vm_id: str) -> list[Volume]:
        """Return all volumes of a machine, also those that are not ours."""
        return [_volume(item) for item in self.cloud.list("listVolumes", "volume", virtualmachineid=vm_id)]

    def root_of(self, vm_id: str) -> Volume | None:
        """Return the root volume of a machine."""
        found = self.cloud.list("listVolumes", "volume", virtualmachineid=vm_id, type="ROOT")
        return _volume(found[0]) if found else None

    def snapshot(self, volume_id: str, name: str, jobs: AsyncJobs) -> Snapshot:
        """Take a snapshot of a volume; it carries the volume's tags."""
        volume = self.get(volume_id)
        tags = [{"key": key, "value": value} for key, value in (volume.tags if volume is not None else {}).items()]
        answer = self.cloud.run("createSnapshot", jobs, volumeid=volume_id, name=name, tags=tags or None)
        found = _snapshot(answer) if "id" in answer else self.snapshot_named(volume_id, name)
        if found is None:
            raise LostJobError(
                f"snapshot {name} was taken but is not listed",
                "the lists lag behind",
                "run again",
                code=ErrorCode.LOST,
                facts={"snapshot": name},
            )
        return found

    def snapshot_named(self, volume_id: str, name: str) -> Snapshot | None:
        """Return the snapshot of a volume with exactly this name."""
        return next((found for found in self.snapshots_of(volume_id) if found.name == name), None)

    def snapshots_of(self, volume_id: str) -> list[Snapshot]:
        """Return the snapshots of a volume."""
        return [_snapshot(item) for item in self.cloud.list("listSnapshots", "snapshot", volumeid=volume_id)]

    def our_snapshots(self) -> list[Snapshot]:
        """Return every snapshot with our tag, also of volumes that are deleted."""
        return [_snapshot(item) for item in self.cloud.tagged("listSnapshots", "snapshot", "Snapshot", TAG)]

    def snapshot_by_id(self, snapshot_id: str) -> Snapshot | None:
        """Return a snapshot, or None where there is none."""
        try:
            found = self.cloud.list("listSnapshots", "snapshot", id=snapshot_id)
        except OperationFailedError as error:
            if is_gone(error):
                return None
            raise
        return _snapshot(found[0]) if found else None

    def delete_snapshot(self, snapshot_id: str, jobs: AsyncJobs) -> None:
        """Delete a snapshot."""
        self.cloud.run("deleteSnapshot", jobs, id=snapshot_id)


def _volume(item: dict[str, Any]) -> Volume:
    # Numbers come as text from some versions, and deviceid is left out where a volume is detached.
    device = item.get("deviceid")
    return Volume(
        id=str(item["id"]),
        name=str(item.get("name", "")),
        state=str(item.get("state", "")),
        type=str(item.get("type", "")),
        size=int(item.get("size") or 0),
        vm_id=item.get("virtualmachineid") or None,
        device_id=int(device) if device not in (None, "") else None,
        template_id=item.get("templateid") or None,
        tags=_tags(item),
        pool_id=item.get("storageid") or None,
    )


def _snapshot(item: dict[str, Any]) -> Snapshot:
    return Snapshot(
        id=str(item["id"]),
        name=str(item.get("name", "")),
        state=str(item.get("state", "")),
        volume_id=str(item.get("volumeid", "")),
        tags=_tags(item),
    )


def _tags(item: dict[str, Any]) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in item.get("tags") or []}


def is_gone(error: MigrateKitError) -> bool:
    """Return whether CloudStack refused because the resource does not exist."""
    return error.code is ErrorCode.GONE
