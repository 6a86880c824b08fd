"""The readers ssh and vddk from end to end: what they copy is the disk, and what they refuse they explain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import nbd
import pytest
from pyVim.task import WaitForTask

from migratekit_core.adapters.readers import vddk
from migratekit_core.adapters.readers.model import Ask, Snapshot
from migratekit_core.adapters.vsphere import client, snapshots
from migratekit_core.adapters.vsphere.inventory import find_vm, managed_object, read_disks
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError, PreconditionError
from migratekit_core.config import source as config
from migratekit_core.config.load import load_config
from migratekit_core.config.schema import VCenter
from migratekit_core.config.secret import SecretSource
from tests.coded import raises
from tests.integration.machines import overwrite
from tests.integration.support import (
    GRANULE,
    MIB,
    foreign_snapshot,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    run,
    vsphere,
)
from tests.integration.test_secrets import watching
from tests.lab.lab import Lab
from tests.lab.parts import esxi
from tests.lab.vddk import LARGEST_SECTORS, PLUGIN, Vddk, unpack


@pytest.fixture(scope="module")
def host(shared_lab: Lab) -> Iterator[esxi.Esxi]:
    """The ESXi host of the lab's machines, by ssh."""
    started = esxi.start(shared_lab.run, shared_lab.vcenter.datastore)
    yield started
    started.part.stop()


@pytest.fixture
def library(tmp_path: Path, lab: Lab) -> Vddk:
    """VDDK, unpacked."""
    return unpack(tmp_path / "vmware-vix-disklib-distrib", lab.vcenter.datastore)


def by_ssh(lab: Lab, host: esxi.Esxi, **other: str) -> dict[str, str]:
    """Return the environment that has a command read by ssh; `other` settings of source.ssh override."""
    with vsphere(lab, "esxi01") as machine:
        name = machine.runtime.host.name
    settings = {
        "known_hosts": str(host.known_hosts),
        "identity": str(host.identity),
        "port": str(host.port),
        "hosts": f'{{ "{name}" = "127.0.0.1" }}',
        **other,
    }
    named = {f"MIGRATEKIT_SOURCE__SSH__{key.upper()}": value for key, value in settings.items() if value}
    return {"MIGRATEKIT_SOURCE__READER": "ssh", **named}


def test_ssh_copies_a_machine_in_full_and_what_changed(lab: Lab, host: esxi.Esxi) -> None:
    settings, vm = by_ssh(lab, host), "esxi01"
    first = report(lab, "replicate", vm, **settings)
    assert first["kind"] == "full"
    assert "Accepted publickey for root" in host.part.log.read_text()
    identical(lab, vm)
    overwrite(lab.vcenter, vm, 0, 3 * MIB + 512, 4096, 1)
    overwrite(lab.vcenter, vm, 1, MIB, 4096, 2)
    second = report(lab, "replicate", vm, **settings)
    assert (second["kind"], second["bytes_changed"]) == ("incremental", 2 * GRANULE)
    identical(lab, vm)
    assert report(lab, "verify", vm, **settings)["identical"]

    # With a password instead of a key, which no process shows.
    overwrite(lab.vcenter, vm, 0, MIB, 4096, 3)
    secret = lab.run / "esxi.secret"
    secret.write_text(host.password)
    secret.chmod(0o600)
    lab.secrets["esxi"] = host.password
    with_password = by_ssh(lab, host, identity="", password=f'{{ file = "{secret}" }}')
    with watching(lab) as seen:
        report(lab, "replicate", vm, SSH_AUTH_SOCK="", HOME="/nonexistent", **with_password)
    assert any(" ssh host=" in line for line in seen)
    assert [line for line, environment in seen.items() if host.password in line + environment] == []
    assert "Accepted password for root" in host.part.log.read_text()
    identical(lab, vm)
    nothing_left(lab, vm)
    no_children(lab)


