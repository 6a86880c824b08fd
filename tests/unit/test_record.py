"""`--record FILE`: what is written of each call to CloudStack, and what never is."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from migratekit_core.adapters.cloudstack import record
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.patience import AT_ONCE
from migratekit_core.common import recording, redact
from migratekit_core.common.errors import OperationFailedError, UnreachableError, UsageError
from migratekit_core.common.record_file import LineFile
from migratekit_core.config.schema import Ossea
from migratekit_core.config.secret import SecretSource
from tests.unit.command import run

API_KEY, SECRET_KEY, PASSWORD = "an-api-key-of-ours", "the-secret-key-of-ours", "a database password"
Answer = tuple[int, str, str]


class Answers(ThreadingHTTPServer):
    """Answers each call with the next of its answers: status, type, body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []


class Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "_recorder", None)
    monkeypatch.setattr(recording, "_file", None)
    path = tmp_path / "record.jsonl"
    monkeypatch.setenv(recording.VARIABLE, str(path))
    return path


@pytest.fixture
def cloud(server: Answers, file: Path, tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Makes a client of the server that records."""

    def make(port: int = 0, note: Callable[[str], None] | None = None) -> Cloud:
        for name, secret in (("key", API_KEY), ("secret", SECRET_KEY)):
            (tmp_path / name).write_text(secret)
            (tmp_path / name).chmod(0o600)
        ossea = Ossea(
            api_url=f"http://127.0.0.1:{port or server.server_address[1]}/client/api",
            api_key=SecretSource(file=tmp_path / "key"),
            secret_key=SecretSource(file=tmp_path / "secret"),
            zone="zone",
            service_offering="small",
            disk_offering="custom",
            oma_vm="oma01",
        )
        return Cloud(ossea, AT_ONCE, note)

    yield make
    record._of_process().close()


def answer(body: Any, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(body)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return what the lines say, and check that their names are their commands and numbers."""
    found = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        (name, line), *more = json.loads(text).items()
        assert not more
        assert name == f"{line['command']}.{number}"
        found.append(line)
    return found


def test_a_call_is_a_line_and_the_file_is_private(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    server.answers = [answer({"listzonesresponse": {"count": 1, "zone": [{"id": "z", "name": "zone"}]}})]
    cloud().list("listZones", "zone", available=True)
    (line,) = lines(file)
    assert line.pop("at").endswith("Z")
    assert line.pop("seconds") >= 0
    assert line == {
        "command": "listZones",
        "method": "POST",
        "parameters": {"available": "true", "page": "1", "pagesize": "500"},
        "http": 200,
        "answer": {"listzonesresponse": {"count": 1, "zone": [{"id": "z", "name": "zone"}]}},
    }
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_job_belongs_to_its_call(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    poll = {"jobid": "j", "jobstatus": 0}
    end = {"jobid": "j", "jobstatus": 2, "jobresultcode": 530, "jobresult": {"errorcode": 530, "errortext": "full"}}
    server.answers = [
        answer({"attachvolumeresponse": {"jobid": "j"}}),
        answer({"queryasyncjobresultresponse": poll}),
        answer({"queryasyncjobresultresponse": end}),
        answer({"queryasyncjobresultresponse": {**end, "jobid": "of another process"}}),
    ]
    client = cloud()
    with pytest.raises(OperationFailedError):
        client.run("attachVolume", id="v", virtualmachineid="m")
    client.request("queryAsyncJobResult", jobid="of another process")
    first, second = lines(file)
    assert (first["command"], first["answer"]) == ("attachVolume", {"attachvolumeresponse": {"jobid": "j"}})
    assert first["job"] == {"queryasyncjobresultresponse": end}
    assert (second["command"], "job" in second) == ("queryAsyncJobResult", False)


def test_a_call_whose_jobs_end_was_not_seen_is_there_and_says_so(
    server: Answers, cloud: Callable[..., Cloud], file: Path
) -> None:
    server.answers = [answer({"attachvolumeresponse": {"jobid": "j"}})]
    cloud().request("attachVolume", id="v")
    assert file.read_text() == ""
    record._of_process().close()
    (line,) = lines(file)
    assert (line["answer"], line["note"]) == (
        {"attachvolumeresponse": {"jobid": "j"}},
        "the end of its job was not seen",
    )


def test_no_answer_is_recorded_as_such(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    server.answers = [(502, "text/html", "<html>Bad Gateway</html>"), (404, "text/html", f"<p>{API_KEY}</p>")]
    client = cloud()
    with pytest.raises(UnreachableError):
        client.request("listZones")
    with pytest.raises(OperationFailedError):
        client.request("listZones")
    with pytest.raises(UnreachableError):
        cloud(port=9).request("deleteVolume", id="v")
    first, second, third = lines(file)
    assert (first["http"], first["answer"]) == (502, "<html>Bad Gateway</html>")
    assert (second["http"], second["answer"]) == (404, "<p>[redacted]</p>")
    assert third["http"] is None
    assert third["answer"] == {"error": "ConnectionError", "cause": "ConnectionRefusedError"}


def test_no_secret_is_in_it(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    redact.remember(PASSWORD)
    private = {
        "apikey": "hush-1", "secretkey": "hush-2", "password": "hush-3", "privatekey": "hush-4", "sessionkey": "hush-5",
        "userdata": "hush-6", "zonetoken": "hush-7", "ipsecpsk": "hush-8", "presharedkey": "hush-9",
        "certificate": "hush-10", "publickey": "hush-11",
        "consoleendpoint": {"url": "https://console/?token=hush-12", "websocket": {"token": "hush-13"}},
        "details": {"vnc.password": "hush-14"}, "users": [{"secretkey": "hush-15"}],
    }  # fmt: skip
    told = {"name": "web01", "size": 7, "url": None, "text": f"seen: {SECRET_KEY} and password=hush-16, {PASSWORD}"}
    server.answers = [answer({"listusersresponse": {"user": [{**private, **told}]}}), answer({"r": {}})]
    client = cloud()
    client.request("listUsers", userdata="hush-17")
    client.request("deployVirtualMachine", details=[{"key": "a", "rootpassword": "hush-18"}], name="web01")
    text = file.read_text()
    assert "hush" not in text
    for secret in (API_KEY, SECRET_KEY, PASSWORD, "signature", "expires"):
        assert secret not in text
    first, second = lines(file)
    (user,) = first["answer"]["listusersresponse"]["user"]
    assert user.keys() == private.keys() | told.keys()
    assert (user["name"], user["size"], user["url"]) == ("web01", 7, None)
    assert user["details"] == {"vnc.password": "[redacted]"}
    assert first["parameters"] == {"userdata": "[redacted]"}
    assert second["parameters"] == {"details[0].key": "a", "details[0].rootpassword": "[redacted]", "name": "web01"}


def test_a_long_answer_is_cut_and_says_so(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    rows = [{"id": str(number), "password": "hush", "name": "x" * 1000} for number in range(1200)]
    server.answers = [answer({"listvolumesresponse": {"count": 1200, "volume": rows}})]
    assert len(cloud().list("listVolumes", "volume")) == 1200
    (line,) = lines(file)
    assert line["answer"].startswith('{"listvolumesresponse":')
    assert line["answer"].endswith(" characters)")
    assert len(line["answer"]) < record.LONGEST + 50
    assert "hush" not in line["answer"]


def test_a_full_disk_fails_nothing_and_is_said_once(server: Answers, cloud: Callable[..., Cloud], file: Path) -> None:
    said: list[str] = []
    zone = answer({"listzonesresponse": {"count": 1, "zone": [{"id": "z" * 3000}]}})
    server.answers = [zone] * 5
    client = cloud(note=said.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        for _ in range(4):
            assert len(client.list("listZones", "zone")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    client.list("listZones", "zone")
    assert len(said) == 1
    assert "not everything is recorded" in said[0]
    # Nothing of what did not fit, and what came when there was room again.
    assert len(lines(file)) == 3


ADD = """
import sys
from pathlib import Path
from migratekit_core.common.record_file import LineFile
file = LineFile(Path(sys.argv[1]))
for _ in range(200):
    file.add(lambda number: '{"a.%d": {"command": "a", "by": "%s"}}' % (number, sys.argv[2]))
"""


def test_several_processes_add_whole_lines_with_numbers_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    both = [subprocess.Popen([sys.executable, "-c", ADD, str(path), name]) for name in ("one", "other")]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(line["by"] for line in lines(path)) == ["one"] * 200 + ["other"] * 200


def test_a_line_that_a_killed_process_left_half_written_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text('{"a.1": {"command": "a"}}\n{"b.2": {"comm')
    LineFile(path).add(lambda number: f'{{"c.{number}": {{}}}}')
    assert path.read_text().splitlines() == ['{"a.1": {"command": "a"}}', '{"b.2": {"comm', '{"c.3": {}}']


@pytest.mark.parametrize("what", ["folder", "link", "pipe", "other", "nowhere", "device"])
def test_what_is_no_recording_of_ours_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "record.jsonl"
    (tmp_path / "mine").write_text('{"a.1": {}}\n')
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "mine")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "other":
        path.write_text("[ossea]\n")
    elif what == "nowhere":
        path = tmp_path / "no" / "record.jsonl"
    else:
        path = Path("/dev/full")
    with pytest.raises(UsageError):
        LineFile(path)


def test_the_command_refuses_before_it_begins(tmp_path: Path) -> None:
    done = run("--record", str(tmp_path / "no" / "r"), "config", "show")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: ", "  why: ", "   do: "]
    assert not (tmp_path / "no").exists()
    done = run("--record", str(tmp_path / "r"), "config", "show")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r").read_text() == ""
    assert run("config", "show", MIGRATEKIT_RECORD=str(tmp_path / "s")).returncode == 0
    assert (tmp_path / "s").exists()


def test_a_tag_that_is_called_like_a_secret_is_one() -> None:
    tags = [{"key": "db-password", "value": "hunter2"}, {"key": "migratekit", "value": "42"}, {"key": "value"}]
    first, second, third = record.cleaned({"virtualmachine": [{"tags": tags}]})["virtualmachine"][0]["tags"]
    assert first == {"key": "db-password", "value": "[redacted]"}
    assert (second, third) == (tags[1], tags[2])
