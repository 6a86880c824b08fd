"""What is recorded of vSphere's answers: no name and no secret, and all that a fault may lie in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from migratekit_core.adapters.vsphere import record
from migratekit_core.adapters.vsphere.masks import Masks, key_of_user
from migratekit_core.common import recording
from migratekit_core.common.redact import MASK

NAMESPACES = 'xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
LOGIN = (
    f"<Envelope><Body><Login {NAMESPACES}><_this type='SessionManager'>SessionManager</_this>"
    "<userName>vmware-admin</userName><password>hunter22</password></Login></Body></Envelope>"
)
RETRIEVE = (
    f"<Envelope><Body><RetrievePropertiesEx {NAMESPACES}><_this type='PropertyCollector'>propertyCollector</_this>"
    "<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet><pathSet>config.hardware.device</pathSet>"
    "</propSet></specSet></RetrievePropertiesEx></Body></Envelope>"
)


def found(properties: str) -> bytes:
    """An answer about one machine."""
    return (
        f"<Envelope><Body><RetrievePropertiesExResponse {NAMESPACES}><returnval><objects>"
        f"<obj type='VirtualMachine'>vm-41</obj>{properties}</objects></returnval></RetrievePropertiesExResponse>"
        "</Body></Envelope>"
    ).encode()


def value(path: str, text: str, kind: str = "xsd:string") -> str:
    return f"<propSet><name>{path}</name><val xsi:type='{kind}'>{text}</val></propSet>"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recording, "_file", None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "record.jsonl"
    monkeypatch.setenv(recording.VARIABLE, str(path))
    record.masks.cache_clear()
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [row for line in path.read_text().splitlines() for row in json.loads(line).values()]


def recorded(path: Path, request: str, answer: bytes, status: int = 200) -> dict[str, Any]:
    with record.call(request) as call:
        call.answered(status, answer)
    return lines(path)[-1]


def told(path: Path, properties: str) -> dict[str, Any]:
    """What is recorded of a machine's properties, by their paths."""
    objects = recorded(path, RETRIEVE, found(properties))["answer"]["returnval"]["objects"]
    sets = objects["propSet"] if isinstance(objects["propSet"], list) else [objects["propSet"]]
    return {each["name"]: each["val"] for each in sets}


def test_a_call_is_a_line(file: Path) -> None:
    line = recorded(file, RETRIEVE, found(value("name", "web01")))
    assert (line["api"], line["command"], line["http"]) == ("vsphere", "RetrievePropertiesEx", 200)
    assert line["object"] == "PropertyCollector:propertyCollector"
    assert line["properties"] == ["name", "config.hardware.device"]
    assert line["answer"]["returnval"]["objects"]["obj"] == "VirtualMachine:vm-41"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_login_is_there_without_who_it_was(file: Path) -> None:
    line = recorded(file, LOGIN, f"<E><Body><LoginResponse {NAMESPACES}/></Body></E>".encode())
    assert line["arguments"]["password"] == MASK
    assert "hunter22" not in file.read_text()
    assert "vmware-admin" not in file.read_text()


KEPT = {
    "runtime.powerState": "poweredOn", "config.guestId": "debian11_64Guest", "config.version": "vmx-19",
    "config.hardware.numCPU": "4", "config.changeTrackingEnabled": "true", "guest.toolsVersion": "12352",
    "snapshot.createTime": "2019-03-04T05:06:07.12345Z", "config.guestFullName": "Debian GNU/Linux 11 (64-bit)",
}  # fmt: skip


@pytest.mark.parametrize(("path", "text"), KEPT.items())
def test_what_a_fault_may_lie_in_is_kept(file: Path, path: str, text: str) -> None:
    assert told(file, value(path, text)) == {path: text}


@pytest.mark.parametrize(
    ("path", "text", "form"),
    [
        ("name", "web01", r"~[0-9a-f]{8}"),
        # A machine may be called like a word of the API, or by a number.
        ("name", "normal", r"~[0-9a-f]{8}"),
        ("name", "4711", r"~[0-9a-f]{8}"),
        ("guest.hostName", "web01.example.com", r"~[0-9a-f]{8}"),
        ("config.files.vmPathName", "[gold-1] web01/web01_3.vmx", r"\[~\w{8}\] ~\w{8}/~\w{8}_3\.vmx"),
        ("backing.fileName", "[gold-1] web01/web01-000002.vmdk", r"\[~\w{8}\] ~\w{8}/~\w{8}-000002\.vmdk"),
        ("guest.ipAddress", "192.0.2.77", r"10\.\d+\.\d+\.\d+"),
        ("guest.ipAddress", "2001:db8::77", r"fd00::[0-9a-f]+:[0-9a-f]+"),
        ("device.macAddress", "00:50:56:01:02:03", r"02(:[0-9a-f]{2}){5}"),
        ("backing.changeId", "52 3f 1a/17", r"~[0-9a-f]{8}/17"),
        ("config.annotation", "owner: jane, phone 123", r"~[0-9a-f]{8}"),
    ],
)
def test_names_are_masked_in_their_form(file: Path, path: str, text: str, form: str) -> None:
    once, again = (told(file, value(path, text))[path] for _ in range(2))
    assert re.fullmatch(form, once), once
    assert once == again