def test_ssh_refuses_what_is_not_right(lab: Lab, host: esxi.Esxi, tmp_path: Path) -> None:
    vm = "esxi01"
    other = tmp_path / "known_hosts"
    other.write_text(f"[127.0.0.1]:{host.port} {esxi.keypair(tmp_path / 'other')}\n")
    said = refused(
        lab, run(lab, "replicate", vm, **by_ssh(lab, host, known_hosts=str(other))), 5, ErrorCode.SOURCE_UNTRUSTED
    )
    assert f"ESXi host 127.0.0.1:{host.port} cannot be trusted" in said
    assert str(other) in said

    nobody = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": ""}
    said = refused(
        lab,
        run(lab, "replicate", vm, **by_ssh(lab, host, identity=str(host.stranger)), **nobody),
        5,
        ErrorCode.SOURCE_LOGIN_REFUSED,
    )
    assert f"ESXi host 127.0.0.1:{host.port} refused the login of root" in said
    secret = tmp_path / "wrong.secret"
    secret.write_text("wrong")
    secret.chmod(0o600)
    wrong = by_ssh(lab, host, identity="", password=f'{{ file = "{secret}" }}')
    assert "refused the login of root" in refused(
        lab, run(lab, "replicate", vm, **wrong, **nobody), 5, ErrorCode.SOURCE_LOGIN_REFUSED
    )

    said = refused(lab, run(lab, "replicate", vm, **by_ssh(lab, host, port="9")), 6, ErrorCode.SOURCE_UNREACHABLE)
    assert "ESXi host 127.0.0.1:9 does not answer" in said
    nothing_left(lab, vm)


def test_vddk_copies_a_machine_in_full_and_what_changed(lab: Lab, library: Vddk) -> None:
    settings, vm = library.settings, "vddk01"
    # Requests of 8 MiB: VDDK never gets more than 2 MiB of it.
    large = {"MIGRATEKIT_REPLICATION__REQUEST_SIZE": str(8 * MIB)}
    with watching(lab) as seen:
        assert report(lab, "replicate", vm, **settings, **large)["kind"] == "full"
    identical(lab, vm)
    nbdkits = [line for line in seen if "thumbprint=" in line]
    assert nbdkits
    assert [line for line, environment in seen.items() if lab.secrets["vcenter"] in line + environment] == []
    sizes = [int(sectors) for name, *_, sectors in library.calls() if name == "read"]
    assert max(sizes) == LARGEST_SECTORS
    # Two disks, and one session for each however many connections the engine opens.
    assert library.most_at_once() == 2

    library.forget()
    overwrite(lab.vcenter, vm, 0, 3 * MIB + 512, 4096, 1)
    overwrite(lab.vcenter, vm, 1, MIB, 4096, 2)
    library.lose_session()
    one = {"MIGRATEKIT_SOURCE__VDDK__SESSIONS": "1"}
    second = report(lab, "replicate", vm, **settings, **one)
    assert (second["kind"], second["bytes_changed"]) == ("incremental", 2 * GRANULE)
    assert not library.loses_session
    assert library.most_at_once() == 1
    identical(lab, vm)
    assert report(lab, "verify", vm, **settings)["identical"]
    nothing_left(lab, vm)
    no_children(lab)


def test_vddk_says_what_is_missing(lab: Lab, library: Vddk, tmp_path: Path) -> None:
    none = {**library.settings, "MIGRATEKIT_SOURCE__VDDK__LIBDIR": str(tmp_path / "none")}
    text = refused(lab, run(lab, "replicate", "vddk01", **none), 4, ErrorCode.NOT_INSTALLED)
    assert "there is no such folder" in text
    assert "get VDDK" in text

    def missing(libdir: Path = library.libdir, plugin: str = str(PLUGIN)) -> PreconditionError:
        with pytest.raises(PreconditionError) as caught:
            vddk.require(config.Vddk(libdir=libdir, plugin=plugin))
        return caught.value

    (tmp_path / "empty").mkdir()
    assert "holds no VDDK" in missing(tmp_path / "empty").what
    broken = tmp_path / "broken" / "lib64"
    broken.mkdir(parents=True)
    (broken / "libvixDiskLib.so.8").write_text("not a library")
    assert "cannot be loaded" in missing(broken.parent).what
    found = missing(plugin="vddk")
    assert "nbdkit has no plugin vddk" in found.what
    assert "source.vddk.plugin" in str(found.todo)
    vddk.require(config.Vddk(libdir=library.libdir, plugin=str(PLUGIN)))


