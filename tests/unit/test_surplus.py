"""Which volumes of replicas nothing needs any more: by the database's rows, and by who is in vCenter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migratekit_core.adapters.vsphere.inventory import Identities
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UnreachableError
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import Databases, open_databases, session
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationCheckpoint, ReplicationJob, VmDisk
from migratekit_core.db.sources import note_sync, note_volume
from migratekit_core.services.failover import removal
from migratekit_core.services.replication import replica, surplus
from migratekit_core.services.replication.surplus import DISK_REMOVED, DISK_REPLACED, MACHINE_DELETED

BEGAN = datetime(2026, 11, 1, 12, 0)
GIB = 1 << 30


@dataclass
class Records:
    """Rows of syncs and failovers, one minute after the other."""

    databases: Databases
    minutes: Iterator[int] = field(default_factory=itertools.count)

    def sync(self, vm: str, disks: dict[str, str | None], status: str = "completed", vcenter: str = "vc1") -> str:
        """Add a sync of a machine; `disks` are its device keys and the volumes. Return its id."""
        began = BEGAN + timedelta(minutes=next(self.minutes))
        job_id = f"{vm}-{began:%H%M}"
        with session(self.databases.oma) as db:
            row = ReplicationJob(
                id=job_id,
                source_vm_id=f"uuid-{vm}",
                source_vm_name=vm,
                source_vm_path=f"/DC0/vm/{vm}",
                vcenter_host=vcenter,
                datacenter="DC0",
                replication_type="full",
                status=status,
                created_at=began,
                completed_at=None if status == "running" else began + timedelta(seconds=30),
            )
            db.add(row)
            db.flush()
            note_sync(db, row)
            for number, (key, volume_id) in enumerate(disks.items()):
                if volume_id is not None:
                    note_volume(db, f"uuid-{vm}", key, volume_id)
                db.add(
                    VmDisk(
                        job_id=job_id,
                        disk_id=key,
                        vmdk_path="x",
                        size_gb=1,
                        datastore="d",
                        unit_number=number,
                        label=f"Hard disk {key}",
                        capacity_bytes=GIB,
                        provisioning_type="thin",
                        ossea_volume_id=volume_id,
                        disk_change_id="52 1a/7",
                        sync_status="completed",
                    )
                )
        return job_id

    def failover(self, vm: str, job_id: str, status: str, kind: str = "live", *, committed: bool, **state: Any) -> str:
        """Add a failover of a machine; return its id."""
        failover_id = f"failover-{next(self.minutes):04}"
        with session(self.databases.oma) as db:
            db.add(
                FailoverJob(
                    id=failover_id,
                    replication_job_id=job_id,
                    vm_id=f"uuid-{vm}",
                    job_type=kind,
                    status=status,
                    destination_vm_id="new-machine",
                )
            )
            db.flush()
            db.add(FailoverState(failover_job_id=failover_id, committed=committed, state=state))
        return failover_id

    def gone(self, *volume_ids: str) -> dict[str, str]:
        """Return what each volume is by the rows alone."""
        return {key: one.gone for key, one in surplus.origins(self.databases.oma, volume_ids).items()}


@pytest.fixture
def records(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Records:
    # More volumes and machines than one statement takes.
    monkeypatch.setattr(surplus, "AT_ONCE", 2)
    return Records(databases)


def volume(volume_id: str, vm: str, **more: Any) -> dict[str, Any]:
    """Return a volume as the daemon tells of it."""
    return {
        "id": volume_id,
        "name": f"mk-{volume_id}",
        "size": GIB,
        "vm_id": None,
        "linux_state": "absent",
        "export_name": None,
        "tags": {"migratekit": f"uuid-{vm}", "migratekit-vm": vm},
        **more,
    }


# By the rows.


def test_the_volumes_of_the_newest_sync_are_needed(records: Records) -> None:
    for _ in range(3):
        for vm in ("a", "b", "c"):
            records.sync(vm, {"2000": f"{vm}1", "2001": f"{vm}2"})
    assert set(records.gone("a1", "a2", "b1", "b2", "c1", "c2").values()) == {""}
    assert records.gone("nobody", "nothing") == {}
    assert records.gone() == {}


def test_a_disk_that_was_removed_or_replaced(records: Records) -> None:
    records.sync("a", {"2000": "a1", "2001": "a2", "2002": "a3"})
    records.sync("a", {"2000": "a1", "2001": "a2"})
    records.sync("a", {"2000": "a1", "2001": "larger"})
    found = surplus.origins(records.databases.oma, ["a1", "a2", "a3", "larger"])
    assert {key: one.gone for key, one in found.items()} == {
        "a1": "",
        "larger": "",
        "a2": DISK_REPLACED,
        "a3": DISK_REMOVED,
    }
    assert (found["a3"].vm, found["a3"].vm_uuid, found["a3"].disk) == ("a", "uuid-a", "Hard disk 2002")
    assert found["a3"].last_sync == BEGAN + timedelta(seconds=30)
    assert found["a2"].last_sync == BEGAN + timedelta(minutes=1, seconds=30)


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_until_a_sync_is_completed_what_the_last_one_left_is_needed(records: Records, status: str) -> None:
    records.sync("a", {"2000": "a1", "2001": "a2"})
    records.sync("a", {"2000": None}, status)
    assert records.gone("a1", "a2") == {"a1": "", "a2": ""}
    records.sync("a", {"2000": "new"}, status)
    assert records.gone("a1", "a2", "new") == {"a1": "", "a2": "", "new": ""}
    records.sync("a", {"2000": "new"})
    assert records.gone("a1", "a2", "new") == {"a1": DISK_REPLACED, "a2": DISK_REMOVED, "new": ""}


def test_never_completed_the_newest_says(records: Records) -> None:
    records.sync("a", {"2000": "a1", "2001": "a2"}, "failed")
    records.sync("a", {"2000": "a1", "2001": None}, "running")
    found = surplus.origins(records.databases.oma, ["a1", "a2"])
    assert {key: (one.gone, one.last_sync) for key, one in found.items()} == {
        "a1": ("", None),
        "a2": (DISK_REPLACED, None),
    }


# Who is in vCenter.


@dataclass
class There:
    """A vCenter that says who is there, or fails."""

    identities: Identities | None
    asked: int = 0

    @contextmanager
    def connect(self, vcenter: Any, note: object = None) -> Iterator[Any]:
        self.asked += 1
        if self.identities is None:
            raise UnreachableError("vCenter vc1 does not answer", "refused", "look", code=ErrorCode.UNKNOWN)
        yield self


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    made = There(Identities(frozenset({"uuid-a", "uuid-x"}), ()))
    monkeypatch.setattr(surplus.client, "connect", made.connect)
    monkeypatch.setattr(surplus, "identities", lambda service: service.identities)
    return made


def look(records: Records, *listed: dict[str, Any], vcenter: str | None = "vc1", vm_uuid: str | None = None) -> Any:
    host = SimpleNamespace(host=vcenter) if vcenter else None
    watching = SimpleNamespace(note=lambda line: None)
    runtime: Any = SimpleNamespace(databases=records.databases, config=SimpleNamespace(vcenter=host), observer=watching)
    return surplus.find(runtime, listed, vm_uuid)


def reasons(found: surplus.Surplus) -> dict[str, str]:
    return {one.volume_id: one.reason for one in found.volumes}


def test_a_machine_that_is_not_in_vcenter_any_more(records: Records, there: There) -> None:
    records.sync("a", {"2000": "a1", "2001": "a2"})
    records.sync("a", {"2000": "a1"})
    records.sync("b", {"2000": "b1", "2001": "b2"})
    records.sync("b", {"2000": "b1"})
    listed = [volume(one, vm) for vm in "ab" for one in (f"{vm}1", f"{vm}2")]
    found = look(records, *listed)
    assert reasons(found) == {"a2": DISK_REMOVED, "b1": MACHINE_DELETED, "b2": DISK_REMOVED}
    assert found.not_checked == ()
    assert there.asked == 1
    assert reasons(look(records, *listed, vm_uuid="uuid-a")) == {"a2": DISK_REMOVED}
    # Nothing to ask about: no login.
    there.asked = 0
    assert reasons(look(records, volume("a2", "a"))) == {"a2": DISK_REMOVED}
    assert look(records) == surplus.Surplus()
    assert look(records, volume("never", "z")) == surplus.Surplus()
    assert there.asked == 0


def test_what_is_not_known_is_not_guessed(records: Records, there: There) -> None:
    records.sync("erp", {"2000": "e1"})
    records.sync("far", {"2000": "f1"}, vcenter="vc2")
    listed = [volume("e1", "erp"), volume("f1", "far"), volume("foreign", "other")]

    # Its files cannot be read, so vCenter shows a path instead of a name, and no uuid.
    there.identities = Identities(frozenset({"uuid-a"}), ("/vmfs/volumes/5e1f/erp/erp.vmx",))
    found = look(records, *listed)
    assert reasons(found) == {}
    (told,) = found.not_checked
    assert "those of vc2" in told

    # An account that sees nothing knows nothing.
    there.identities = Identities(frozenset(), ())
    found = look(records, volume("e1", "erp"))
    assert (reasons(found), len(found.not_checked)) == ({}, 1)
    there.identities = None
    found = look(records, volume("e1", "erp"))
    assert reasons(found) == {}
    assert "does not answer" in found.not_checked[0]
    assert "no vCenter is configured" in look(records, *listed, vcenter=None).not_checked[0]

    there.identities = Identities(frozenset({"uuid-a"}), ())
    assert reasons(look(records, *listed)) == {"e1": MACHINE_DELETED}


def test_a_database_that_does_not_answer_is_told(records: Records, there: There, tmp_path: Path) -> None:
    records.databases = open_databases(Database(directory=tmp_path / "empty"))
    found = look(records, volume("a1", "a"))
    assert found.volumes == ()
    assert "database" in found.not_checked[0]
    records.databases.dispose()


@pytest.mark.parametrize(
    ("status", "committed"), [("completed", True), ("running", False), ("failed", True), ("rolling_back", True)]
)
def test_what_a_failover_has_is_needed(records: Records, there: There, status: str, committed: bool) -> None:
    records.sync("b", {"2000": "b1", "2001": "b2"})
    job_id = records.sync("b", {"2000": "b1"})
    records.failover("b", job_id, status, committed=committed)
    # What it has not taken is surplus all the same.
    assert reasons(look(records, volume("b1", "b"), volume("b2", "b"))) == {"b2": DISK_REMOVED}


def test_once_rolled_back_it_is_a_replica_again(records: Records, there: There) -> None:
    job_id = records.sync("b", {"2000": "b1"})
    records.failover("b", job_id, "rolled_back", committed=False)
    records.failover("b", job_id, "completed", "test", committed=False)
    assert reasons(look(records, volume("b1", "b"))) == {"b1": MACHINE_DELETED}


def test_what_another_machine_has_attached_is_needed(records: Records, there: There) -> None:
    records.sync("b", {"2000": "b1", "2001": "b2"})
    elsewhere = {"vm_id": "some-machine", "linux_state": "elsewhere"}
    here = {"vm_id": "oma", "linux_state": "attached", "export_name": "migration-b"}
    found = look(records, volume("b1", "b", **elsewhere), volume("b2", "b", **here))
    assert reasons(found) == {"b2": MACHINE_DELETED}
    assert tuple(map(str, found.volumes[0].commands)) == (
        "migratekit volumes unexport b2",
        "migratekit volumes detach b2",
        "migratekit volumes delete b2",
    )
    assert tuple(map(str, look(records, volume("b2", "b")).volumes[0].commands)) == ("migratekit volumes delete b2",)


# What must not be deleted.


def refusal(records: Records, listed: dict[str, Any]) -> tuple[ErrorCode, str]:
    with pytest.raises(PreconditionError) as caught:
        removal.refuse(records.databases.oma, listed)
    assert caught.value.what
    assert caught.value.why
    return caught.value.code, str(caught.value.todo)


def test_refusals_have_their_codes_and_say_what_to_do(records: Records) -> None:
    removal.refuse(records.databases.oma, volume("v", "a"))
    assert refusal(records, volume("v", "a", tags={}))[0] is ErrorCode.NOT_OURS
    code, todo = refusal(records, volume("v", "a", vm_id="oma", linux_state="attached"))
    assert (code, todo) == (ErrorCode.ATTACHED, "detach it first: migratekit volumes detach v")
    code, todo = refusal(records, volume("v", "a", vm_id="oma", linux_state="attached", export_name="migration-a"))
    assert (code, todo) == (ErrorCode.EXPORTED, "take that back first: migratekit volumes unexport v")
    tags = {"migratekit": "uuid-a", "migratekit-vm": "a b", "migratekit-failover": "some-rehearsal"}
    code, todo = refusal(records, volume("v", "a", tags=tags))
    assert (code, todo) == (ErrorCode.IN_FAILOVER, "take the rehearsal away first: migratekit cleanup 'a b'")


@pytest.mark.parametrize(
    ("status", "committed", "todo"),
    [
        ("completed", True, "to have it as a replica again: migratekit rollback b"),
        ("running", False, "go on with: migratekit failover b, or give it back with: migratekit rollback b"),
        ("rolling_back", True, "go on with: migratekit failover b, or give it back with: migratekit rollback b"),
    ],
)
def test_the_disks_of_a_failover(records: Records, status: str, committed: bool, todo: str) -> None:
    records.sync("b", {"2000": "b1", "2001": "b2"})
    job_id = records.sync("b", {"2000": "b1"})
    records.failover("b", job_id, status, committed=committed)
    assert refusal(records, volume("b1", "b")) == (ErrorCode.IN_FAILOVER, todo)
    removal.refuse(records.databases.oma, volume("b2", "b"))
    removal.refuse(records.databases.oma, volume("b1", "c"))


def test_a_failover_that_was_rolled_back_holds_nothing(records: Records) -> None:
    job_id = records.sync("b", {"2000": "b1"})
    records.failover("b", job_id, "rolled_back", committed=False)
    removal.refuse(records.databases.oma, volume("b1", "b"))


@pytest.mark.parametrize("status", ["running", "failed", "completed"])
@pytest.mark.parametrize("state", [{"clones": ["v"]}, {"snapshot_intents": ["v"]}, {"template_root": "v"}])
def test_a_rehearsal_that_was_not_cleaned_up(records: Records, status: str, state: dict[str, Any]) -> None:
    job_id = records.sync("b", {"2000": "b1"})
    records.failover("b", job_id, status, "test", committed=False, **state)
    records.failover("b", job_id, "cleaned", "test", committed=False, clones=["other"])
    assert refusal(records, volume("v", "b"))[0] is ErrorCode.IN_FAILOVER
    removal.refuse(records.databases.oma, volume("other", "b"))


# What is forgotten.


def test_a_deleted_volume_is_forgotten_where_the_next_sync_looks(records: Records) -> None:
    records.sync("a", {"2000": "a1", "2001": "a2"})
    job_id = records.sync("a", {"2000": "a1", "2001": "a2"})
    with session(records.databases.oma) as db:
        for volume_id in ("a1", "a2"):
            checkpoint = ReplicationCheckpoint(volume_id=volume_id, job_id=job_id, snapshot_change_id="52 1a/7")
            db.add(checkpoint)
    for _ in range(2):
        replica.forget_volume(records.databases.oma, "uuid-a", "a1")
        found = replica.newest(records.databases.oma, "uuid-a")
        assert found is not None
        assert [(one.ossea_volume_id, one.disk_change_id) for one in found.disks] == [(None, None), ("a2", "52 1a/7")]
        assert replica.checkpoint(records.databases.oma, "a1") is None
        assert replica.checkpoint(records.databases.oma, "a2") is not None
    replica.forget_volume(records.databases.oma, "uuid-nobody", "a2")
    assert replica.checkpoint(records.databases.oma, "a2") is None
