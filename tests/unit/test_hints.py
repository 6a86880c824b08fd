"""Commands that texts show work as they are printed: with the vCenter and the OMA that they are about."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, from_fields, to_fields
from migratekit_core.common.hints import Hint, at_ca, hint, joined, migratekit, on_oma, program
from migratekit_core.services.waves.model import Machine
from tests.commands import tree
from tests.unit.command import run

OPTIONS = ["--vcenter", "dc2", "--oma", "east"]
SOURCES = Path(__file__).parents[2] / "src"
OURS = ("migratekit", "on_oma", "at_ca")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (hint("run: ", migratekit("failover", "web 01"), "; or back with: ", migratekit("rollback", "web 01")),
         "run: migratekit --vcenter dc2 --oma east failover 'web 01'; or back with: "
         "migratekit --vcenter dc2 --oma east rollback 'web 01'"),
        (hint("on the OMA: ", on_oma("tunnel", "server", "check")), "on the OMA: migratekit tunnel server check"),
        (hint(at_ca("tunnel", "pki", "rotate", "ca")), "migratekit tunnel pki rotate ca"),
        (hint(program("apt-get", "install", "nbdkit"), " here"), "apt-get install nbdkit here"),
        (hint("migratekit failover web01 is text"), "migratekit failover web01 is text"),
    ],
)  # fmt: skip
def test_commands_of_here_get_the_options(given: Hint, wanted: str) -> None:
    assert given.render(OPTIONS) == wanted
    assert given.render() == str(given) == wanted.replace("--vcenter dc2 --oma east ", "")


def test_what_is_bound_gets_no_other_options() -> None:
    bound = hint("run: ", migratekit("rollback", "web01")).bound(OPTIONS)
    assert bound.render(["--profile", "p"]) == "run: migratekit --vcenter dc2 --oma east rollback web01"


def test_hints_are_joined_and_empty_ones_left_out() -> None:
    assert not hint("") and not joined("; ", ("", hint()))
    assert joined("; ", ("one", "", migratekit("doctor"))) == hint("one", "; ", migratekit("doctor"))


def test_an_error_comes_whole_through_json() -> None:
    todo = hint("look with: ", migratekit("volumes", "list"), "; on the OMA: ", on_oma("tunnel", "server", "check"))
    error = PreconditionError("no volume", "it is gone", todo, code=ErrorCode.GONE, facts={"volume_id": "4711", "n": 2})
    read = from_fields(json.loads(json.dumps(to_fields(error))))
    assert type(read) is PreconditionError
    assert (read.what, read.why, read.todo, read.code) == (error.what, error.why, error.todo, error.code)
    assert read.facts == error.facts


def test_an_error_of_a_former_version_has_no_code() -> None:
    read = from_fields({"what": "w", "why": "y", "todo": "run: migratekit doctor", "exit_code": 4})
    assert (read.code, read.todo) == (ErrorCode.UNKNOWN, hint("run: migratekit doctor"))


def test_a_code_or_hint_of_a_newer_version_is_no_obstacle() -> None:
    fields = {"what": "w", "why": "y", "todo": "t", "exit_code": 4, "code": "of-tomorrow", "hint": [{"new": 1}]}
    read = from_fields(fields)
    assert (read.code, read.todo) == (ErrorCode.UNKNOWN, hint("t"))


def test_every_command_in_a_hint_exists() -> None:
    there = {command.path: command for command in tree().walk()}
    found = list(_commands())
    assert len(found) > 80
    wrong = []
    for where, words in found:
        longest = max((words[:n] for n in range(len(words) + 1) if words[:n] in there), key=len)
        # What stands behind the name of a group has to be one of its commands.
        if not longest or (there[longest].children and longest != words):
            wrong.append(f"{where}: {words}")
    assert not wrong


def test_no_text_shows_a_command_that_gets_no_options() -> None:
    """A command within plain text would be shown without the options: it belongs into a hint."""
    groups = {command.path[0] for command in tree().walk() if command.path} - {"config", "fleet", "completion"}
    wrong = []
    for file in SOURCES.rglob("*.py"):
        parsed = ast.parse(file.read_text())
        prose = {id(node.value) for node in ast.walk(parsed) if isinstance(node, ast.Expr)}
        for node in ast.walk(parsed):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                shown = [word for word in node.value.split("migratekit ")[1:] if word.split(" ")[0] in groups]
                if shown and not node.value.startswith(ALLOWED):
                    wrong.append(f"{file.relative_to(SOURCES)}:{node.lineno}: {node.value}")
    assert not wrong


ALLOWED = ("migratekit assess", "Rules of migratekit wave plan", "# Rules of assess")
"""The names of documents."""


def _commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the leading fixed words of each command that the program makes, with its place."""
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OURS and node.args:
                words = []
                for argument in node.args:
                    if not isinstance(argument, ast.Constant):
                        break
                    words.append(str(argument.value))
                # A command whose second word is computed is looked at by its first.
                yield f"{file.relative_to(SOURCES)}:{node.lineno}", tuple(words)


def test_a_machine_of_a_wave_has_the_options_of_its_profiles() -> None:
    assert Machine(name="web01", uuid="u", vcenter="dc2", oma="east").options == OPTIONS
    assert Machine(name="web01", uuid="u").options == []


def test_an_error_advises_for_the_oma_that_was_named(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[omas.east.database]\nkind = "sqlite"\ndirectory = {json.dumps(str(tmp_path / "east"))}\n')
    done = run("--config", str(config), "--oma", "east", "jobs", "list")
    assert done.returncode == 7
    assert "make them with: migratekit --oma east db upgrade" in done.stderr
