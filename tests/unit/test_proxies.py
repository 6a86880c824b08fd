"""The environment's proxy variables: no connection goes by them, CloudStack's goes by the one that is configured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.patience import AT_ONCE
from migratekit_core.adapters.readers.reader import serve
from migratekit_core.adapters.vsphere import client, tags
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, UnreachableError, UsageError
from migratekit_core.config.load import load_config
from migratekit_core.config.schema import Ossea, VCenter
from tests.lab.parts.process import choose_port

NAMES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass
class Proxy:
    """What listens where the variables point to, and hangs up on everybody."""

    url: str
    asked: list[bytes] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.getsockname()[1]}")

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(5)
                        proxy.asked.append(connection.recv(200))

        threading.Thread(target=answer, daemon=True).start()
        yield proxy


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with listening() as found:
        for name in NAMES:
            monkeypatch.setenv(name, found.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield found


def ossea(scheme: str = "http", **more: object) -> Ossea:
    """A cloud where nothing answers."""
    url = f"{scheme}://127.0.0.1:{choose_port(None)}/client/api"
    keys = {"api_key": {"env": "PROXY_TEST"}, "secret_key": {"env": "PROXY_TEST"}}
    names = {"zone": "z", "disk_offering": "d", "oma_vm": "o"}
    return Ossea.model_validate({"api_url": url, **keys, **names, **more})


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_TEST", "key-of-a-proxy-test")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cloudstack_is_asked_directly(proxy: Proxy, scheme: str) -> None:
    with pytest.raises(UnreachableError):
        Cloud(ossea(scheme), AT_ONCE).request("listZones")
    assert proxy.asked == []


def test_recorded_calls_go_directly_as_well(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from migratekit_core.adapters.cloudstack import record
    from migratekit_core.common import recording

    monkeypatch.setattr(record, "_recorder", None)
    monkeypatch.setattr(recording, "_file", None)
    monkeypatch.setenv(recording.VARIABLE, str(tmp_path / "calls.jsonl"))
    with pytest.raises(UnreachableError):
        Cloud(ossea(), AT_ONCE).request("listZones")
    assert proxy.asked == []


def test_cloudstack_is_asked_through_the_proxy_that_is_configured(proxy: Proxy) -> None:
    with listening() as ours:
        with pytest.raises(UnreachableError):
            Cloud(ossea("https", proxy=ours.url), AT_ONCE).request("listZones")
        assert ours.asked[0].startswith(b"CONNECT 127.0.0.1:")
    assert proxy.asked == []


@pytest.mark.parametrize(
    "url", ["http://u:secret@proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://proxy/path"]
)
def test_a_proxy_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[ossea]\napi_url = "https://c/client/api"\nproxy = "{url}"\n')
    path.chmod(0o600)
    with pytest.raises(UsageError) as raised:
        load_config(path, environ={})
    assert raised.value.code is ErrorCode.CONFIG_INVALID
    assert "ossea.proxy" in str(raised.value)
    assert "u:secret" not in str(raised.value)


def test_vcenter_is_asked_directly(proxy: Proxy) -> None:
    away = {"host": "127.0.0.1", "port": choose_port(None), "user": "u", "password": {"env": "PROXY_TEST"}}
    vcenter = VCenter.model_validate(away)
    with pytest.raises(MigrateKitError), client.connect(vcenter):
        pass
    with pytest.raises(MigrateKitError):
        tags.read_tags(vcenter)
    assert proxy.asked == []


def test_readers_do_not_get_the_variables(proxy: Proxy, tmp_path: Path) -> None:
    """VDDK would go by them."""
    told = tmp_path / "environment"
    show = f"import os; open({str(told)!r}, 'w').write(repr(dict(os.environ)))"
    with (
        pytest.raises(OperationFailedError),
        serve([sys.executable, "-c", show], tmp_path / "disk.sock", "a disk", env={"LD_LIBRARY_PATH": "/vddk"}),
    ):
        pass
    found = told.read_text()
    assert "LD_LIBRARY_PATH" in found
    assert proxy.url not in found


def test_doctor_says_where_they_are_set(proxy: Proxy, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "migratekit"), "doctor", "--topic", "host", "-o", "json"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    assert "host.proxies" in done.stdout
    assert proxy.asked == []
