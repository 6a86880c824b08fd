"""Listing 5,000 machines, beside govmomi's govc, which collects the same properties from the same vCenter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from migratekit_core.adapters.vsphere.inventory.machine import PROPERTIES
from tests.bench.measure import Row, in_turn
from tests.lab.lab import BINARY
from tests.lab.parts import vcenter
from tests.lab.parts.process import choose_port

MACHINES = int(os.environ.get("BENCH_MACHINES", "5000"))
PASSWORD = "bench"
GOVC_SOURCE = Path(__file__).parent / "govc"
GOVC = BINARY.parent / "govc"
MIGRATEKIT = Path(sys.executable).parent / "migratekit"


def discover_5000(folder: Path) -> Row:
    """5,000 machines in vcsim: the whole command, from its start to the last line of JSON."""
    _build_govc()
    lab = vcenter.start(folder, BINARY, choose_port(None), PASSWORD, {"fleet": MACHINES, "vms": []})
    try:
        config = folder / "config.toml"
        config.write_text(
            f'[vcenter]\nhost = "127.0.0.1"\nport = {lab.port}\nuser = "{vcenter.USER}"\nca_file = "{lab.ca}"\n'
            f'password = {{ file = "{folder / "vcenter.pass"}" }}\n'
        )
        account = {
            **os.environ,
            "GOVC_URL": f"https://127.0.0.1:{lab.port}/sdk",
            "GOVC_USERNAME": vcenter.USER,
            "GOVC_PASSWORD": PASSWORD,
            "GOVC_TLS_CA_CERTS": str(lab.ca),
            "GOVC_PERSIST_SESSION": "false",
        }
        trips: dict[str, int] = {}

        def ours() -> float:
            command = [str(MIGRATEKIT), "--config", str(config), "discover", "--output", "json"]
            return _timed(lab, "ours", command, {**os.environ}, folder, b'\n{"moref": ', trips)

        def theirs() -> float:
            command = [str(GOVC), "collect", "-json", "-type", "m", "/", *PROPERTIES]
            return _timed(lab, "peer", command, account, folder, b'"kind": "enter"', trips)

        mine, peers = in_turn(ours, theirs)
        size = (folder / "ours").stat().st_size
    finally:
        lab.http.close()
        lab.part.stop()
    more = {"machines": MACHINES, "round_trips": trips["ours"], "peer_round_trips": trips["peer"]}
    return Row(
        "discover_5000", f"{MACHINES} machines, all properties that assess needs, as JSON", "govc collect -json",
        mine, peers, size, ">= 0.5, aim 1.0", more,
    )  # fmt: skip


def _timed(
    lab: vcenter.VCenter,
    who: str,
    command: Sequence[str],
    environment: dict[str, str],
    folder: Path,
    mark: bytes,
    trips: dict[str, int],
) -> float:
    """Run a command with its output in a file; return its seconds, and note how often it called vCenter."""
    lab.http.delete("/lab/calls").raise_for_status()
    began = time.monotonic()
    with (folder / who).open("wb") as output:
        subprocess.run(command, env=environment, stdout=output, check=True, timeout=600)
    seconds = time.monotonic() - began
    trips[who] = sum(lab.http.get("/lab/calls").raise_for_status().json()["calls"].values())
    found = (folder / who).read_bytes().count(mark)
    if found < MACHINES:
        sys.exit(f"bench: {command[0]} listed {found} of {MACHINES} machines")
    return seconds


def _build_govc() -> None:
    """Build govc of the module that is pinned in tests/bench/govc, with the toolchain of the set-up."""
    source = [GOVC_SOURCE / "main.go", GOVC_SOURCE / "go.mod"]
    if GOVC.exists() and all(file.stat().st_mtime < GOVC.stat().st_mtime for file in source):
        return
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    command = [str(GOVC.parent / "go"), "build", "-trimpath", "-o", str(GOVC), "."]
    subprocess.run(command, cwd=GOVC_SOURCE, env=environment, check=True, timeout=600)
