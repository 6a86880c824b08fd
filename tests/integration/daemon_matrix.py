"""The volume daemon's crash matrix: every operation, broken between any two of its steps, and what came of it.

Where the places between the steps are, the daemon tells itself (volumes/daemon/points.py): a first run of every
operation collects them. One round then breaks one place of every operation at once: each of them waits at its place,
the daemon is killed (or the database restarted), and what the next daemon makes of it is looked at from outside.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nbd

from migratekit_core.common.files import write_private
from tests.integration.support import MIB, eventually, sql
from tests.lab.lab import Lab

TAGS = {"migratekit": "00000000-0000-0000-0000-00000000000a"}
TYPES = (
    "create",
    "delete",
    "attach",
    "detach",
    "export",
    "unexport",
    "snapshot",
    "clone",
    "delete-snapshot",
    "checksum",
    "reconcile",
)
HERE = frozenset({"detach", "export", "unexport", "snapshot", "checksum"})
"""Operations that begin with a volume that is attached to the OMA."""
EXPORT = {"vm_name": "matrix", "disk": "1"}
ENDED = ("completed", "failed")


@dataclass(frozen=True)
class Cell:
    """What came of one operation that was broken at one place, or by one fault."""

    operation: str
    step: str
    broken_by: str
    outcome: str
    """`completed`, or `failed: ` and the reason."""


@dataclass
class Stage:
    """A lab with what each operation needs: a volume of its own, attached and exported where that is what it ends."""

    lab: Lab
    http: httpx.Client
    volumes: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    sent: dict[str, httpx.Response] = field(default_factory=dict)
    number: int = 0

    @property
    def folder(self) -> Path:
        """Return where the daemon says which places it passes, and reads at which to wait."""
        return self.lab.run / "points"

    def start(self) -> None:
        """Start the daemon, with its places watched."""
        self.lab.restart_daemon(MIGRATEKIT_DAEMON_POINTS=str(self.folder))

    def reached(self) -> list[str]:
        """Return the places that were passed since `stop_at`, in their order."""
        path = self.folder / "reached"
        return path.read_text().splitlines() if path.exists() else []

    def stop_at(self, *places: str) -> None:
        """Have operations wait at these places, and at no others; forget which were passed."""
        (self.folder / "reached").unlink(missing_ok=True)
        beside = self.folder / "stop.new"
        beside.write_text("\n".join(places))
        beside.rename(self.folder / "stop")

    def request(self, kind: str) -> httpx.Response:
        """Ask for an operation of this type, about this type's own volume or snapshot."""
        self.number += 1
        if kind == "reconcile":
            return self._damage()
        volume, headers = f"/api/v1/volumes/{self.volumes.get(kind)}", {"Idempotency-Key": f"{kind}-{self.number}"}
        body: dict[str, Any] | None = None
        match kind:
            case "create":
                path, body = "/api/v1/volumes", {"name": "matrix-create", "size": MIB, "tags": TAGS}
            case "clone":
                path, body = f"/api/v1/snapshots/{self.snapshots[kind]}/volume", {"name": "matrix-clone", "tags": TAGS}
            case "delete":
                return self.http.delete(volume, headers=headers)
            case "delete-snapshot":
                return self.http.delete(f"/api/v1/snapshots/{self.snapshots[kind]}", headers=headers)
            case "export":
                path, body = f"{volume}/export", EXPORT
            case "snapshot":
                path, body = f"{volume}/snapshot", {"name": "matrix-snapshot"}
            case "checksum":
                path, body = f"{volume}/checksum", {"length": MIB}
            case "attach":
                path, body = f"{volume}/attach", {}
            case _:
                path = f"{volume}/{kind}"
        return self.http.post(path, json=body, headers=headers)

    def _damage(self) -> httpx.Response:
        """Have the daemon find a volume whose row and export are wrong; return its repair as if it was asked for."""
        volume_id = self.volumes["reconcile"]
        known = {operation["id"] for operation in self._repairs()}
        wrong = "UPDATE device_mappings SET device_path = NULL, linux_state = 'absent' WHERE volume_id = %s"
        sql(self.lab, wrong, volume_id, database="migratekit_volumes")
        named = "SELECT export_name FROM nbd_exports WHERE volume_id = %s"
        (row,) = sql(self.lab, named, volume_id, database="migratekit_volumes")
        (self.lab.run / "daemon" / "exports" / row["export_name"]).unlink()

        def repair() -> dict[str, Any] | None:
            return next((one for one in self._repairs() if one["id"] not in known), None)

        return httpx.Response(202, json=eventually("the damage is found", repair, 60))

    def _repairs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/api/v1/operations").json()["operations"]
        return [one for one in found if (one["type"], one["volume_id"]) == ("reconcile", self.volumes["reconcile"])]

    def send(self, *kinds: str) -> None:
        """Submit an operation of each of these types."""
        self.sent = {kind: self.request(kind) for kind in kinds}

    def ended(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the operation of an answer when it has ended."""
        assert answer.status_code == 202, answer.text
        operation: dict[str, Any] = answer.json()
        path, deadline = f"/api/v1/operations/{operation['id']}", time.monotonic() + 90
        while operation["status"] not in ENDED:
            assert time.monotonic() < deadline, f"does not end: {operation}"
            found = self.http.get(path, params={"wait": 20})
            # While the database is away the daemon says so, and clients ask again.
            assert found.status_code in (200, 503), found.text
            if found.status_code == 200:
                operation = found.json()
            else:
                time.sleep(0.2)
        return operation

    def done(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the response of an operation that has to work."""
        operation = self.ended(answer)
        assert operation["status"] == "completed", operation
        response: dict[str, Any] = operation["response"]
        return response

    def record(self, broken_by: str, steps: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Wait for what was sent, write down what came of it, check the world, and return the operations by type."""
        operations = {kind: self.ended(answer) for kind, answer in self.sent.items()}
        for kind, operation in operations.items():
            error = operation["error"]
            assert operation["status"] == "completed" or (error["what"] and error["why"] and error["todo"]), operation
            outcome = "completed" if error is None else f"failed: {error['what']}: {error['why']}"
            self.cells.append(Cell(kind, steps[kind], broken_by, outcome))
            self._adopt(kind, operation)
        self.check()
        return operations

    def _adopt(self, kind: str, operation: dict[str, Any]) -> None:
        """Note what an operation made or took away, as its answer tells."""
        response = operation["response"]
        if response is None:
            return
        if kind in ("create", "clone"):
            self.volumes[kind] = response["volume_id"]
        elif kind == "snapshot":
            self.snapshots[kind] = response["snapshot_id"]
        elif kind == "delete":
            del self.volumes[kind]
        elif kind == "delete-snapshot":
            del self.snapshots[kind]

    def check(self) -> None:
        """Check that nothing is unknown, twice attached, twice exported, or still said to be under way."""
        state = self.lab.cloud.state()
        machine = next(vm for vm in state["virtualmachines"] if vm["name"] == "oma01")
        ours = {volume["id"]: volume for volume in state["volumes"] if volume["name"] != "ROOT-1"}
        assert ours.keys() == set(self.volumes.values()), "CloudStack has other volumes than the answers tell of"
        assert {one["id"] for one in state["snapshots"]} == set(self.snapshots.values()), "orphaned snapshots"
        shown = {volume["id"]: volume for volume in self.http.get("/api/v1/volumes").json()["volumes"]}
        assert shown.keys() == ours.keys(), "a volume is not known as ours"
        links = sorted(Path(file).stem for name, file in machine["devices"].items() if Path(file).stem in ours)
        here = sorted(id for id, volume in ours.items() if volume["virtualmachineid"] == machine["id"])
        assert links == here, "a volume has not exactly one device"
        rows = sql(self.lab, "SELECT * FROM device_mappings", database="migratekit_volumes")
        assert sorted(row["volume_id"] for row in rows) == here
        for row in rows:
            assert (row["cloudstack_state"], row["linux_state"]) == ("attached", "attached"), row
            assert row["device_path"] == ours[row["volume_id"]]["file"]
        exports = sql(self.lab, "SELECT * FROM nbd_exports", database="migratekit_volumes")
        assert len({row["volume_id"] for row in exports}) == len(exports)
        served = sorted(path.name for path in (self.lab.run / "daemon" / "exports").iterdir() if path.name[0] != ".")
        assert served == sorted(row["export_name"] for row in exports)
        for row in exports:
            assert row["volume_id"] in here
            assert row["status"] == "active", row
            self._connect(row["export_name"])
        running = {"cloudstack_job_tracking": "migratekit_oma", "joblog_jobs": "migratekit_oma"}
        for table, database in running.items():
            left = f"SELECT * FROM {table} WHERE status = 'running'"
            # The daemon compares all the time; where it has found something, that is a job of its own for a moment.
            eventually(f"{table} says that nothing runs", partial(self._none, left, database), 20)

    def _none(self, statement: str, database: str) -> bool:
        return not sql(self.lab, statement, database=database)

    def _connect(self, name: str) -> None:
        handle = nbd.NBD()
        handle.set_export_name(name)
        handle.connect_tcp("127.0.0.1", str(self.lab.ports["nbd"]))
        assert len(handle.pread(512, 0)) == 512
        handle.shutdown()

    def prepare(self) -> None:
        """Bring everything to where the next round begins, whatever the last one left."""
        waiting: list[httpx.Response] = []
        if "create" in self.volumes:
            waiting.append(self.http.delete(f"/api/v1/volumes/{self.volumes.pop('create')}"))
        if "clone" in self.volumes:
            waiting.append(self.http.delete(f"/api/v1/volumes/{self.volumes.pop('clone')}"))
        if "snapshot" in self.snapshots:
            waiting.append(self.http.delete(f"/api/v1/snapshots/{self.snapshots.pop('snapshot')}"))
        wanted = (*HERE, "attach", "delete", "reconcile")
        made = {kind: self._create(kind) for kind in wanted if kind not in self.volumes}
        self.volumes |= {kind: self.done(answer)["volume_id"] for kind, answer in made.items()}
        for answer in [self.http.post(f"{self._url(kind)}/attach", json={}) for kind in sorted(HERE)]:
            self.done(answer)
        if "reconcile" in made:
            # Only once: what an operation has just changed is not compared for a while.
            self.done(self.http.post(f"{self._url('reconcile')}/attach", json={}))
            self.done(self.http.post(f"{self._url('reconcile')}/export", json=EXPORT))
        waiting += [self.http.post(f"{self._url('export')}/unexport"), self.http.post(f"{self._url('attach')}/detach")]
        waiting.append(self.http.post(f"{self._url('unexport')}/export", json=EXPORT))
        for answer in waiting:
            self.done(answer)
        taken = {kind: self._snapshot(kind) for kind in ("clone", "delete-snapshot") if kind not in self.snapshots}
        for kind, answer in taken.items():
            self.snapshots[kind] = self.done(answer)["snapshot_id"]

    def _url(self, kind: str) -> str:
        return f"/api/v1/volumes/{self.volumes[kind]}"

    def _create(self, kind: str) -> httpx.Response:
        return self.http.post("/api/v1/volumes", json={"name": f"matrix-{kind}", "size": MIB, "tags": TAGS})

    def _snapshot(self, kind: str) -> httpx.Response:
        # Of two volumes, for CloudStack works on one thing at a time for each.
        of = {"clone": "checksum", "delete-snapshot": "export"}[kind]
        return self.http.post(f"{self._url(of)}/snapshot", json={"name": f"matrix-{kind}"})

    def collect(self) -> dict[str, list[str]]:
        """Run every operation once, and return the places that each passes, in their order."""
        self.prepare()
        self.stop_at()
        self.send(*TYPES)
        self.record("nothing", dict.fromkeys(TYPES, "-"))
        self.cells.clear()
        passed = [place for place in dict.fromkeys(self.reached()) if not place.endswith("/failed")]
        return {kind: [place for place in passed if place.split("/")[0] == kind] for kind in TYPES}

    def round(self, places: dict[str, str], broken_by: str) -> None:
        """Break each operation at its place, all of them at the same moment."""
        self.prepare()
        self.stop_at(*places.values())
        self.send(*places)
        wanted = set(places.values())
        eventually(f"all operations wait: {sorted(wanted)}", lambda: wanted <= set(self.reached()), 30)
        if broken_by == "kill -9":
            self.lab.parts["daemon"].kill()
            self.stop_at()
            self.start()
        else:
            self.lab.parts["db"].kill()
            self.stop_at()
            self.lab.restart_database()
        self.record(broken_by, {kind: place.partition("/")[2] for kind, place in places.items()})

    def write(self, path: Path) -> None:
        """Write the matrix down, and print it as a table."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [vars(cell) for cell in self.cells]
        path.write_text(json.dumps({"schema": "migratekit.daemon-matrix/1", "cells": rows}, indent=2) + "\n")
        print(f"\n{'OPERATION':<16}{'BROKEN BY':<34}{'AT':<38}OUTCOME")
        for cell in sorted(self.cells, key=lambda cell: TYPES.index(cell.operation)):
            print(f"{cell.operation:<16}{cell.broken_by:<34}{cell.step:<38}{cell.outcome[:90]}")
        completed = sum(cell.outcome == "completed" for cell in self.cells)
        print(f"daemon matrix: {len(rows)} cells, {completed} completed, {len(rows) - completed} failed with a reason")


def prepared(lab: Lab, http: httpx.Client) -> Stage:
    """Return the stage, with a daemon that waits only for as long as a test can."""
    text = lab.daemon_config.read_text()
    text = text.replace("device_timeout = 10", "device_timeout = 3\nsettle_timeout = 3\nreconcile_interval = 0.5")
    write_private(lab.daemon_config, text.replace("[ossea]", "[ossea]\ntimeout = 2"))
    stage = Stage(lab, http)
    stage.folder.mkdir()
    lab.parts["daemon"].stop()
    stage.start()
    return stage
