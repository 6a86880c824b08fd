"""`python -m tests.wire`: how well a copy fills a narrow line, by each kind of tunnel; writes .bench/wan.json.

The VMA's end of the link is limited with tbf to 100 Mbit/s and 1 Gbit/s; where the kernel has netem, also with 20 ms in
each direction. Then without a limit, beside an NBD server that listens on the link itself: what a tunnel costs.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.images import random_image
from tests.bench.measure import Cpu
from tests.wire.far import Far, far
from tests.wire.namespaces import Wire, wire

MIB = 1 << 20
RESULTS = Path(__file__).resolve().parents[2] / ".bench" / "wan.json"
LIMITS = {"100 Mbit/s": (100e6, "100mbit", "64kb", 192 * MIB), "1 Gbit/s": (1e9, "1gbit", "256kb", 1024 * MIB)}
"""Bits per second, the same for tc, the bucket, and how much is copied."""
OPEN_LIMIT = ("100gbit", "16mb")
"""No limit to speak of; the queue stays, for it counts the bytes."""
AIM = 0.95
RUNS = int(os.environ.get("WAN_RUNS", "3"))
DELAY_MS = 20


def main() -> int:
    """Measure, print, and write the results; return 0."""
    with wire() as link, tempfile.TemporaryDirectory(prefix="mk-wan-", dir="/dev/shm") as name:
        folder = Path(name)
        random_image(folder, 1024 * MIB)
        with far(link, folder, "memory", "2G", plain=True) as there:
            rows = list(_rows(link, there))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": platform.platform(), "rows": rows}, indent=2) + "\n")
    return 0


def _rows(link: Wire, there: Far) -> Iterator[dict[str, Any]]:
    folder = there.folder
    for limit, (bits, rate, burst, size) in LIMITS.items():
        link.limit(rate, burst)
        image = _part(folder, size)
        for kind in ("tls", "ssh"):
            for _ in range(RUNS):
                yield _row(link, there, image, kind, limit, bits)
    link.limit("100mbit", "64kb")
    for what in ("zeros", "unallocated"):
        image = folder / f"{what}.img"
        with image.open("wb") as file:
            file.truncate(1024 * MIB)
        if what == "zeros":
            image.write_bytes(bytes(256 * MIB))
        for kind in ("tls", "ssh"):
            yield _row(link, there, image, kind, "100 Mbit/s", 100e6, what, [] if what == "unallocated" else None)
        image.unlink()
    link.limit(*OPEN_LIMIT)
    image = _part(folder, 1024 * MIB)
    for _ in range(RUNS):
        for kind in ("tls", "ssh", "none"):
            yield _row(link, there, image, kind, "none", 0)
    if not link.delay(DELAY_MS):
        print(f"delay of {DELAY_MS} ms: this kernel has no netem", file=sys.stderr)
        return
    for limit, (bits, rate, burst, size) in LIMITS.items():
        link.limit(rate, burst)
        for kind in ("tls", "ssh"):
            yield _row(link, there, _part(folder, size), kind, f"{limit}, {DELAY_MS} ms away", bits)


def _row(
    link: Wire, there: Far, image: Path, kind: str, limit: str, bits: float, what: str = "random",
    areas: list[tuple[int, int]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    size = image.stat().st_size
    before, cpu = link.bytes_sent(), Cpu([])
    done = there.copy(image, kind, areas)
    sent = link.bytes_sent() - before
    row: dict[str, Any] = {
        "limit": limit, "tunnel": kind, "data": what, "bytes": size, "bytes_on_the_link": sent,
        "seconds": round(done.seconds, 3), "mib_per_second": round(size / MIB / done.seconds, 1),
        "link_use": round(sent * 8 / done.seconds / bits, 4) if bits else None,
        "engine_cpu_seconds": round(sum(cpu.used()), 2), "load": os.getloadavg()[0],
    }  # fmt: skip
    use = f"link use {row['link_use']:.3f}" if row["link_use"] and what == "random" else ""
    print(
        f"{limit:12} {kind:5} {what:12} {size / MIB:6.0f} MiB {done.seconds:8.2f} s {row['mib_per_second']:8.1f} MiB/s "
        f"{sent / MIB:9.2f} MiB on the link  {use}",
        flush=True,
    )
    return row


def _part(folder: Path, size: int) -> Path:
    """Return an image with the first bytes of the random one."""
    whole, part = folder / "random.img", folder / f"random-{size}.img"
    if size == whole.stat().st_size:
        return whole
    if not part.exists():
        with whole.open("rb") as file:
            part.write_bytes(file.read(size))
    return part


if __name__ == "__main__":
    sys.exit(main())