def test_what_vddk_itself_refuses(lab: Lab, library: Vddk, monkeypatch: pytest.MonkeyPatch) -> None:
    vcenter = load_config(lab.config, environ={}).vcenter
    assert vcenter is not None
    settings = config.Vddk(libdir=library.libdir, plugin=str(PLUGIN))
    monkeypatch.setattr(vddk, "RETRIES", ("retries=0",))
    monkeypatch.setenv("WRONG", "certainly not the password")

    def opened(snapshot: str, centre: VCenter = vcenter, how: config.Vddk = settings) -> AbstractContextManager[str]:
        held = Snapshot(vm, snapshot, lambda: nullcontext(managed))
        return vddk.open_disk(Ask(centre, config.Source(vddk=how), held, disk, lambda text: None, lambda: False))

    with client.connect(vcenter) as service:
        vm = find_vm(service, "vddk01")
        managed = managed_object(service, vm)
        taken = snapshots.create(managed, "reader", "")
        try:
            disk = read_disks(taken)[0]
            wrong = vcenter.model_copy(update={"password": SecretSource(env="WRONG")})
            with raises(AuthError, ErrorCode.SOURCE_LOGIN_REFUSED) as caught, opened(taken._moId, wrong):
                raise AssertionError("logged in")
            assert "certainly" not in f"{caught.value.why} {caught.value.todo}"
            # A snapshot that is gone, and no snapshot at all while the machine runs.
            with pytest.raises(OperationFailedError, match="is not one of"), opened("snapshot-0"):
                raise AssertionError("opened it")
            with raises(AuthError, ErrorCode.VCENTER_PRIVILEGE_MISSING), opened(""):
                raise AssertionError("opened it")
            # A transport that needs the disk on this very host.
            near = settings.model_copy(update={"transports": "hotadd"})
            with pytest.raises(OperationFailedError, match="not supported"), opened(taken._moId, how=near):
                raise AssertionError("opened it")
            # Without the limit, reads of more than 2 MiB arrive at the library, which fails as the real one does.
            monkeypatch.setattr(vddk, "LARGEST_READ", "64M")
            with opened(taken._moId) as uri:
                handle = nbd.NBD()
                handle.connect_uri(uri)
                assert handle.is_read_only()
                assert len(handle.pread(2 * MIB, 0)) == 2 * MIB
                with pytest.raises(nbd.Error):
                    handle.pread(2 * MIB + 512, 0)
        finally:
            snapshots.remove(managed, taken._moId)


def test_https_has_one_login_and_another_when_the_session_ends(lab: Lab) -> None:
    settings, vm = {"MIGRATEKIT_SOURCE__READER": "https"}, "esxi01"
    lab.vcenter.http.delete("/lab/calls").raise_for_status()
    with watching(lab) as seen:
        report(lab, "replicate", vm, "--compare", **settings)
    assert lab.vcenter.http.get("/lab/calls").json()["calls"]["Login"] == 1
    assert any("plugin.py" in line for line in seen)
    assert [line for line in seen if "vmware_soap_session" in line or "user=" in line] == []
    identical(lab, vm)

    lab.vcenter.http.delete("/lab/calls").raise_for_status()
    lab.vcenter.fault(mode="session-ended", method="GET /folder", skip=3, max=1)
    report(lab, "replicate", vm, "--compare", **settings)
    assert lab.vcenter.faults()[0]["hits"] == 1
    lab.vcenter.clear_faults()
    assert lab.vcenter.http.get("/lab/calls").json()["calls"]["Login"] == 2
    identical(lab, vm)
    nothing_left(lab, vm)


