"""`python -m tests.hostile.flood [STRANGERS] [MiB]`: what strangers without a certificate cost a copy that runs.

A disk is copied through the OMA's one port, alternately with and without so many connections (4096) that say nothing;
each is made anew as soon as the port has closed it. They come from addresses of their own, as strangers do. Told are
the rates, and their ratio: a benchmark, for a machine with nothing else to do.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.adapters.tunnel import SERVICES, Gate, pki
from migratekit_core.common.units import MIB
from migratekit_core.engine.job import Job
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import Server
from tests.lab.noise import noise
from tests.lab.parts.process import choose_port
from tests.tunnels import oma

ROUNDS = 5
EACH = 512
"""Strangers of one address."""


@contextmanager
def flooded(port: int, count: int) -> Iterator[list[int]]:
    """Keep so many idle connections open; yield a list whose length is how often the port has closed one."""
    ending, closed = threading.Event(), list[int]()
    thread = threading.Thread(target=_flood, args=(port, count, ending, closed))
    thread.start()
    # All have come once.
    time.sleep(2)
    try:
        yield closed
    finally:
        ending.set()
        thread.join()


def _flood(port: int, count: int, ending: threading.Event, closed: list[int]) -> None:
    waiting = selectors.DefaultSelector()

    def come(number: int) -> None:
        one = socket.socket()
        one.setblocking(False)
        one.bind((f"127.0.1.{1 + number // EACH}", 0))
        one.connect_ex(("127.0.0.1", port))
        waiting.register(one, selectors.EVENT_READ, number)

    for number in range(count):
        come(number)
    while not ending.is_set():
        for key, _ in waiting.select(0.1):
            waiting.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
            closed.append(1)
            come(key.data)
    for key in list(waiting.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()


def main() -> None:
    """Measure, and tell."""
    count, size = (int(text) for text in (*sys.argv[1:], *("4096", "512")[len(sys.argv) - 1 :]))
    size *= MIB
    with tempfile.TemporaryDirectory(prefix="mk-flood-") as name:
        folder = Path(name)
        made = folder / "a"
        pki.init(made)
        (folder / "source.img").write_bytes(noise("flood", size))
        (folder / "target").mkdir()
        (folder / "target" / "disk").write_bytes(bytes(size))
        nbd, socket_path = choose_port(None), folder / "source.sock"
        there = Server(nbd, "nbdkit", "-f", "-i", "127.0.0.1", "-p", str(nbd), "file", f"dir={folder / 'target'}")
        here = Server(socket_path, "nbdkit", "-f", "-r", "-U", str(socket_path), "file", str(folder / "source.img"))
        services = dict.fromkeys(SERVICES, f"127.0.0.1:{nbd}")
        with here, there, oma(folder, made / "oma.pem", services) as port:
            files = (str(made / "ca.pem"), str(made / "vma.pem"))
            gate = Gate("127.0.0.1", port, "nbd", *files, "disk", str(made / "crl.pem"))
            job = Job("flooded", here.uri, f"nbd://127.0.0.1:{nbd}/disk", size, True, gate=gate)
            rates: dict[bool, list[float]] = {False: [], True: []}
            gone = 0
            for _ in range(ROUNDS):
                for crowded in (False, True):
                    if crowded:
                        with flooded(port, count) as closed:
                            rates[crowded].append(_rate(job))
                        gone += len(closed)
                    else:
                        rates[crowded].append(_rate(job))
        alone, among = (statistics.median(rates[crowded]) for crowded in (False, True))
        sys.stdout.write(
            f"{size // MIB} MiB, {ROUNDS} times each, medians: alone {alone:.0f} MiB/s, among {count} idle strangers "
            f"{among:.0f} MiB/s ({among / alone:.1%}); {gone} strangers were sent away\n"
        )


def _rate(job: Job) -> float:
    done = copy(job, [(0, job.size)], lambda event: None, Engines())
    return done.written / MIB / done.seconds


if __name__ == "__main__":
    main()
