"""The row `exporters`: the same copy to each of the two exporters, as the volume daemon starts them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from migratekit_core.config.schema import Daemon
from migratekit_core.engine.job import Job
from migratekit_core.volumed.daemon.exports.choose import exporter_of
from tests.bench.measure import Row, engine, in_turn, server
from tests.lab.parts.process import choose_port

MIB = 1024 * 1024
SIZE = 512 * MIB


def exporters(folder: Path) -> Row:
    """512 MiB of random data to a file behind nbdkit, and to one behind nbd-server."""
    source, socket = folder / "source.img", folder / "source.sock"
    source.write_bytes(random.Random(5).randbytes(64 * MIB) * (SIZE // (64 * MIB)))
    uri = f"nbd+unix:///?socket={socket}"
    with ExitStack() as stack:
        stack.enter_context(server("nbdkit", "-f", "-r", "-U", str(socket), "file", str(source), socket=socket))
        nbdkit = stack.enter_context(_exported(folder, "nbdkit"))
        other = stack.enter_context(_exported(folder, "nbd-server"))
        ours, theirs = in_turn(
            lambda: engine(Job("nbdkit", uri, nbdkit, SIZE, full=True), [(0, SIZE)])[0],
            lambda: engine(Job("nbd-server", uri, other, SIZE, full=True), [(0, SIZE)])[0],
        )
    what = "512 MiB random, our engine to a file behind nbdkit"
    return Row("exporters", what, "the same behind nbd-server", ours, theirs, SIZE, "none: a comparison")


@contextmanager
def _exported(folder: Path, kind: Literal["nbdkit", "nbd-server"]) -> Iterator[str]:
    """Start an exporter with one export, and yield its URI."""
    state, image, port = folder / kind, folder / f"{kind}.img", choose_port(None)
    state.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE)
    exporter = exporter_of(Daemon(token_file=folder / "token", state_dir=state, nbd_port=port, exporter=kind))
    exporter.start()
    try:
        exporter.add("migration-bench-1-00000000", image)
        exporter.prove("migration-bench-1-00000000", SIZE)
        yield f"nbd://127.0.0.1:{port}/migration-bench-1-00000000"
    finally:
        exporter.stop()