def test_https_names_what_keeps_it_from_a_file(lab: Lab) -> None:
    vm = "auto01"

    def said(exit_code: int, code: ErrorCode, status: int, text: str = "") -> str:
        lab.vcenter.fault(mode="status", method="GET /folder", status=status, text=text)
        settings = {"MIGRATEKIT_SOURCE__READER": "https", "MIGRATEKIT_SOURCE__PATIENCE": "1s"}
        try:
            return refused(lab, run(lab, "replicate", vm, **settings), exit_code, code)
        finally:
            lab.vcenter.clear_faults()

    for exit_code, code, status in (
        (8, ErrorCode.SOURCE_LOCKED, 500),
        (6, ErrorCode.VCENTER_UNREACHABLE, 503),
        (5, ErrorCode.VCENTER_PRIVILEGE_MISSING, 403),
        (1, ErrorCode.SOURCE_FILE_MISSING, 404),
        (4, ErrorCode.READER_UNFIT, 200),
    ):
        assert f"answered {status}" in said(exit_code, code, status)
    said(1, ErrorCode.BAD_ANSWER, 200, "<html>log in</html>")
    report(lab, "replicate", vm, MIGRATEKIT_SOURCE__READER="https")
    identical(lab, vm)
    nothing_left(lab, vm)


def test_auto_takes_https_first_and_names_the_reasons_of_all(lab: Lab, library: Vddk) -> None:
    auto = {**library.settings, "MIGRATEKIT_SOURCE__READER": "auto"}
    # Proxies of the environment, which are not there: nothing goes by them.
    absent = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    report(lab, "replicate", "auto01", **auto, **absent)
    assert library.calls() == []
    foreign_snapshot(lab, "auto01")
    text = refused(lab, run(lab, "replicate", "auto01"), 4, ErrorCode.READER_UNFIT)
    assert "over https: it already had a snapshot" in text
    assert "through vddk: no VDDK is configured" in text
    # With a library it is VDDK's turn: it reads the snapshot through the chain, and the other one stays.
    overwrite(lab.vcenter, "auto01", 0, 512 * 1024, 4096, 1)
    done = report(lab, "replicate", "auto01", **auto)
    assert (done["kind"], done["bytes_changed"]) == ("incremental", GRANULE)
    assert [call[0] for call in library.calls() if call[0] != "read"] == ["open", "close"]
    identical(lab, "auto01")
    assert len(lab.vcenter.vm("auto01")["snapshots"]) == 1
    with vsphere(lab, "auto01") as machine:
        WaitForTask(machine.RemoveAllSnapshots_Task())


def test_auto_reads_vsan_through_vddk(lab: Lab, library: Vddk) -> None:
    auto = {**library.settings, "MIGRATEKIT_SOURCE__READER": "auto"}
    with vsphere(lab, "auto01") as machine:
        (store,) = machine.datastore
        was = store.summary.type
        try:
            lab.vcenter.properties("Datastore", store._moId, {"summary.type": "vsan"})
            text = refused(lab, run(lab, "replicate", "auto01"), 4, ErrorCode.READER_UNFIT)
            assert "is vSAN: there is no flat file on it; through vddk: no VDDK is configured" in text
            assert {"MK-STORE-001"} <= rules(lab)
            assert not {"MK-STORE-001"} & rules(lab, **auto)
            report(lab, "replicate", "auto01", **auto)
            assert library.calls()
        finally:
            lab.vcenter.properties("Datastore", store._moId, {"summary.type": was})
    identical(lab, "auto01")
    nothing_left(lab, "auto01")


def rules(lab: Lab, **settings: str) -> set[str]:
    """Return the rules that an assessment of the machine hits."""
    found = json.loads(run(lab, "assess", "auto01", "--output", "json", **settings).stdout)
    return {finding["rule"] for finding in found["findings"]}
