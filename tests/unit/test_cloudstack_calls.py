"""What becomes of calls to CloudStack that go wrong on their way: answers that are none, lists that change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud, Untracked
from migratekit_core.adapters.cloudstack.compute import Destroyed
from migratekit_core.adapters.cloudstack.patience import InterruptedJobError, LostJobError
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.files import write_private
from migratekit_core.common.units import GIB
from migratekit_core.config.schema import Ossea
from migratekit_core.config.secret import SecretSource
from migratekit_core.services.failover import rollback
from migratekit_core.services.failover.destination import KEPT_MACHINE
from migratekit_core.volumed.daemon import actions
from migratekit_core.volumed.daemon.storage import Volume


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """Yield the URL of a server that gives every call this page."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/client/api"
    finally:
        server.shutdown()
        server.server_close()


def cloud_at(url: str, folder: Path) -> Cloud:
    for name in ("key", "secret"):
        write_private(folder / name, f"the {name} of nobody")
    return Cloud(
        Ossea(
            api_url=url,
            api_key=SecretSource(file=folder / "key"),
            secret_key=SecretSource(file=folder / "secret"),
            zone="zone",
            disk_offering="Custom",
            oma_vm="oma01",
        )
    )


@pytest.mark.parametrize("status", [200, 404, 408, 524])
def test_a_change_that_something_else_answered_may_have_been_made(status: int, tmp_path: Path) -> None:
    with answering(status, "<html>a time-out of what stands between</html>") as url:
        cloud = cloud_at(url, tmp_path)
        with pytest.raises(LostJobError) as caught:
            cloud.request("deployVirtualMachine", name="erp01")
        assert caught.value.code is ErrorCode.LOST
        with pytest.raises(OperationFailedError) as read:
            cloud.request("listZones")
        assert not isinstance(read.value, LostJobError)


class Listing(Cloud):
    """A cloud whose rows go and come between two pages."""

    def __init__(self, rows: list[int], between: Callable[[list[int]], None]) -> None:
        self._url = f"https://listing.invalid/{id(self)}"
        self.rows, self.between = rows, between

    def request(self, command: str, **parameters: Any) -> dict[str, Any]:
        size = parameters["pagesize"]
        begin = (parameters["page"] - 1) * size
        part = [{"id": str(number)} for number in self.rows[begin : begin + size]]
        answer = {"count": len(self.rows), "volume": part} if part else {}
        self.between(self.rows)
        return answer


@pytest.mark.parametrize("size", [10, 12, 20])
def test_no_row_is_missed_where_another_goes_between_two_pages(size: int) -> None:
    gone: list[int] = []

    def one_goes(rows: list[int]) -> None:
        if not gone:
            gone.append(rows.pop(3))

    cloud = Listing([*range(21)], one_goes)
    found = {row["id"] for row in cloud._pages("listVolumes", "volume", size, {})}
    assert {str(number) for number in range(21) if number not in gone} <= found


def test_a_list_that_never_stands_still_ends() -> None:
    cloud = Listing([*range(40)], lambda rows: rows.append(len(rows)))
    assert len(cloud._pages("listVolumes", "volume", 20, {})) >= 40


class Keeping(Cloud):
    """A cloud that does not expunge, and gives a machine no other name."""

    def __init__(self) -> None:
        self._url = "https://keeping.invalid"
        self.state, self.calls = "Running", list[str]()

    def list(self, command: str, key: str, /, **parameters: Any) -> list[dict[str, Any]]:
        return [{"id": parameters["id"], "name": "web1", "state": self.state}]

    def request(self, command: str, **parameters: Any) -> dict[str, Any]:
        self.calls.append(command)
        raise PreconditionError("the name is taken", code=ErrorCode.NAME_TAKEN)

    def run(self, command: str, jobs: Any = None, **parameters: Any) -> dict[str, Any]:
        self.calls.append(command)
        if parameters.get("expunge"):
            raise AuthError("no expunging", code=ErrorCode.EXPUNGE_NOT_ALLOWED)
        self.state = {"stopVirtualMachine": "Stopped", "destroyVirtualMachine": "Destroyed"}[command]
        return {}


def test_a_machine_is_destroyed_also_where_its_name_cannot_be_set_free() -> None:
    cloud = Keeping()
    assert compute.destroy(cloud, "1" * 36, Untracked()) is Destroyed.KEPT
    assert cloud.state == "Destroyed"
    assert "updateVirtualMachine" in cloud.calls, "it was tried"


