"""Several vCenters and OMAs by name: what each of them makes of the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.config import Config, load_config
from migratekit_core.config.folders import runtime_dir
from migratekit_core.config.load import read_sources
from migratekit_core.config.names import secrets
from migratekit_core.config.profiles import chosen
from migratekit_core.config.verdict import validate
from migratekit_core.services.waves.model import Machine, NetworkMap, Target, Wave
from migratekit_core.services.waves.resolve import check, config_for
from tests.coded import raises
from tests.unit.command import run

TEXT = """
[vcenter]
host = "vc1.example.com"
user = "mk"
password = { env = "VC1" }

[vcenters.dc2]
host = "vc2.example.com"
user = "mk2"
password = { env = "VC2" }

[ossea]
api_url = "https://cloud.example.com/client/api"
api_key = { env = "KEY" }
secret_key = { env = "SECRET" }
zone = "z1"
disk_offering = "Custom"
oma_vm = "oma01"

[networks.map]
"VM Network" = "prod"

[tunnel]
kind = "tls"
host = "oma1.example.com"
ca_file = "/etc/migratekit/ca.pem"
cert_file = "/etc/migratekit/vma.pem"
runtime_dir = "/run/migratekit"

[database]
kind = "mariadb"
user = "mk"

[volumes]
token = { env = "TOKEN1" }

[omas.b]
tunnel.host = "oma2.example.com"
volumes.token = { env = "TOKEN2" }
ossea.oma_vm = "oma02"
"""


def loaded(tmp_path: Path, text: str = TEXT) -> Config:
    """Return the configuration of a text."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(path, environ={})


def refused(tmp_path: Path, old: str, new: str) -> str:
    """Return why a changed text is refused."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, TEXT.replace(old, new))
    return caught.value.why


def test_an_oma_is_what_it_says_over_what_all_share(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    found = chosen(config, "dc2", "b")
    assert found.vcenter is not None and (found.vcenter.host, found.vcenter.user) == ("vc2.example.com", "mk2")
    assert found.ossea is not None and (found.ossea.oma_vm, found.ossea.zone) == ("oma02", "z1")
    assert (found.tunnel.host, found.tunnel.cert_file) == ("oma2.example.com", Path("/etc/migratekit/vma.pem"))
    assert found.volumes.token is not None and found.volumes.token.env == "TOKEN2"
    assert found.database.kind == "mariadb" and found.networks.map == {"VM Network": "prod"}
    assert runtime_dir(found.tunnel) == Path("/run/migratekit/b"), "two tunnels in one folder would stop each other"
    assert chosen(config) is config


def test_nothing_is_shared_between_vcenters(tmp_path: Path) -> None:
    assert refused(tmp_path, 'user = "mk2"\n', "") == "vcenters.dc2.user: Field required"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tunnel.host = ", "tunnel.hst = ", "omas.b.tunnel.hst: unknown key; did you mean host?"),
        ("ossea.oma_vm", "osea.oma_vm", "omas.b.osea: unknown key; did you mean ossea?"),
        ('user = "mk2"', 'usr = "mk2"', "vcenters.dc2.usr: unknown key; did you mean user?"),
        ('tunnel.host = "oma2', 'volumes.host = "oma2', "volumes.host = 'oma2.example.com' would leave this machine"),
        ("[vcenters.dc2]", '[vcenters."dc 2"]', "vcenters.dc 2"),
    ],
)
def test_mistakes_are_told_by_their_names(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert told in refused(tmp_path, old, new)


def test_an_unknown_name_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    with raises(UsageError, ErrorCode.CONFIG_MISSING) as caught:
        chosen(config, "dc3")
    assert caught.value.facts == {"setting": "vcenters.dc3"}
    assert "dc2" in caught.value.why
    with raises(UsageError, ErrorCode.CONFIG_MISSING) as caught:
        chosen(config, oma="x")
    assert caught.value.facts == {"setting": "omas.x"}


def test_each_ones_secrets_are_known_once(tmp_path: Path) -> None:
    found = {name: source.env for name, source in secrets(loaded(tmp_path))}
    assert found["vcenters.dc2.password"] == "VC2" and found["omas.b.volumes.token"] == "TOKEN2"
    assert not any(name.startswith("omas.b.ossea") for name in found), "shared ones stand where they are written"


def test_show_and_validate_tell_them(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    shown = run("--config", str(path), "config", "show", "-o", "json")
    rows = {each["setting"]: each for each in json.loads(shown.stdout)["settings"]}
    assert rows["omas.b.tunnel.host"]["value"] == "oma2.example.com"
    assert rows["omas.b.tunnel.host"]["origin"] == str(path)
    assert rows["vcenters.dc2.password"]["value"] == "env VC2"
    assert rows["vcenters.dc2.port"]["origin"] == "default"
    assert "omas.b.ossea.zone" not in rows
    wrong = {each.setting for each in validate(read_sources(path, environ={}))}
    assert {"vcenters.dc2.password", "omas.b.volumes.token", "vcenter.password"} <= wrong


def test_an_environment_variable_reaches_them(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    config = load_config(path, environ={"MIGRATEKIT_OMAS__B__TUNNEL__HOST": "oma3.example.com"})
    assert chosen(config, oma="b").tunnel.host == "oma3.example.com"


def test_the_configuration_of_a_machine(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    machine = Machine(
        name="web01", uuid="u1", vcenter="dc2", oma="b", networks="dmz", target=Target(zone="z2", disk_offering="Fast")
    )
    wave = Wave(name="w", machines=(machine,), networks={"dmz": NetworkMap(map={"DMZ": "dmz2"}, test="lonely")})
    found = config_for(config, wave, machine)
    assert found.ossea is not None and (found.ossea.zone, found.ossea.disk_offering) == ("z2", "Fast")
    assert found.ossea.oma_vm == "oma02"
    assert found.networks.map == {"VM Network": "prod", "DMZ": "dmz2"} and found.networks.test == "lonely"
    plain = Machine(name="db01", uuid="u2")
    assert config_for(config, wave, plain) is config
    wrong = Wave(name="w", machines=(Machine(name="a", uuid="a", oma="x"), Machine(name="b", uuid="b", vcenter="y")))
    with raises(UsageError, ErrorCode.WAVE_INVALID) as caught:
        check(config, wrong)
    assert caught.value.facts == {"wave": "w", "setting": "omas.x", "problems": 2}
    assert "vcenters.y" in caught.value.why
