"""Questions on a terminal: nothing is drawn or written over one that waits, and everything that asks asks alike."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from tests.questions import PACKAGE, SOURCE
from tests.unit.terminal import COLUMNS, Terminal, on_terminal
from tests.unit.test_boundaries import ruff

BEGIN = """\
import logging, os, sys, threading, time, warnings
from migratekit_cli.ui import ask
from migratekit_cli.ui.display import Display
from migratekit_cli.errors import reported
from migratekit_cli.ui.watch import watching
from migratekit_core.engine.job import Progress

def at(done):
    return Progress(done, 100, done, done, 0, 0.0, 0, 1, 0)

@reported
def command():
"""
END = """
import typer
app = typer.Typer()
app.command()(command)
app()
"""
BUSY = """\
    with watching() as seen:
        seen.expect(["Hard disk 1"])
        FIRST
        logging.getLogger().addHandler(logging.StreamHandler())
        answered, stop = threading.Event(), threading.Event()

        def work():
            for done in range(100):
                if stop.wait(0.05):
                    return
                seen.progress("Hard disk 1", at(done))
                seen.note(f"note {done}")
                sys.stderr.write(f"warning {done}\\n")
                warnings.warn(f"python's {done}")
                if not answered.is_set():
                    # Its handler has the stderr of before: past a display it writes into the bars.
                    logging.getLogger().warning(f"logged {done}")

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        ask.confirm("Go on?", False)
        answered.set()
        seen.note("went on")
        time.sleep(0.5)
        stop.set()
        thread.join()
        seen.progress("Hard disk 1", at(100))
"""


def script(folder: Path, body: str) -> tuple[str, ...]:
    """Return the command line of a program with this body of its one command."""
    file = folder / "script.py"
    file.write_text(BEGIN + body + END)
    return sys.executable, str(file)


def answered(seen: Terminal, question: str, answer: str) -> None:
    """Wait for a question, look at it for as long as a display takes to be drawn several times, and answer."""
    seen.until_last(question)
    seen.stays_last(question, 1.0)
    seen.type(answer)
    typed = f"{question} {answer}"
    seen.until_last(typed)
    seen.stays_last(typed, 0.5)
    seen.type("\r")


@pytest.mark.parametrize("first", ["pass", "seen.progress('Hard disk 1', at(0))"], ids=["begins later", "is drawn"])
def test_a_display_and_notes_wait_until_the_answer_is_complete(tmp_path: Path, first: str) -> None:
    with on_terminal(*script(tmp_path, BUSY.replace("FIRST", first)), environ=os.environ) as seen:
        answered(seen, "Go on? [y/N]:", "y")
        assert seen.end() == 0, seen.screen
    whole = "\n".join(seen.lines)
    # What was said meanwhile is not lost, and comes after the answer.
    asked = whole.index("[y/N]: y")
    for said in ("note 5", "warning 5", "python's 5", "logged 5", "went on"):
        assert whole.index(said) > asked, said
    assert seen.ends_with(next(line for line in seen.screen.splitlines() if line.startswith("Hard disk 1")))
    assert "100%" in seen.screen.splitlines()[-1]


def test_a_no_with_a_display_on_the_screen_says_that_nothing_was_changed(tmp_path: Path) -> None:
    body = """\
    with watching() as seen:
        seen.progress("Hard disk 1", at(0))
        ask.confirm("Go on?", False)
"""
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        answered(seen, "Go on? [y/N]:", "n")
        assert seen.end() == 1
    lines = seen.screen.splitlines()
    assert lines[:2] == ["Go on? [y/N]: n", "Nothing was changed."]


@pytest.mark.parametrize(
    ("typed", "code", "says"),
    [
        ("maybe\ry\r", 0, "answer y or n"), ("YES\r", 0, ""), ("\r", 1, "Nothing was changed."),
        ("No\r", 1, "Nothing was changed."), ("\x04", 1, "Nothing was changed."), ("\x03", 130, "Nothing was changed."),
    ],
)  # fmt: skip
def test_only_a_yes_is_a_yes(tmp_path: Path, typed: str, code: int, says: str) -> None:
    with on_terminal(*script(tmp_path, "    ask.confirm('Go on?', False)\n"), environ=os.environ) as seen:
        seen.until_last("Go on? [y/N]:")
        seen.type(typed)
        assert seen.end() == code, seen.screen
    assert says in seen.screen


def test_a_yes_that_was_typed_before_the_question_is_none(tmp_path: Path) -> None:
    body = """\
    print("working", flush=True)
    time.sleep(1)
    ask.confirm("Shut erp01 down?", False)
"""
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        seen.until("working")
        seen.type("y\r")
        seen.until_last("Shut erp01 down? [y/N]:")
        seen.stays_last("Shut erp01 down? [y/N]:", 1.0)
        seen.type("n\r")
        assert seen.end() == 1


def test_text_and_secrets(tmp_path: Path) -> None:
    body = """\
    found = [ask.text("name"), ask.text("zone", "zone-1"), ask.text("note", ""), ask.hidden("password")]
    print([*found, ask.text("end")])
