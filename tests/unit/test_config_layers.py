"""Where settings come from, and which source wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratekit_core.common.errors import UsageError
from migratekit_core.config import load, load_config


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_system_file_comes_before_the_users() -> None:
    environ = {"XDG_CONFIG_HOME": "/somewhere", "HOME": "/home/x"}
    files = load.default_files(environ)
    assert files == [Path("/etc/migratekit/config.toml"), Path("/somewhere/migratekit/config.toml")]


def test_the_users_file_is_in_home_without_xdg() -> None:
    assert load.default_files({"HOME": "/home/x"})[-1] == Path("/home/x/.config/migratekit/config.toml")


def test_nothing_configured_gives_the_defaults(tmp_path: Path) -> None:
    config = load_config(environ={"HOME": str(tmp_path)})
    assert (config.vcenter, config.ossea, config.daemon) == (None, None, None)
    assert (config.tunnel.kind, config.database.kind, config.failover.power_off) == ("none", "sqlite", False)


def test_each_layer_overrides_the_one_below_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = written(
        tmp_path / "system.toml",
        "[replication]\nconnections = 1\nwindow = 1048576\nrequest_size = 65536\n[failover]\nboot_timeout = 1\n",
    )
    user = written(
        tmp_path / "xdg/migratekit/config.toml",
        "[replication]\nconnections = 2\nwindow = 2097152\n"
        "[profiles.site.replication]\nconnections = 3\n[profiles.site.failover]\nshutdown_timeout = 7",
    )
    # /etc is not a test's to write; everything else is the real thing.
    monkeypatch.setattr(load, "default_files", lambda environ: [system, user])
    plain = load_config(environ={})
    assert (plain.replication.connections, plain.replication.window, plain.replication.request_size) == (
        2,
        2097152,
        65536,
    )
    site = load_config(profile="site", environ={})
    assert (site.replication.connections, site.replication.window) == (3, 2097152)
    assert (site.failover.shutdown_timeout, site.failover.boot_timeout) == (7, 1)
    both = load_config(profile="site", environ={"MIGRATEKIT_REPLICATION__CONNECTIONS": "5"})
    assert (both.replication.connections, both.replication.window) == (5, 2097152)


def test_the_xdg_file_is_read(tmp_path: Path) -> None:
    written(tmp_path / "xdg/migratekit/config.toml", "[networks]\ntest = 'lonely'\n")
    assert load_config(environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).networks.test == "lonely"


def test_a_named_file_replaces_the_default_ones(tmp_path: Path) -> None:
    written(tmp_path / "xdg/migratekit/config.toml", "[networks]\ntest = 'lonely'\n[replication]\nconnections = 9\n")
    named = written(tmp_path / "named.toml", "[replication]\nconnections = 2\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    for config in (
        load_config(named, environ=environ),
        load_config(environ=environ | {"MIGRATEKIT_CONFIG": str(named)}),
    ):
        assert (config.networks.test, config.replication.connections) == (None, 2)


def test_the_option_wins_over_the_variable_that_names_a_file(tmp_path: Path) -> None:
    option = written(tmp_path / "a.toml", "[networks]\ntest = 'option'\n")
    variable = written(tmp_path / "b.toml", "[networks]\ntest = 'variable'\n")
    assert load_config(option, environ={"MIGRATEKIT_CONFIG": str(variable)}).networks.test == "option"


def test_the_profile_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.toml", "[profiles.one.networks]\ntest = 'one'\n[profiles.two.networks]\ntest = 'two'\n"
    )
    assert load_config(file, environ={"MIGRATEKIT_PROFILE": "one"}).networks.test == "one"
    assert load_config(file, "two", environ={"MIGRATEKIT_PROFILE": "one"}).networks.test == "two"


def test_an_unknown_profile_is_named_with_the_known_ones(tmp_path: Path) -> None:
    file = written(tmp_path / "a.toml", "[profiles.east]\n[profiles.west]\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, "north", environ={})
    assert "'north'" in caught.value.what
    assert "east, west" in caught.value.why


@pytest.mark.parametrize(
    ("variable", "text", "place", "value"),
    [
        ("MIGRATEKIT_VCENTER__HOST", "vc.example", ("vcenter", "host"), "vc.example"),
        ("MIGRATEKIT_VCENTER__PORT", "8443", ("vcenter", "port"), 8443),
        ("MIGRATEKIT_FAILOVER__POWER_OFF", "true", ("failover", "power_off"), True),
        ("MIGRATEKIT_NETWORKS__MAP", '{"VM Network" = "net"}', ("networks", "map"), {"VM Network": "net"}),
    ],
)
def test_a_variable_sets_one_value(
    tmp_path: Path, variable: str, text: str, place: tuple[str, str], value: object
) -> None:
    file = written(tmp_path / "a.toml", "[vcenter]\nhost='x'\nuser='u'\npassword={env='P'}\n")
    config = load_config(file, environ={variable: text})
    assert getattr(getattr(config, place[0]), place[1]) == value
    assert config.vcenter is not None
    assert config.vcenter.user == "u"


def test_a_variable_reaches_nested_tables_and_replaces_a_secrets_source(tmp_path: Path) -> None:
    file = written(tmp_path / "a.toml", "[vcenter]\nhost='x'\nuser='u'\npassword={file='/p'}\n")
    config = load_config(file, environ={"MIGRATEKIT_VCENTER__PASSWORD__ENV": "PW"})
    assert config.vcenter is not None
    assert (config.vcenter.password.env, config.vcenter.password.file) == ("PW", None)


def test_two_variables_that_contradict_each_other_are_refused() -> None:
    environ = {"MIGRATEKIT_VCENTER__PASSWORD": "abc", "MIGRATEKIT_VCENTER__PASSWORD__ENV": "PW"}
    for order in (environ, dict(reversed(environ.items()))):
        with pytest.raises(UsageError):
            load_config(environ=order)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[vcentre]\nhost='x'\n", "vcentre: unknown key"),
        ("[replication]\nconections = 3\n", "replication.conections: unknown key"),
        ("[vcenter]\nhost='x'\nuser='u'\npassword={fiel='/p'}\n", "vcenter.password.fiel: unknown key"),
        ("[vcenter]\nhost='x'\n", "vcenter.user: "),
        ("[replication]\nconnections = 0\n", "replication.connections: "),
        ("[vcenter]\nhost='x'\nuser='u'\nport=70000\npassword={env='P'}\n", "vcenter.port: "),
        ("[tunnel]\nkind='tls'\nhost='oma'\n", 'tunnel: kind = "tls" also needs: ca_file, cert_file'),
        ("replication = 3\n", "replication: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    file = written(tmp_path / "wrong.toml", text)
    with pytest.raises(UsageError) as caught:
        load_config(file, environ={})
    assert named in caught.value.why
    assert str(file) in caught.value.what


@pytest.mark.parametrize("text", ["profiles = 3\n", "[profiles]\nsome = 3\n"])
def test_a_profile_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load_config(written(tmp_path / "a.toml", text), "some", environ={})


def test_an_unknown_key_of_a_variable_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        load_config(environ={"MIGRATEKIT_REPLICATION__SPEED": "9"})
    assert "replication.speed: unknown key" in caught.value.why


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    broken = written(tmp_path / "broken.toml", "[vcenter\n")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    for file in (missing, broken, binary):
        with pytest.raises(UsageError) as caught:
            load_config(file, environ={})
        assert str(file) in caught.value.what


def test_require_names_the_missing_table() -> None:
    with pytest.raises(UsageError) as caught:
        load.require(load_config(environ={}), "vcenter", "ossea")
    assert "[vcenter]" in caught.value.what
