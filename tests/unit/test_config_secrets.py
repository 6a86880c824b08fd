"""Secrets are read from where the configuration says, or refused with a reason that does not hold them."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from migratekit_core.common.errors import AuthError, UsageError
from migratekit_core.common.redact import redact
from migratekit_core.config import load_config
from migratekit_core.config.secret import SecretSource

PLANTED = "correct-horse-battery"


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def printing(tmp_path: Path, *, code: int) -> list[str]:
    """Return a command that prints the secret on both streams; its own words do not hold it."""
    script = tmp_path / "secret.py"
    script.write_text(f"import sys\nprint({PLANTED!r})\nprint({PLANTED!r}, file=sys.stderr)\nsys.exit({code})\n")
    return [sys.executable, str(script)]


def test_a_private_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = private(tmp_path / "p", " pass word \r\n")
    assert SecretSource(file=path).read("x") == " pass word "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "p", PLANTED, mode)
    with pytest.raises(AuthError) as caught:
        SecretSource(file=path).read("vcenter.password")
    assert "vcenter.password" in caught.value.what
    assert f"chmod 600 {path}" in str(caught.value.todo)
    assert caught.value.exit_code == 5


def test_a_missing_an_empty_and_an_unreadable_file_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + PLANTED.encode("utf-16"))
    binary.chmod(0o600)
    for path in (tmp_path / "none", private(tmp_path / "empty", "\n"), tmp_path, binary):
        with pytest.raises(UsageError) as caught:
            SecretSource(file=path).read("vcenter.password")
        assert "vcenter.password" in caught.value.what
        assert str(path) in caught.value.why


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    private(tmp_path / "p", PLANTED)
    assert SecretSource(file=Path("~/p")).read("x") == PLANTED


def test_an_environment_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", PLANTED)
    assert SecretSource(env="SOME_SECRET").read("x") == PLANTED


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_refused(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("SOME_SECRET", value)
    with pytest.raises(UsageError) as caught:
        SecretSource(env="SOME_SECRET").read("ossea.api_key")
    assert "ossea.api_key" in caught.value.what
    assert "SOME_SECRET" in caught.value.why


def test_a_commands_output_is_read(tmp_path: Path) -> None:
    assert SecretSource(command=printing(tmp_path, code=0)).read("x") == PLANTED


def test_a_failing_command_does_not_leak_what_it_said(tmp_path: Path) -> None:
    command = printing(tmp_path, code=3)
    with pytest.raises(UsageError) as caught:
        SecretSource(command=command).read("database.password")
    told = "".join(traceback.format_exception(caught.value))
    assert "database.password" in told
    assert command[0] in told
    assert PLANTED not in told


@pytest.mark.parametrize(
    "command",
    [
        ["/nonexistent/command"],
        ["true"],
        [sys.executable, "-c", r"import sys; sys.stdout.buffer.write(b'\xff\xfe')"],
    ],
    ids=["missing", "silent", "not text"],
)
def test_a_command_that_gives_no_secret_is_refused(command: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        SecretSource(command=command).read("database.password")
    assert "database.password" in caught.value.what
    assert command[0] in caught.value.why


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"file": "/a", "env": "A"},
        {"env": "A", "command": ["a"]},
        {"command": ["a"], "keyring": "s/u"},
        {"command": []},
        {"env": ""},
        {"keyring": "nothing-named"},
        {"value": "x"},
    ],
)
def test_anything_but_one_source_is_refused(sources: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SecretSource.model_validate(sources)


def test_a_secret_as_plain_value_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[vcenter]\nhost = 'x'\nuser = 'u'\npassword = '{PLANTED}'\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, environ={})
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value.todo)
    assert "vcenter.password" in told
    assert PLANTED not in told


def test_two_sources_in_the_configuration_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[volumes]\ntoken = { file = '/a', env = 'A' }\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, environ={})
    assert "volumes.token: a secret has exactly one of: file, env, command, keyring" in caught.value.why


@pytest.mark.parametrize("source", ["file", "env", "command"])
def test_what_was_read_is_masked_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    secret = f"unlikely-words-from-{source}"
    monkeypatch.setenv("SOME_SECRET", secret)
    path = private(tmp_path / "p", secret)
    SecretSource.model_validate(
        {source: {"file": path, "env": "SOME_SECRET", "command": ["cat", str(path)]}[source]}
    ).read("x")
    assert secret not in redact(f"refused: user=a, {secret}!")
