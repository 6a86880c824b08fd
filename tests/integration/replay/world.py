"""The cloud that a recorded call finds: made of facts, with the states that its situation names."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lab.cloudstack import catalogue, files, rows
from tests.lab.cloudstack.model import GIB, Account, Job, Nic, Project, Snapshot, Tag, Vm, VmSnapshot, Volume
from tests.lab.cloudstack.server import Server
from tests.lab.cloudstack.settings import Config
from tests.lab.cloudstack.state import Cloud

from .facts import Facts
from .places import PLACES, Place
from .recordings import Recording

CREATED = "2026-11-30T11:00:00+0000"
NO_FILE_YET = ("Allocated", "Creating")


class World:
    """A cloud under construction."""

    def __init__(self, recording: Recording, facts: Facts, state: Path) -> None:
        self.recording = recording
        self.facts = facts
        self.place = PLACES[recording.server]
        self.parameters = dict(recording.parameters)
        self.secret = f"secret-of-{recording.account}"
        self.before: Callable[[Server], None] = lambda server: None
        self.meanwhile: Callable[[], None] = lambda: None
        for template in catalogue.rows("template"):
            files.create(files.template_path(state, template["id"]), GIB)
        self.cloud = Cloud(Config(state=state, job_seconds=0.0), _accounts(self.place, facts), _projects(self.place))

    def owner(self, row: Mapping[str, Any]) -> str:
        """Who owns what a row shows: an account, or a project's account."""
        if "projectid" in row:
            return f"PrjAcct-{row.get('project', self.place.projects[row['projectid']][0])}-1"
        return str(row.get("account") or self.recording.account)

    def volume(self, volume_id: str, **changes: Any) -> Volume:
        """Put a volume into the cloud: detached and Ready, unless said otherwise."""
        seen = self.facts.best("volume", volume_id)
        template = seen.get("templateid")
        volume = Volume(
            id=volume_id, name=seen.get("name", "volume"), account=self.owner(seen), zoneid=self.zone(seen),
            size=seen.get("size", GIB), type=seen.get("type", "DATADISK"), state="Ready",
            created=seen.get("created", CREATED), diskofferingid=seen.get("diskofferingid") or self.custom(seen),
            templateid=template,
        )  # fmt: skip
        volume = replace(volume, **changes)
        if volume.state not in NO_FILE_YET:
            volume = replace(volume, storageid=catalogue.POOL)
            files.create(files.volume_path(self.cloud.config.state, volume_id), volume.size)
        self.cloud.volumes[volume_id] = volume
        return volume

    def custom(self, seen: Mapping[str, Any]) -> str | None:
        """The custom disk offering, for a volume whose own one no answer shows."""
        if seen.get("templateid"):
            return None
        return next(one["id"] for one in catalogue.rows("diskoffering") if one["name"] == "Custom")

    def zone(self, seen: Mapping[str, Any]) -> str:
        """The zone of a thing: its own, or the first one."""
        return str(seen.get("zoneid") or catalogue.rows("zone")[0]["id"])

    def machine(self, vm_id: str, state: str | None = None, *, root: str | None = "", **changes: Any) -> Vm:
        """Put a virtual machine into the cloud, with its root volume; `root` None leaves that out."""
        seen = self.facts.best("virtualmachine", vm_id)
        if state is None:
            state = "Running" if any(one.get("state") == "Running" for one in self.sightings(vm_id)) else "Stopped"
        offering = catalogue.row("serviceoffering", seen["serviceofferingid"]) if "serviceofferingid" in seen else None
        offering = offering or catalogue.rows("serviceoffering")[0]
        template = seen.get("templateid") or catalogue.rows("template")[0]["id"]
        started = state != "Stopped" or any(one.get("state") == "Running" for one in self.sightings(vm_id))
        started = changes.pop("started", started)
        vm = Vm(
            id=vm_id, name=seen.get("name", "vm"), displayname=seen.get("displayname", "vm"), account=self.owner(seen),
            zoneid=self.zone(seen), state=state, serviceofferingid=offering["id"], templateid=template,
            ostypeid=seen.get("ostypeid") or catalogue.row("template", template)["ostypeid"],
            created=seen.get("created", CREATED), nics=self.nics(seen), cpunumber=seen.get("cpunumber", 1),
            cpuspeed=seen.get("cpuspeed", 500), memory=seen.get("memory", 512),
            instancename=f"i-4-{self.cloud.next_number()}-VM", details={},
            hostid=catalogue.rows("host")[0]["id"] if state in ("Running", "Starting") else None,
            updated=CREATED if started else None,
        )  # fmt: skip
        self.cloud.vms[vm_id] = vm = replace(vm, **changes)
        if root is not None:
            self.root(vm, root or rows.stable_id("volume", f"root of {vm_id}"), started)
        return vm

    def sightings(self, vm_id: str) -> list[Mapping[str, Any]]:
        """All rows that were seen of a machine."""
        return list(self.facts.seen.get("virtualmachine", {}).get(vm_id, []))

    def machine_snapshot(self, snapshot_id: str, vm_id: str) -> None:
        """Put a snapshot of a machine into the cloud."""
        vm = self.cloud.vms.get(vm_id) or self.machine(vm_id)
        self.cloud.vmsnapshots[snapshot_id] = VmSnapshot(
            id=snapshot_id, name=f"{vm.instancename}_VS_1", displayname="vms1", vmid=vm_id, account=vm.account,
            created=CREATED, state="Ready", type="Disk",
        )  # fmt: skip

    def busy(self, resource: str, job_id: str, command: str = "CreateSnapshotCmd") -> None:
        """Let a job be at work on a resource, `volume:ID` or the like. It never ends."""
        self.cloud.jobs.setdefault(job_id, self.job(job_id, self.recording.account, command))
        self.cloud.queues.setdefault(resource, deque()).append(job_id)

    def job(self, job_id: str, account: str, command: str, **changes: Any) -> Job:
        """Put a job into the cloud that is still at work, unless said otherwise."""
        instance = rows.stable_id("volume", job_id)
        cmd = f"org.apache.cloudstack.api.command.{command}"
        job = replace(Job(job_id, account, cmd, "Volume", instance, CREATED), **changes)
        self.cloud.jobs[job_id] = job
        return job

    def root(self, vm: Vm, volume_id: str, started: bool) -> Volume:
        """Give a machine its root volume, which has a file once the machine was started."""
        template = catalogue.row("template", vm.templateid)
        return self.volume(
            volume_id, type="ROOT", state="Ready" if started else "Allocated", virtualmachineid=vm.id, deviceid=0,
            account=vm.account, zoneid=vm.zoneid, templateid=template["id"], size=template["size"],
            diskofferingid=None,
        )  # fmt: skip

    def nics(self, seen: Mapping[str, Any]) -> tuple[Nic, ...]:
        """The cards that a row shows; a machine that was never seen has one in the first network."""
        shown = seen.get("nic") or [{
            "id": rows.stable_id("nic", str(seen.get("id"))), "networkid": catalogue.rows("network")[0]["id"],
            "macaddress": "02:01:00:cc:0f:01", "ipaddress": "10.1.1.251", "isdefault": True, "deviceid": "0",
        }]  # fmt: skip
        return tuple(
            Nic(one["id"], one["networkid"], one["macaddress"], one.get("ipaddress"), one["isdefault"],
                int(one["deviceid"]), tuple(one.get("secondaryip", ())))
            for one in shown
        )  # fmt: skip

    def attached(self, volume_id: str, vm_id: str, device: int = 1, **changes: Any) -> Volume:
        """Put a volume into the cloud that is attached to a machine, which is made if it is not there."""
        if vm_id not in self.cloud.vms:
            self.machine(vm_id)
        return self.volume(volume_id, **{"virtualmachineid": vm_id, "deviceid": device, "attached": CREATED} | changes)

    def snapshot(self, snapshot_id: str, **changes: Any) -> Snapshot:
        """Put a snapshot into the cloud, done, unless said otherwise."""
        seen = self.facts.best("snapshot", snapshot_id)
        snapshot = Snapshot(
            id=snapshot_id, name=seen.get("name", "snapshot"), account=self.owner(seen),
            volumeid=seen.get("volumeid", ""), volumename=seen.get("volumename", "volume"),
            volumetype=seen.get("volumetype", "DATADISK"), zoneid=self.zone(seen), size=seen.get("virtualsize", GIB),
            state="BackedUp", created=seen.get("created", CREATED), diskofferingid=self.custom({}), templateid=None,
        )  # fmt: skip
        self.cloud.snapshots[snapshot_id] = snapshot = replace(snapshot, **changes)
        files.create(files.snapshot_path(self.cloud.config.state, snapshot_id), snapshot.size)
        return snapshot

    def tag(self, resource_id: str, key: str, value: str, kind: str = "Volume", owner: str | None = None) -> None:
        """Put a tag on something that is in the cloud."""
        self.cloud.tags.append(Tag(resource_id, kind, key, value, owner or self.recording.account))

    def removed(self, kind: str, entity_id: str) -> None:
        """Say that a thing was there once: the real database still knows its id."""
        self.cloud.removed.setdefault(kind, set()).add(entity_id)

    def settings(self, **changes: Any) -> None:
        """Change the cloud's settings."""
        self.cloud.config = replace(self.cloud.config, **changes)


def _accounts(place: Place, facts: Facts) -> dict[str, Account]:
    ids = {who.name: (rows.stable_id("account", who.name), rows.stable_id("user", who.name)) for who in place.accounts}
    ids |= facts.people
    found = [
        Account(
            id=ids[who.name][0], name=who.name, domain=who.domain.rpartition("/")[2],
            domainid=place.domains[who.domain], userid=ids[who.name][1], path=who.domain,
            accounttype=who.kind, apikey=f"key-of-{who.name}",
            secretkey=f"secret-of-{who.name}",
        )
        for who in place.accounts
    ]  # fmt: skip
    return {account.apikey: account for account in found}


def _projects(place: Place) -> dict[str, Project]:
    """The projects: of the first account, with the second one as a member."""
    return {
        project_id: Project(
            id=project_id, name=name, displaytext=text, account=f"PrjAcct-{name}-1", owner="mig",
            members=frozenset({"mig", "other"}),
        )
        for project_id, (name, text) in place.projects.items()
    }  # fmt: skip
