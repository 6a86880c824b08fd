"""No setting leads off this machine beside the tunnel: such a configuration is refused, not warned about."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.config import load_config
from migratekit_core.config.schema import Config, is_loopback
from migratekit_core.errors import UsageError

OSSEA = """
[ossea]
api_url = "{url}"
api_key = {{ env = "A" }}
secret_key = {{ env = "S" }}
zone = "z"
service_offering = "s"
disk_offering = "d"
oma_vm = "oma"
"""
TLS = '[tunnel]\nkind = "tls"\nhost = "oma.example"\nca_file = "/ca"\ncert_file = "/cert"\n'
DAEMON = '[daemon]\ntoken_file = "/token"\n'


def loaded(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_config(file, environ={})


BYPASSES = {
    "database.host": '[database]\nkind = "mariadb"\nhost = "10.0.0.5"\n',
    "database.host, wildcard": '[database]\nkind = "mariadb"\nhost = "0.0.0.0"\n',
    "database.host, name": '[database]\nkind = "mariadb"\nhost = "localhost.example.org"\n',
    "database.host, empty": '[database]\nkind = "mariadb"\nhost = ""\n',
    "volumes.host": '[volumes]\nhost = "192.0.2.1"\n',
    "volumes.nbd_host": '[volumes]\nnbd_host = "oma.example"\n',
    "daemon: listen": DAEMON + 'listen = "0.0.0.0"\n',
    "daemon: nbd_listen": DAEMON + 'nbd_listen = "::"\n',
    "ossea.api_url": OSSEA.format(url="http://cloud.example/client/api"),
    "ossea.api_url, another scheme": OSSEA.format(url="ftp://127.0.0.1/client/api"),
    "ossea.api_url, loopback as user name": OSSEA.format(url="http://127.0.0.1@cloud.example/client/api"),
}


@pytest.mark.parametrize("with_tunnel", [False, True], ids=["no tunnel", "tunnel"])
@pytest.mark.parametrize("setting", BYPASSES)
def test_a_bypass_is_refused_and_named(tmp_path: Path, setting: str, with_tunnel: bool) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, BYPASSES[setting] + (TLS if with_tunnel else ""))
    assert setting.partition(",")[0] in caught.value.why
    assert caught.value.exit_code == 2


def test_a_database_socket_beside_the_tunnel_is_refused(tmp_path: Path) -> None:
    socket = '[database]\nkind = "mariadb"\nsocket = "/run/mysqld/mysqld.sock"\n'
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, socket + TLS)
    assert "database.socket" in caught.value.why
    assert loaded(tmp_path, socket).database.socket == Path("/run/mysqld/mysqld.sock")


@pytest.mark.parametrize(
    "text",
    [
        '[database]\nkind = "mariadb"\nhost = "127.0.0.1"\n',
        '[database]\nkind = "mariadb"\nhost = "localhost"\n',
        '[volumes]\nhost = "::1"\nnbd_host = "127.0.0.2"\n',
        DAEMON + 'listen = "::1"\nnbd_listen = "127.0.0.1"\n',
        OSSEA.format(url="https://cloud.example/client/api"),
        OSSEA.format(url="http://127.0.0.1:8080/client/api"),
        OSSEA.format(url="http://[::1]:8080/client/api"),
        TLS,
    ],
)
def test_what_stays_on_this_machine_or_is_encrypted_is_accepted(tmp_path: Path, text: str) -> None:
    assert isinstance(loaded(tmp_path, text), Config)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.1.2.3", "127.0.0.1.example", "localhost.", "oma", "[::]"])
def test_what_is_not_certainly_this_machine_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
