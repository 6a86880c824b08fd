"""`python -m tests.lab up|down|demo|boot|convert`: what `make lab` and `make demo` run, and guests that boot."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from migratekit_core.joblog.process import started
from tests.lab import boot, demo
from tests.lab.conditions import CONDITIONS
from tests.lab.lab import LAB, running, sweep
from tests.lab.parts.process import LabError, end

PID_FILE = LAB / "lab.pid"


def main(arguments: list[str]) -> int:
    """Run a command; return its exit code."""
    commands = {"up": _up, "down": _down, "demo": demo.main, "boot": boot.main, "convert": boot.convert}
    conditions = arguments[1:] if arguments[:1] == ["demo"] else []
    if len(arguments) - len(conditions) != 1 or arguments[0] not in commands or not set(conditions) <= set(CONDITIONS):
        sys.stderr.write(f"usage: python -m tests.lab {'|'.join(commands)}\n")
        sys.stderr.write(f"       python -m tests.lab demo {'|'.join(CONDITIONS)} …\n")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if conditions:
            return max(demo.main(condition) for condition in conditions)
        return commands[arguments[0]]()
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("lab: stopped\n")
        return 130


def _up() -> int:
    """Keep the lab up until Ctrl-C or `make lab-down`."""
    if _running_pid() is not None:
        raise LabError("it runs already; stop it with: make lab-down")
    link = LAB / "config.toml"
    with running(LAB / "run", preferred_ports=True) as lab:
        PID_FILE.write_text(f"{os.getpid()} {started(os.getpid())}\n")
        link.unlink(missing_ok=True)
        link.symlink_to(lab.config.relative_to(LAB))
        try:
            ports = ", ".join(f"{name} {port}" for name, port in sorted(lab.ports.items()))
            print(f"lab: up ({ports})")
            print("lab: in another terminal: .venv/bin/migratekit --config .lab/config.toml discover")
            print("lab: stop it with Ctrl-C here, or with: make lab-down", flush=True)
            told: set[int] = set()
            while True:
                time.sleep(1)
                for part in [*lab.parts.values(), lab.vcenter.part, lab.cloud.part]:
                    if part.process.poll() is not None and part.process.pid not in told:
                        told.add(part.process.pid)
                        print(f"lab: {part.name} ended with {part.process.returncode}, see {part.log}", flush=True)
        finally:
            link.unlink(missing_ok=True)
            PID_FILE.unlink(missing_ok=True)


def _down() -> int:
    """Stop the lab that `up` keeps, or what is left of one that was killed."""
    pid = _running_pid()
    if pid is not None:
        end(pid)
        print("lab: stopped")
        return 0
    left = sweep(LAB / "run")
    PID_FILE.unlink(missing_ok=True)
    print(f"lab: was not up; ended what was left of it: {', '.join(left)}" if left else "lab: was not up")
    return 0


def _running_pid() -> int | None:
    try:
        pid, _, began = Path(PID_FILE).read_text().strip().partition(" ")
    except OSError:
        return None
    return int(pid) if began and started(int(pid)) == began else None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
