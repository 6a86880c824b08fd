"""What we start: it is told, stopped and outlived; its last words are kept, and hold no secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from migratekit_core.common import childprocess, redact
from migratekit_core.common.childprocess import LAST_BYTES, SILENT, last_line, said_in, start
from migratekit_core.joblog.process import started

PATIENT = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while started(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not started(pid)


def test_it_is_told_and_answers() -> None:
    child = start(python("import sys\nfor line in sys.stdin: print('heard', line.strip(), flush=True)"), talks=True)
    child.say("one")
    assert next(child.lines()) == "heard one\n"
    child.say("two")  # Who stops listening may go on later.
    for line in child.lines():
        assert line == "heard two\n"
        break
    assert child.running()
    child.stdin.close()
    assert (child.wait(), child.ending().code) == (0, 0)
    child.say("nobody listens any more")


@pytest.mark.parametrize(
    ("code", "ended", "reason"),
    [
        ("import sys; sys.stderr.write('first\\nlast\\n\\n'); sys.exit(3)", 3, "last"),
        ("import sys; sys.exit(3)", 3, "exit code 3"),
        (
            "import os, sys; sys.stderr.write('x'); sys.stderr.flush(); os.kill(os.getpid(), 9)",
            -9,
            "killed by signal 9",
        ),
    ],
)
def test_an_ending_has_its_code_and_a_reason(code: str, ended: int, reason: str) -> None:
    ending = start(python(code)).ending()
    assert (ending.code, ending.reason, ending.interrupted) == (ended, reason, False)


def test_who_does_not_stop_is_killed() -> None:
    kind = start(python("print('up', flush=True); import time; time.sleep(60)"), talks=True)
    deaf = start(python(PATIENT), talks=True)
    for child in (kind, deaf):
        assert next(child.lines()) == "up\n"
    kind.stop(30)
    deaf.stop(0.2)
    assert kind.ending().interrupted
    assert deaf.ending().code == -signal.SIGKILL
    deaf.stop(30)  # Once more is nothing.


@pytest.mark.parametrize("end", ["kill", "by itself"])
def test_what_it_has_started_ends_with_it(end: str) -> None:
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); "
    child = start(python(code + ("time.sleep(60)" if end == "kill" else "")), talks=True)
    inner = int(next(child.lines()))
    if end == "kill":
        child.kill()
    assert child.wait(10) is not None
    assert gone(inner)


def test_a_wait_ends_for_all_who_wait() -> None:
    child = start(python("import sys; sys.stdin.read(); sys.stderr.write('words')"), talks=True)
    found: list[str] = []
    waiting = [threading.Thread(target=lambda: found.append(child.ending().reason)) for _ in range(4)]
    for each in waiting:
        each.start()
    child.stdin.close()
    for each in waiting:
        each.join(10)
    assert found == ["words"] * 4


def test_last_words_are_bounded_and_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_known", set())
    secret = redact.remember("a-secret-of-thirty-characters!")
    log = tmp_path / "log"
    # The end begins within the first secret: what is left of it is no word that anybody knows as one.
    text = f"{secret}\n" + "x" * (LAST_BYTES - len(secret) // 2 - len(f"\npassword {secret}\n") - 1)
    log.write_text(f"{text}\npassword {secret}\n")
    said = said_in(log)
    assert len(said) <= LAST_BYTES
    assert secret[-10:] not in said
    assert last_line(said) == f"password {redact.MASK}"
    child = start(python("import sys; sys.stderr.write(sys.argv[1])", f"token is {secret}"))
    assert child.ending().reason == f"token is {redact.MASK}"


def test_what_it_says_can_be_read_while_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import sys; sys.stderr.write('one\\n'); sys.stderr.flush(); print(flush=True); sys.stdin.read(); "
    child = start(python(code + "sys.stderr.write('two\\n')"), talks=True, log=log)
    next(child.lines())
    assert child.said() == said_in(log) == "one\n"
    child.stdin.close()
    assert child.ending().said == said_in(log) == "one\ntwo\n", "reading left the place of writing alone"


def test_everything_goes_to_one_place() -> None:
    assert start(python("print('out')"), everything=True).ending().said == "out\n"
    assert start(python("print('out')")).ending().said == ""


def test_secrets_of_the_environment_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "hush")
    redact.hide_variable("SOME_SECRET")
    code = "import os; print('SOME_SECRET' in os.environ)"
    assert start(python(code), everything=True).ending().said == "False\n"
    assert start(python(code), everything=True, env=os.environ).ending().said == "True\n"


def test_one_that_is_to_dies_with_us() -> None:
    code = (
        "import os, time\nfrom migratekit_core.common.childprocess import start\n"
        "print(start(['sleep', '60'], dies_with_us=True).pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while Path(f"/proc/{child}/comm").read_text() != "sleep\n":
            time.sleep(0.02)
        parent.kill()
    assert gone(child)


def test_a_program_that_is_not_there_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        start([str(tmp_path / "none")])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("text", "last"), [("", SILENT), (" \n\n", SILENT), ("a\n  b  \n \n", "b")])
def test_the_last_line_is_one_that_says_something(text: str, last: str) -> None:
    assert childprocess.last_line(text) == last
