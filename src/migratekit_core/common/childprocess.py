"""Programs that run beside this process: how they are started, told, stopped, and what they said last.

Each has a session of its own, so Ctrl-C reaches us alone and we decide who stops when; what it has started ends with
it. Secrets go to it by descriptor or by standard input, and it does not inherit variables that hold one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from migratekit_core.common import programs
from migratekit_core.common.redact import child_environment, redact

LAST_BYTES = 64 << 10
"""How much is kept of what a program said, from its end."""
SILENT = "it said nothing"
FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.05
"""Seconds between two looks whether a program has ended."""


@dataclass(frozen=True)
class Ending:
    """How a program ended."""

    code: int
    """Its exit code; minus the number of the signal that killed it."""
    said: str
    """The end of what it wrote to stderr, masked."""

    @property
    def interrupted(self) -> bool:
        """Return whether it died of the signal that asks it to stop."""
        return self.code == -signal.SIGTERM

    @property
    def reason(self) -> str:
        """Return its last line, or how it ended where it wrote none or had no time for one."""
        if self.code < 0:
            return f"killed by signal {-self.code}"
        return last_line(self.said, f"exit code {self.code}")


class Child:
    """A program that we started (`start`). Every method may be called from any thread."""

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._said = ""
        self._lock = threading.RLock()

    @property
    def pid(self) -> int:
        """Return its process."""
        return self._process.pid

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit code as `Ending` has it; None where it still runs after so many seconds."""
        if not self._has_ended(seconds):
            return None
        with self._lock:
            if not self._log.closed:
                self._close()
        return self._process.returncode

    def running(self) -> bool:
        """Return whether it has not ended yet."""
        return self.wait(0) is None

    def ending(self) -> Ending:
        """Wait for its end, and return how it was."""
        code = self.wait()
        assert code is not None, "it has ended"
        return Ending(code, self._said)

    def said(self) -> str:
        """Return the end of what it has written to stderr until now, masked."""
        with self._lock:
            return self._said if self._log.closed else tail(self._log.fileno())

    def say(self, line: str) -> None:
        """Write a line to its stdin; one that has ended needs it no more, and says itself why it did."""
        assert self._process.stdin is not None, "start(talks=True)"
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    @property
    def stdin(self) -> IO[str]:
        """Return what it reads."""
        assert self._process.stdin is not None, "start(talks=True)"
        return self._process.stdin

    def lines(self) -> Iterator[str]:
        """Return what it writes to stdout, line by line, until its end."""
        assert self._process.stdout is not None, "start(talks=True)"
        return self._process.stdout

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def stop(self, seconds: float) -> None:
        """End it: ask it to stop, and kill it where it has not within so many seconds."""
        self.ask_to_stop()
        if self.wait(seconds) is None:
            self.kill()

    def kill(self) -> None:
        """End it and whatever it has started, at once."""
        self._signal(signal.SIGKILL)
        self.wait()

    def _signal(self, number: int) -> None:
        # To whatever it has started, too: a library's helper, say. Once its exit code is taken, its number is free.
        with self._lock, contextlib.suppress(OSError):
            if not self._log.closed:
                os.killpg(self._process.pid, number)

    def _has_ended(self, seconds: float | None) -> bool:
        """Wait for its end, without taking its exit code: until then nobody else gets its number."""
        deadline = None if seconds is None else time.monotonic() + seconds
        pause = FIRST_PAUSE
        try:
            if deadline is None:
                return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT) is not None
            while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)
        except ChildProcessError:
            # Another thread has its exit code.
            return True
        return True

    def _close(self) -> None:
        """End what it has left running, take its exit code, keep its last words, close what leads to it."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._said = tail(self._log.fileno())
        self._log.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()


def start(
    command: Sequence[str],
    *,
    talks: bool = False,
    output: IO[str] | None = None,
    log: Path | None = None,
    everything: bool = False,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    dies_with_us: bool = False,
) -> Child:
    """Start a program.

    `talks`: its stdin and stdout are pipes; otherwise its stdin is empty, and its stdout goes to `output`, with
    `everything` to where its stderr goes, or nowhere. `log`: a file for its stderr, which others look into; None: one
    of its own. `env`: all of its environment; None: ours without secrets. `dies_with_us`: the kernel kills it as soon
    as this process is gone, whatever that dies of; for programs that do not notice it themselves. Raises
    PreconditionError where setpriv, which does that, is not installed, and OSError where the program does not start.
    """
    if dies_with_us:
        command = [programs.find("setpriv", "util-linux"), "--pdeathsig", "KILL", *command]
    stderr: IO[bytes] = tempfile.TemporaryFile() if log is None else log.open("w+b")  # noqa: SIM115  (Child closes it)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else stderr if everything else output or subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            errors="replace",
            env=child_environment() if env is None else env,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except BaseException:
        stderr.close()
        raise
    return Child(process, stderr)


def last_line(text: str, otherwise: str = SILENT) -> str:
    """Return the last line that says something, masked; `otherwise` where there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return redact(lines[-1]) if lines else otherwise


def tail(descriptor: int) -> str:
    """Return the end of a file, masked; where others write to it is left alone."""
    begin = max(0, os.fstat(descriptor).st_size - LAST_BYTES)
    text = os.pread(descriptor, LAST_BYTES, begin).decode(errors="replace")
    # Of the line that is cut, half a secret may be left, which nobody would know as one.
    return redact(text.partition("\n")[2] if begin else text)


def said_in(log: Path) -> str:
    """Return the end of what a program has written to a file, masked; "" where there is none."""
    try:
        with log.open("rb") as file:
            return tail(file.fileno())
    except FileNotFoundError:
        return ""