class Filling:
    """A storage whose server is restarted while it fills a volume; it stays Creating, as the double has it."""

    def __init__(self) -> None:
        self.made: Volume | None = None
        self.deleted = False

    def named(self, name: str) -> Volume | None:
        return self.made

    def get(self, volume_id: str) -> Volume | None:
        return self.made

    def create_from_snapshot(self, name: str, snapshot_id: str, jobs: Any) -> Volume:
        self.made = Volume("1" * 36, name, "Creating", "DATADISK", GIB, None, None, None, {})
        raise InterruptedJobError("restarted", code=ErrorCode.INTERRUPTED)

    def tag(self, volume: Volume, tags: dict[str, str], jobs: Any) -> Volume:
        return volume

    def delete(self, volume_id: str) -> None:
        self.deleted = True


def test_a_copy_that_a_restart_has_ended_is_not_waited_for_as_one_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def await_result(look: Callable[[], Any], seconds: float) -> Any:
        waited.append(seconds)
        return look()

    monkeypatch.setattr(actions, "await_result", await_result)
    owned: list[str] = []
    record = SimpleNamespace(
        CREATED="created",
        own=lambda engine, volume_id, origin: owned.append(volume_id),
        disown=lambda engine, volume_id: owned.remove(volume_id),
    )
    monkeypatch.setattr(actions, "ownership", record)
    storage, step = Filling(), SimpleNamespace(log=lambda *told, **fields: None)
    context: Any = SimpleNamespace(
        storage=storage,
        volumes=None,
        settings=SimpleNamespace(settle_timeout=1.5),
        job=SimpleNamespace(step=lambda name: nullcontext(step)),
        jobs=lambda operation: Untracked(),
        passed=lambda operation, where: None,
    )
    request = {"name": "copy", "snapshot_id": "2" * 36, "tags": {"migratekit": "x"}}
    operation: Any = SimpleNamespace(id="3" * 36, type="clone", request=request)
    with pytest.raises(OperationFailedError):
        actions.clone(context, operation)
    assert waited, "it is given a moment"
    assert max(waited) <= 1.5, "nobody fills it any more"
    assert storage.deleted
    assert owned == [], "it is nobody's any more"


class Refusing(Cloud):
    """A cloud that refuses every list."""

    def __init__(self, error: MigrateKitError) -> None:
        self._url, self.error = "https://refusing.invalid", error

    def list(self, command: str, key: str, /, **parameters: Any) -> list[dict[str, Any]]:
        raise self.error


def test_a_role_that_may_list_no_machines_is_not_told_that_the_oma_does_not_exist() -> None:
    with pytest.raises(AuthError) as caught:
        compute.oma(Refusing(AuthError("not allowed", code=ErrorCode.NOT_ALLOWED)), "oma01")
    assert caught.value.code is ErrorCode.NOT_ALLOWED


class Standing(Keeping):
    """A cloud with a machine in a state that it stays in."""

    def __init__(self, state: str) -> None:
        super().__init__()
        self.state = state


@pytest.mark.parametrize(("state", "stops"), [("Error", False), ("Stopped", True)])
def test_a_machine_in_error_that_keeps_its_volumes_does_not_keep_the_source_off(state: str, stops: bool) -> None:
    def detach(volume_id: str) -> None:
        raise PreconditionError("specify a VM that is either running or stopped", code=ErrorCode.UNKNOWN)

    machine = "1" * 36
    way: Any = SimpleNamespace(
        cloud=Standing(state),
        volumes=SimpleNamespace(get=lambda volume_id: {"vm_id": machine}, detach=detach),
        runtime=SimpleNamespace(databases=SimpleNamespace(oma=None)),
        record=SimpleNamespace(id="2" * 36),
    )
    step = SimpleNamespace(log=lambda *told, **fields: None)
    job: Any = SimpleNamespace(step=lambda name: nullcontext(step), id="3" * 36, correlation_id="c")
    with pytest.raises(PreconditionError) if stops else nullcontext():
        rollback._disarm(way, job, machine, ["4" * 36])


def test_a_machine_that_will_be_kept_is_written_down_before_nobody_sees_it_any_more() -> None:
    class Killed(Keeping):
        def run(self, command: str, jobs: Any = None, **parameters: Any) -> dict[str, Any]:
            done = super().run(command, jobs, **parameters)
            if command == "destroyVirtualMachine":
                raise KeyboardInterrupt
            return done

    machine, state = "1" * 36, dict[str, Any]()
    way: Any = SimpleNamespace(
        cloud=Killed(),
        volumes=SimpleNamespace(volumes=list),
        runtime=SimpleNamespace(databases=SimpleNamespace(oma=None)),
        record=SimpleNamespace(id="2" * 36, remember=state.update, state=lambda: state),
    )
    job: Any = SimpleNamespace(step=lambda name: nullcontext(), id="3" * 36, correlation_id="c")
    with pytest.raises(KeyboardInterrupt):
        rollback._destroy(way, job, machine, [])
    assert state == {KEPT_MACHINE: machine}