"""
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        for question, keys in (
            ("name:", "\r"), ("name:\nname:", " erp01 \r"), ("zone [zone-1]:", "\r"), ("note:", "\r"),
            ("password (not shown):", " pass word \r"), ("end:", "Größe\r"),
        ):  # fmt: skip
            seen.until_last(question)
            seen.type(keys)
        assert seen.end() == 0, seen.screen
    assert seen.ends_with("['erp01', 'zone-1', '', ' pass word ', 'Größe']")
    # It was echoed once: by the last line of the script.
    assert seen.text.count("pass word") == 1


def test_ctrl_c_at_a_secret_leaves_a_terminal_that_shows_what_is_typed(tmp_path: Path) -> None:
    body = """\
    try:
        ask.hidden("password")
    except KeyboardInterrupt:
        ask.text("name")
"""
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        seen.until_last("password (not shown):")
        seen.type("\x03")
        answered(seen, "name:", "erp01")
        assert seen.end() == 0


def test_a_long_question_is_broken_between_words_and_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    body = r"""
    about = ["volume \x1b[2J\x1b[1Aerp01\rdata", "  1. " + "have its volumes " * 8, ""]
    ask.confirm(f"Shut {'an-erp-machine ' * 5}down \x1b[1K and cut it over?", False, about=about)
"""
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        seen.until_last("an-erp-machine down \\x1b[1K and cut it over? [y/N]:")
        lines = seen.screen.splitlines()
        assert lines[0] == r"volume \x1b[2J\x1b[1Aerp01\rdata"
        assert lines[1].startswith("  1. have its volumes") and lines[2].startswith("     ")
        assert " ".join(" ".join(lines[1:3]).split()) == "1. " + " ".join(["have its volumes"] * 8)
        assert lines[3] == "" and lines[4].startswith("Shut an-erp-machine an-erp-machine")
        assert max(map(len, lines)) < COLUMNS
        seen.type("n\r")
        assert seen.end() == 1


@pytest.mark.parametrize("where", ["stdin", "stderr"])
def test_who_cannot_see_a_question_or_answer_it_is_not_asked(tmp_path: Path, where: str) -> None:
    redirected = {"stdin": "< /dev/null", "stderr": f"2> {tmp_path}/errors"}[where]
    command = " ".join(script(tmp_path, "    ask.confirm('Go on?', False)\n"))
    with on_terminal("sh", "-c", f"{command} {redirected}", environ=os.environ) as seen:
        assert seen.end() == 2, seen.screen
    told = seen.text + ((tmp_path / "errors").read_text() if where == "stderr" else "")
    assert "pass --yes" in told and "[y/N]" not in told


def test_the_result_alone_is_on_stdout(tmp_path: Path) -> None:
    body = """\
    ask.confirm("Go on?", False, about=["what it means"])
    print("the result")
"""
    out = tmp_path / "out"
    command = " ".join(script(tmp_path, body))
    with on_terminal("sh", "-c", f"{command} > {out}", environ=os.environ) as seen:
        answered(seen, "Go on? [y/N]:", "y")
        assert seen.end() == 0
    assert out.read_text() == "the result\n"


@pytest.mark.parametrize(
    "body",
    [
        "    from rich.live import Live\n    with Live('x'):\n        ask.confirm('Go on?', False)\n",
        "    from rich.status import Status\n    with Status('x'):\n        ask.text('Go on?')\n",
        "    with ask._asking(''):\n        ask.text('Go on?')\n",
    ],
    ids=["live", "status", "question"],
)
def test_to_ask_while_something_else_has_the_terminal_is_a_mistake_that_shows(tmp_path: Path, body: str) -> None:
    with on_terminal(*script(tmp_path, body), environ=os.environ) as seen:
        assert seen.end() == 1
    assert "RuntimeError" in seen.text and "Go on?" not in seen.text


@pytest.mark.parametrize(
    "statement",
    [
        "import typer\ntyper.confirm('x')", "from typer import prompt", "import click", "from click import confirm",
        "from rich.prompt import Confirm", "import getpass\ngetpass.getpass()", "from rich.live import Live",
        "from rich.status import Status",
    ],
)  # fmt: skip
def test_ruff_refuses_questions_and_displays_elsewhere(statement: str) -> None:
    assert "TID251" in ruff(f"src/{PACKAGE}/commands/failover.py", f"{statement}\n")


def wrong(source: str) -> list[str]:
    """Return what in a module asks, or draws, in ways that ruff cannot tell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        asks = called == "input" or called.endswith((".input", "stdin.readline", "stdin.read"))
        draws = called.endswith("onsole.status") or (called.endswith(".status") and "Console(" in called)
        draws = draws or called.endswith("rogress.start") or called == "track"
        options = [each.arg for each in node.keywords if each.arg in ("prompt", "confirmation_prompt", "hide_input")]
        found += [called] if asks or draws or options else []
    entered = [
        item.context_expr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.With) for item in node.items
    ]
    return found + [ast.unparse(each) for each in entered if "Progress(" in ast.unparse(each)]


@pytest.mark.parametrize(
    "statement",
    ["input('x')", "console.input('x')", "sys.stdin.readline()", "Console().status('x')", "console.status('x')",
     "typer.Option(prompt=True)", "self._progress.start()", "with Progress(): pass"],
)  # fmt: skip
def test_what_ruff_cannot_tell_is_found(statement: str) -> None:
    assert wrong(statement)


def test_nothing_else_of_the_command_line_asks_or_draws() -> None:
    files = sorted((SOURCE / PACKAGE).rglob("*.py"))
    assert {file.name: wrong(file.read_text()) for file in files if wrong(file.read_text())} == {}
