"""No setting leads off this machine beside the tunnel: such a configuration is refused, not warned about."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.common.errors import UsageError
from migratekit_core.config import load_config
from migratekit_core.config.base import is_loopback
from migratekit_core.config.schema import Config

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
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"
SSH = f'[tunnel]\nkind = "ssh"\nhost = "oma.example"\n[tunnel.ssh]\nhost_key = "{SSH_KEY}"\n'
SERVER = '[tunnel.server]\ncert_file = "/cert"\nca_file = "/ca"\n'
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
    "volumes.host, name": '[volumes]\nhost = "localhost.localdomain"\n',
    "volumes.nbd_host, wildcard": '[volumes]\nnbd_host = "0.0.0.0"\n',
    "tunnel.server.volumes": SERVER + 'volumes = "10.0.0.5:8090"\n',
    "tunnel.server.db": SERVER + 'db = "db.example:3306"\n',
    "tunnel.server.nbd": SERVER + 'nbd = "0.0.0.0:10809"\n',
    "tunnel.services.volumes": '[tunnel.services]\nvolumes = "192.0.2.1:8090"\n',
    "tunnel.services.db": '[tunnel.services]\ndb = "[2001:db8::1]:3306"\n',
    "tunnel.services.nbd": '[tunnel.services]\nnbd = "127.0.0.1.example:10809"\n',
    "ossea.api_url": OSSEA.format(url="http://cloud.example/client/api"),
    "ossea.api_url, another scheme": OSSEA.format(url="ftp://127.0.0.1/client/api"),
    "ossea.api_url, loopback as user name": OSSEA.format(url="http://127.0.0.1@cloud.example/client/api"),
}


@pytest.mark.parametrize("tunnel", ["", TLS, SSH], ids=["none", "tls", "ssh"])
@pytest.mark.parametrize("setting", BYPASSES)
def test_a_bypass_is_refused_and_named(tmp_path: Path, setting: str, tunnel: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, tunnel + BYPASSES[setting])
    assert setting.partition(",")[0] in caught.value.why
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("tunnel", [TLS, SSH], ids=["tls", "ssh"])
@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("database.socket", '[database]\nkind = "mariadb"\nsocket = "/run/other.sock"\n'),
        ("volumes.socket", '[volumes]\nsocket = "/run/other.sock"\n'),
    ],
)
def test_a_socket_beside_the_tunnel_is_refused(tmp_path: Path, tunnel: str, setting: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, tunnel + text)
    assert setting in caught.value.why
    table, _, key = setting.partition(".")
    assert getattr(getattr(loaded(tmp_path, text), table), key) == Path("/run/other.sock")


@pytest.mark.parametrize("variable", ["DATABASE__HOST", "VOLUMES__HOST", "VOLUMES__NBD_HOST"])
def test_a_variable_is_no_way_around_it(tmp_path: Path, variable: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[database]\nkind = "mariadb"\n')
    with pytest.raises(UsageError) as caught:
        load_config(file, environ={f"MIGRATEKIT_{variable}": "10.0.0.5"})
    assert variable.lower().replace("__", ".") in caught.value.why


def test_a_profile_is_no_way_around_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(TLS + '[profiles.dr.database]\nkind = "mariadb"\nhost = "10.0.0.5"\n')
    assert load_config(file, environ={}).tunnel.kind == "tls"
    with pytest.raises(UsageError) as caught:
        load_config(file, profile="dr", environ={})
    assert "database.host" in caught.value.why


@pytest.mark.parametrize("setting", ["host", "ca_file", "cert_file", "crl_file"])
def test_a_tunnel_that_is_described_and_not_switched_on_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, f'[tunnel]\n{setting} = "/somewhere"\n')
    assert setting in caught.value.why


@pytest.mark.parametrize("missing", ["host", "ca_file", "cert_file"])
def test_trust_has_no_default_with_tls(tmp_path: Path, missing: str) -> None:
    text = "".join(line for line in TLS.splitlines(keepends=True) if not line.startswith(f"{missing} ="))
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    assert missing in caught.value.why


@pytest.mark.parametrize("key", ["", "AAAAC3Nz", "ssh-ed25519 none", "ssh-rsa " + SSH_KEY.split()[1], "SHA256:abc"])
def test_trust_has_no_default_with_ssh(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, SSH.replace(SSH_KEY, key))
    assert "tunnel.ssh.host_key" in caught.value.why
    with pytest.raises(UsageError):
        loaded(tmp_path, '[tunnel]\nkind = "ssh"\nhost = "oma.example"\n')


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
        SSH,
        SERVER + 'listen = "*:443"\nvolumes = "[::1]:8090"\n',
    ],
)
def test_what_stays_on_this_machine_or_is_encrypted_is_accepted(tmp_path: Path, text: str) -> None:
    assert isinstance(loaded(tmp_path, text), Config)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.1.2.3", "127.0.0.1.example", "localhost.", "oma", "[::]"])
def test_what_is_not_certainly_this_machine_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
