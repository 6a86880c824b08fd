"""Many clients at once on the volume daemon: `python -m tests.bench.daemon_load URL CLIENTS SECONDS < volume ids`.

Each client has a connection of its own and does what clients do: most requests read, some attach, detach, export or
unexport a volume and wait for the operation's end. Prints a report as JSON; the token is $LOAD_TOKEN.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import httpx

REQUEST_SECONDS = 60
END_SECONDS = 120
"""How long accepted operations may take to end after the load has stopped."""
CHANGES = ("attach", "detach", "attach", "detach", "export", "unexport")
BODIES: dict[str, dict[str, Any]] = {"attach": {}, "export": {"vm_name": "load", "disk": "0"}}
OPEN = ("pending", "running")
_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Report:
    """What was seen."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[str] = Counter()
        self.accepted: dict[str, str] = {}
        self.unexpected: list[str] = []

    def expect(self, kind: str, answer: httpx.Response, seconds: float, *allowed: int) -> None:
        self.seconds[kind].append(seconds)
        self.statuses[f"{kind} {answer.status_code}"] += 1
        if answer.status_code not in allowed and len(self.unexpected) < 20:
            self.unexpected.append(f"{kind} {answer.status_code} {answer.text[:300]}")


async def timed(report: Report, http: httpx.AsyncClient, kind: str, path: str, *allowed: int) -> httpx.Response:
    began = time.monotonic()
    answer = await http.get(path)
    report.expect(kind, answer, time.monotonic() - began, *allowed)
    return answer


async def change(report: Report, http: httpx.AsyncClient, volume_id: str, dice: random.Random) -> None:
    action = dice.choice(CHANGES)
    began = time.monotonic()
    answer = await http.post(f"/api/v1/volumes/{volume_id}/{action}", json=BODIES.get(action))
    report.expect("change", answer, time.monotonic() - began, 202, 409)
    if answer.status_code == 409 and "operation" not in answer.json()["why"]:
        report.unexpected.append(f"409 without the holder: {answer.text}")
    if answer.status_code == 202:
        operation_id = answer.json()["id"]
        report.accepted[operation_id] = action
        await http.get(f"/api/v1/operations/{operation_id}", params={"wait": 5})


async def client(report: Report, url: str, volumes: list[str], until: float, seed: int) -> None:
    dice = random.Random(seed)
    async with connect(url) as http:
        while time.monotonic() < until:
            volume_id = dice.choice(volumes)
            match dice.randrange(10):
                case 0 | 1 | 2:
                    await timed(report, http, "show", f"/api/v1/volumes/{volume_id}", 200)
                case 3:
                    await timed(report, http, "list", "/api/v1/volumes", 200)
                case 4:
                    await timed(report, http, "operations", "/api/v1/operations?limit=20", 200)
                case 5 if report.accepted:
                    operation_id = dice.choice(list(report.accepted))
                    await timed(report, http, "operation", f"/api/v1/operations/{operation_id}", 200)
                case 6:
                    await timed(report, http, "health", "/health", 200)
                case _:
                    await change(report, http, volume_id, dice)


async def outcomes(report: Report, url: str) -> dict[str, Any]:
    """Ask for every accepted operation until it has ended; return the counts, and which are lost."""
    deadline = time.monotonic() + END_SECONDS
    ended: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    lost = []
    async with connect(url) as http:
        for operation_id in report.accepted:
            while True:
                answer = await http.get(f"/api/v1/operations/{operation_id}", params={"wait": 10})
                operation = answer.json() if answer.status_code == 200 else {"status": f"HTTP {answer.status_code}"}
                if operation["status"] not in OPEN or time.monotonic() > deadline:
                    break
            ended[operation["status"]] += 1
            error = operation.get("error")
            if operation["status"] == "failed" and error and error["what"] and error["why"]:
                reasons[error["what"].split(" ")[0] + " … " + error["why"].split(",")[0][:60]] += 1
            elif operation["status"] != "completed" or error:
                lost.append(operation_id)
    return {"ended": dict(ended), "reasons": len(reasons), "lost": lost}


def connect(url: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {os.environ['LOAD_TOKEN']}"}
    # One TLS context for all, which nobody uses: making two hundred takes seconds.
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False, verify=_UNUSED)


def percentile(values: list[float], part: float) -> float:
    """Return a percentile in milliseconds."""
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1) if ordered else 0.0


async def main(url: str, clients: int, seconds: float, volumes: list[str]) -> dict[str, Any]:
    report = Report()
    began = time.monotonic()
    until = began + seconds
    found = await asyncio.gather(
        *(client(report, url, volumes, until, seed) for seed in range(clients)), return_exceptions=True
    )
    report.unexpected += [f"{type(error).__name__}: {error}" for error in found if error is not None][:20]
    took = time.monotonic() - began
    ended = await outcomes(report, url)
    reads = [value for kind, values in report.seconds.items() if kind != "change" for value in values]
    requests = sum(report.statuses.values())
    return {
        "clients": clients,
        "volumes": len(volumes),
        "seconds": round(took, 1),
        "requests": requests,
        "requests_per_second": round(requests / took, 1),
        "reads": len(reads),
        "reads_ms": {"p50": percentile(reads, 0.5), "p95": percentile(reads, 0.95), "p99": percentile(reads, 0.99)},
        "p99_ms": {kind: percentile(values, 0.99) for kind, values in sorted(report.seconds.items())},
        "statuses": dict(sorted(report.statuses.items())),
        "accepted": len(report.accepted),
        "operations": ended,
        "unexpected": report.unexpected,
    }


if __name__ == "__main__":
    address, number, duration = sys.argv[1:]
    print(json.dumps(asyncio.run(main(address, int(number), float(duration), sys.stdin.read().split()))))
