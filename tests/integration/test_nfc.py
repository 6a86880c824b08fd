"""The reader nfc from end to end, against the lab's NFC host: what it copies is the disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.machines import overwrite
from tests.integration.support import GRANULE, MIB, identical, no_children, nothing_left, refused, report, run
from tests.integration.test_secrets import watching
from tests.lab.lab import Lab

NFC = {"MIGRATEKIT_SOURCE__READER": "nfc"}
VM = "esxi01"


@pytest.fixture(autouse=True)
def host(lab: Lab) -> Iterator[None]:
    """Leave the lab's NFC hosts as they were."""
    lab.vcenter.nfc_forget()
    yield
    lab.vcenter.nfc_mend()


def test_nfc_copies_a_machine_in_full_and_what_changed(lab: Lab) -> None:
    # Whatever other tests have synced of it: what changed since then cannot be known, so all of it is copied.
    lab.vcenter.new_epoch(VM)
    with watching(lab) as seen:
        assert report(lab, "replicate", VM, **NFC)["kind"] == "full"
    assert any("plugin.py" in line for line in seen)
    identical(lab, VM)
    overwrite(lab.vcenter, VM, 0, 3 * MIB + 512, 4096, 1)
    overwrite(lab.vcenter, VM, 1, MIB, 4096, 2)
    second = report(lab, "replicate", VM, **NFC)
    assert (second["kind"], second["bytes_changed"]) == ("incremental", 2 * GRANULE)
    identical(lab, VM)
    assert report(lab, "verify", VM, **NFC)["identical"]
    seen_there = lab.vcenter.nfc()
    assert seen_there["violations"] == []
    assert seen_there["open"] == []
    nothing_left(lab, VM)
    no_children(lab)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_nfc_reads_in_every_encoding(lab: Lab, compression: str) -> None:
    report(lab, "replicate", VM, MIGRATEKIT_SOURCE__NFC__COMPRESSION=compression, **NFC)
    identical(lab, VM)
    assert lab.vcenter.nfc()["violations"] == []


@pytest.mark.parametrize("greeting", ["no-sha256", "no-nfcssl"])
def test_a_host_that_is_too_old_is_named(lab: Lab, greeting: str) -> None:
    lab.vcenter.nfc_switch(greeting=greeting)
    refused(lab, run(lab, "replicate", VM, **NFC), 4, ErrorCode.READER_UNFIT)
    nothing_left(lab, VM)


def test_another_certificate_is_refused(lab: Lab) -> None:
    for switch in ({"ticket_thumbprint": "wrong"}, {"sha256": "wrong"}, {"second_certificate": "other"}):
        lab.vcenter.nfc_mend()
        lab.vcenter.nfc_switch(**switch)
        refused(lab, run(lab, "replicate", VM, **NFC), 5, ErrorCode.SOURCE_UNTRUSTED)


def test_a_disk_of_another_size_is_refused(lab: Lab) -> None:
    lab.vcenter.nfc_switch(capacity_delta=512)
    refused(lab, run(lab, "replicate", VM, **NFC), 1, ErrorCode.SIZE_MISMATCH)


def test_a_locked_file_is_waited_for_and_named(lab: Lab) -> None:
    lab.vcenter.nfc_fault(at="open", mode="refuse", code=16392, text="Failed to lock the file", max=1)
    report(lab, "replicate", VM, **NFC)
    lab.vcenter.nfc_fault(at="open", mode="refuse", code=16392, text="Failed to lock the file")
    failed = run(lab, "replicate", VM, MIGRATEKIT_SOURCE__PATIENCE="0", **NFC)
    refused(lab, failed, 8, ErrorCode.SOURCE_LOCKED)


def test_sessions_that_end_are_opened_anew(lab: Lab) -> None:
    report(lab, "replicate", VM, **NFC)
    for rule in ({"at": "read", "mode": "cut", "skip": 3}, {"at": "chunk", "mode": "cut", "skip": 20}):
        lab.vcenter.nfc_forget()
        lab.vcenter.nfc_fault(**rule, max=2)
        assert report(lab, "verify", VM, **NFC)["identical"]
        assert lab.vcenter.nfc()["tickets"]["issued"] > 2, "two disks, and a session that broke"
        lab.vcenter.nfc_mend()
    assert lab.vcenter.nfc()["violations"] == []


@pytest.mark.parametrize("lie", ["sequence", "magic", "offset", "total", "beyond", "overlap", "huge", "empty", "zlib"])
def test_a_host_that_lies_is_not_believed(lab: Lab, lie: str) -> None:
    report(lab, "replicate", VM, **NFC)
    compression = "zlib" if lie == "zlib" else "skipz"
    lab.vcenter.nfc_fault(at="chunk", mode="lie", lie=lie, skip=10, max=2)
    settings = {"MIGRATEKIT_SOURCE__NFC__COMPRESSION": compression, **NFC}
    assert report(lab, "verify", VM, **settings)["identical"]
