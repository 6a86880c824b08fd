"""The command as scripts meet it: exit codes, three-line errors, and nothing but the result on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from migratekit_cli.errors import reported
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.common.redact import remember
from tests.unit.command import run

ROOT = Path(__file__).resolve().parents[2]


def words(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the first word of each line on stderr."""
    return [line.split()[0] for line in done.stderr.splitlines()]


def test_the_version_is_that_of_the_file() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"migratekit {(ROOT / 'VERSION.txt').read_text().strip()}\n"


@pytest.mark.parametrize(
    "arguments",
    [["teleport"], ["jobs", "teleport"], ["discover", "--colour"], ["replicate"], ["jobs", "list", "--limit", "0"],
     ["discover", "-o", "xml"]],
)  # fmt: skip
def test_a_wrong_command_line_is_exit_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize(
    "arguments", [["discover"], ["volumes", "list"], ["tunnel", "up"], ["volumes", "daemon", "run"]]
)
def test_no_configuration_is_exit_2_and_three_lines(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words(done) == ["error:", "why:", "do:"]


def test_a_missing_configuration_file_is_named() -> None:
    done = run("--config", "/nonexistent/x.toml", "discover")
    assert (done.returncode, words(done)) == (2, ["error:", "why:", "do:"])
    assert "/nonexistent/x.toml" in done.stderr


def test_an_empty_database_is_exit_7() -> None:
    done = run("jobs", "list")
    assert (done.returncode, done.stdout, words(done)) == (7, "", ["error:", "why:", "do:"])


def test_json_and_yaml_are_alone_on_stdout() -> None:
    done = run("db", "upgrade", "--output", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["schema"] == "migratekit.db-upgrade/1"
    assert [item["database"] for item in document["databases"]] == ["oma", "volumes"]
    assert json.loads(run("jobs", "list", "-o", "json").stdout) == {
        "schema": "migratekit.jobs/1",
        "jobs": [],
        "owed": [],
    }
    assert yaml.safe_load(run("jobs", "list", "-o", "yaml").stdout) == {
        "schema": "migratekit.jobs/1",
        "jobs": [],
        "owed": [],
    }


def test_a_table_is_tab_separated_where_it_is_piped() -> None:
    done = run("db", "check")
    assert (done.returncode, done.stderr) == (7, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["database", "table", "column", "expected", "found"]
    assert ["oma", "vm_disks", "", "table", "nothing"] in rows
    assert {len(row) for row in rows} == {5}


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}])
@pytest.mark.parametrize("arguments", [["--help"], ["db", "check"], ["discover"], ["teleport"]])
def test_a_pipe_gets_no_escape_codes(arguments: list[str], environ: dict[str, str]) -> None:
    done = run(*arguments, **environ)
    assert done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("debug", [["--debug"], []])
def test_a_traceback_comes_only_when_asked_for(debug: list[str]) -> None:
    done = run(*debug, "discover")
    assert done.returncode == 2
    assert ("Traceback" in done.stderr) == bool(debug)
    assert done.stderr.startswith("error: ")


def test_an_error_that_cannot_be_written_down_keeps_its_exit_code() -> None:
    """What --all-due reads of its syncs is in a file: where the disk is full, stderr and the exit code say it."""
    done = run("discover", MIGRATEKIT_ERROR_FILE="/dev/full")
    assert (done.returncode, words(done)) == (2, ["error:", "why:", "do:"])


def raising(error: Exception) -> int:
    """Run a command that raises; return its exit code."""

    @reported
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_secret_in_an_unexpected_error_is_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, debug: str
) -> None:
    monkeypatch.setenv("MIGRATEKIT_DEBUG", debug)
    secret = remember("planted-in-the-trace")
    assert raising(RuntimeError(f"login as x/{secret} failed\nsecond line")) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert secret not in said.err
    assert "RuntimeError: login as x/[redacted] failed" in said.err
    assert ("Traceback" in said.err) == bool(debug)


def test_an_error_is_three_lines_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(BusyError("a\nb", "c\r\nd", "e", code=ErrorCode.UNKNOWN)) == 8
    assert capsys.readouterr().err == "error: a b [unknown]\n  why: c d\n   do: e\n"


def test_an_interrupt_is_exit_130(capsys: pytest.CaptureFixture[str]) -> None:
    @reported
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err.startswith("error: interrupted [cancelled]\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_and_a_closed_terminal_are_as_ctrl_c(number: signal.Signals) -> None:
    @reported
    def command() -> None:
        os.kill(os.getpid(), number)

    given = signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_DFL)
        with pytest.raises(typer.Exit) as caught:
            command()
    finally:
        signal.signal(number, given)
    assert caught.value.exit_code == 130


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    @reported
    def command() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        return "went on"

    given = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command() == "went on"
    finally:
        signal.signal(signal.SIGHUP, given)


SCRIPT = """
import sys
from migratekit_cli.errors import reported
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError

@reported
def command():
    for _ in range(3):
        print("a line", file=sys.{stream}, flush={flush})
    open({path!r}, "w").close()
    if {fails}:
        raise BusyError("what", "why", "todo", code=ErrorCode.LOCKED)

try:
    command()
except BaseException as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_command_goes_on_when_nobody_reads_its_progress(tmp_path: Path, fails: bool) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    script = SCRIPT.format(stream="stderr", flush=True, path=str(tmp_path / "got there"), fails=fails)
    done = subprocess.run([sys.executable, "-c", script], stderr=writes, check=False)
    os.close(writes)
    assert done.returncode == (8 if fails else 0)
    assert (tmp_path / "got there").exists()


@pytest.mark.parametrize("flush", [False, True])
def test_whoever_has_seen_enough_of_a_result_hears_no_error(tmp_path: Path, flush: bool) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    script = SCRIPT.format(stream="stdout", flush=flush, path=str(tmp_path / "got there"), fails=False)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdout=writes,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (130, b"")


def test_another_broken_pipe_is_an_error_and_no_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(BrokenPipeError(32, "Broken pipe")) == 1
    assert "BrokenPipeError" in capsys.readouterr().err


def test_a_command_that_an_error_advises_is_for_the_same_profile(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[profiles."the west".database]\ndirectory = "{tmp_path}/west"\n')
    config.chmod(0o600)
    done = run("--profile", "the west", "jobs", "list", MIGRATEKIT_CONFIG=str(config))
    assert done.returncode == 7, done.stderr
    assert "migratekit --profile 'the west' db upgrade" in done.stderr
