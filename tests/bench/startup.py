"""The rows about start-up: how long a person waits for the command, against a bare program of typer and rich."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.joblog import Tracker
from tests.bench.measure import Cpu, Row, in_turn

COMMAND = Path(sys.executable).parent / "migratekit"
HELLO = """\
import typer
from rich.console import Console

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    Console().print(f"hello {name}")


app()
"""
RUNS = 15
JOBS = 50


def startup(folder: Path) -> list[Row]:
    """`migratekit --help` and `migratekit jobs list` (50 jobs, SQLite)."""
    hello = folder / "hello.py"
    hello.write_text(HELLO)
    environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder), "NO_COLOR": "1"}
    databases = open_databases(Database(directory=folder / "migratekit"))
    upgrade_both(databases)
    for number in range(JOBS):
        with Tracker(databases.oma).job("replication", owner=f"vm{number}"):
            pass
    databases.dispose()
    return [
        _row("startup --help", "migratekit --help", ["--help"], hello, ["--help"], "at most 1.5 x", environment),
        _row("startup jobs", "migratekit jobs list", ["jobs", "list"], hello, [], "at most 2.5 x", environment),
    ]


def _row(
    name: str, what: str, ours: list[str], hello: Path, theirs: list[str], target: str, environment: dict[str, str]
) -> Row:
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}

    def timed(who: str, command: list[str]) -> float:
        spent, began = Cpu([]), time.monotonic()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        cpu[who].append(spent.used()[0])
        return seconds

    mine, peers = in_turn(
        lambda: timed("ours", [str(COMMAND), *ours]),
        lambda: timed("theirs", [sys.executable, str(hello), *theirs]),
        RUNS,
    )
    of_cpu = statistics.median(cpu["ours"]) / statistics.median(cpu["theirs"])
    slower = statistics.median(mine) / statistics.median(peers)
    more = {"times_as_long": round(slower, 2), "times_the_cpu": round(of_cpu, 2)}
    return Row(name, what, "hello of typer and rich", mine, peers, 0, target, more)