def test_the_same_name_is_the_same_mask_wherever_it_stands(file: Path) -> None:
    found = told(file, value("name", "web01") + value("config.files.vmPathName", "[gold] web01/web01.vmx"))
    assert found["config.files.vmPathName"].endswith(f" {found['name']}/{found['name']}.vmx")


def test_the_key_is_this_users(tmp_path: Path) -> None:
    first, second = key_of_user(tmp_path / "a"), key_of_user(tmp_path / "b")
    assert first == key_of_user(tmp_path / "a")
    assert (tmp_path / "a" / "record.key").stat().st_mode & 0o777 == 0o600
    assert Masks(first).mask("web01") != Masks(second).mask("web01")
    (tmp_path / "file").write_text("")
    assert len(key_of_user(tmp_path / "file" / "below")) == 32, "for this process alone"


def test_advanced_settings_are_told_by_name(file: Path) -> None:
    own = "distroName='Debian GNU/Linux' distroVersion='11'"

    def option(key: str, text: str) -> str:
        return f"<OptionValue xsi:type='OptionValue'><key>{key}</key><value>{text}</value></OptionValue>"

    options = option("guestinfo.userdata", "c2VjcmV0") + option("guestInfo.detailed.data", own)
    options += option("scsi0:0.ctkEnabled", "TRUE") + option("annotation.of", "jane")
    kept = told(file, f"<propSet><name>config.extraConfig</name><val>{options}</val></propSet>")
    said = {each["key"]: each["value"] for each in kept["config.extraConfig"]["OptionValue"]}
    assert said["guestInfo.detailed.data"] == own
    assert said["scsi0:0.ctkEnabled"] == "TRUE"
    assert "c2VjcmV0" not in file.read_text()
    assert "jane" not in file.read_text()


def test_a_fault_is_told_without_the_names_in_it(file: Path) -> None:
    fault = (
        f"<E><Body><Fault {NAMESPACES}><faultstring>Unable to access file [gold] web01/web01.vmdk since it is "
        "locked by host 'esx7.example.com' (10.9.8.7)</faultstring><detail><FileLockedFault xsi:type='FileLocked'>"
        "<file>[gold] web01/web01.vmdk</file></FileLockedFault></detail></Fault></Body></E>"
    )
    line = recorded(file, RETRIEVE, fault.encode(), 500)
    assert line["http"] == 500
    assert line["answer"]["detail"]["FileLockedFault"]["_type"] == "FileLocked"
    assert line["answer"]["faultstring"].startswith("Unable to access file [~")
    assert [name for name in ("gold", "web01", "esx7", "example", "10.9.8.7") if name in file.read_text()] == []


def test_no_answer_and_one_that_is_none_are_told(file: Path) -> None:
    with pytest.raises(TimeoutError), record.call(RETRIEVE):
        raise TimeoutError("10.9.8.7 timed out")
    assert (lines(file)[-1]["http"], lines(file)[-1]["answer"]) == (None, {"error": "TimeoutError"})
    line = recorded(file, RETRIEVE, b"<html><title>503 at vc.example.com", 503)
    assert line["http"] == 503
    assert "example" not in file.read_text()


def test_tags_are_recorded_as_well(file: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        session = request.url.path.endswith("/session")
        return httpx.Response(
            200, json={"value": "a-session-of-ours" if session else {"name": "erp", "category_id": "c"}}
        )

    hooks = {"response": [record.rest]}
    with httpx.Client(base_url="https://vc", transport=httpx.MockTransport(answer), event_hooks=hooks) as http:
        assert http.post("/rest/com/vmware/cis/session").json()["value"] == "a-session-of-ours"
        assert http.get("/rest/com/vmware/cis/tagging/tag/id:1").json()["value"]["name"] == "erp"
    assert [line["command"].partition(" ")[0] for line in lines(file)] == ["POST", "GET"]
    assert [name for name in ("a-session-of-ours", "erp") if name in file.read_text()] == []


def test_nothing_is_recorded_where_nobody_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(recording.VARIABLE, raising=False)
    with record.call(RETRIEVE) as call:
        call.answered(200, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_fails_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(recording, "_troubled", False)
    recording.file_of_process()
    monkeypatch.setattr("migratekit_core.common.record_file.os.write", full)
    told: list[str] = []
    monkeypatch.setattr(recording, "say", told.append)
    for _ in range(2):
        with record.call(RETRIEVE) as call:
            call.answered(200, found(""))
    assert len(told) == 1
