"""Reads a disk from the ESXi host over NFC, VMware's own disk protocol, without VMware's library: any datastore, any
chain of snapshots. The process that reads is `remote.nfc`; tickets are asked for here (`ticket`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from migratekit_core.adapters.readers.layout import Layout
from migratekit_core.adapters.readers.model import Ask, Plugin, Reader
from migratekit_core.adapters.readers.process import Said, Serving, serve_disk
from migratekit_core.adapters.readers.remote import nfc as remote
from migratekit_core.adapters.readers.sessions import grant
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    BusyError,
    Fact,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)

MOST = 32
"""Requests that an ESXi host has on its hands at once: its NFC service has 48 MB for all its clients."""
UNFIT = frozenset({"unreachable", "no-sha256", "no-nfcssl", "not-nfc", "broken"})
"""What keeps this reader from reading, and perhaps no other one."""
WHY = {
    "no-sha256": "the host names no certificate by SHA-256, as before ESXi 7",
    "no-nfcssl": "the host does not offer NFC over TLS, as before ESXi 7",
}


@contextmanager
def open_disk(ask: Ask) -> Iterator[str]:
    """Serve the disk as long as the block runs, and yield its NBD URI."""
    settings = ask.source.nfc

    def waiting() -> None:
        ask.note(f"{ask.disk.label} waits: host {ask.host} has {MOST} requests of other disks")

    with grant(f"nfc-{ask.host}", settings.depth, MOST, waiting, ask.stopped) as depth:
        # Within: pyVmomi is slow to load, and only who reads this way needs it.
        from migratekit_core.adapters.readers.ticket import ticket

        serving = Serving(
            "nfc",
            remote.__name__,
            {
                "path": ask.disk.path,
                "capacity": ask.disk.capacity_bytes,
                "depth": depth,
                "compression": settings.compression,
                "patience": ask.source.patience,
            },
            lambda said: explain(ask, said),
            {"ticket": lambda about: ticket(ask)},
            lambda said: f"{ask.disk.label} waits: its file is locked, by a backup, say",
            UNFIT,
        )
        with serve_disk(ask, serving) as uri:
            yield uri


def explain(ask: Ask, said: Said) -> MigrateKitError:
    """Return the error for why a disk cannot be read."""
    subject, facts = ask.subject, dict[str, Fact](said.facts)
    text = said.text("text") or said.text("reason") or said.code
    if said.code in ("unreachable", "broken", "lost"):
        return UnreachableError(
            f"{subject}: ESXi host {said.text('host') or ask.host} does not answer over NFC",
            text,
            "open port 902 of every ESXi host for this machine; look whether the host is connected in vCenter",
            code=ErrorCode.SOURCE_UNREACHABLE,
            facts=facts,
        )
    if said.code in ("no-sha256", "no-nfcssl", "not-nfc"):
        return PreconditionError(
            f"{subject} cannot be read over NFC",
            WHY.get(said.code, f"what answers is no ESXi host: {text}"),
            "choose another reader (source.reader): docs/readers.md",
            code=ErrorCode.READER_UNFIT,
            facts={"reader": "nfc", **facts},
        )
    if said.code == "untrusted":
        return AuthError(
            f"{subject}: ESXi host {ask.host} cannot be trusted",
            "its certificate on port 902 is not the one that vCenter's ticket names",
            "does something between here and the host answer in its place? find that out first",
            code=ErrorCode.SOURCE_UNTRUSTED,
            facts=facts,
        )
    if said.code == "locked":
        return BusyError(
            f"{subject}: its file is locked",
            f"{text or 'the host cannot lock it'}; the likely holder is a backup of the machine",
            "wait until that ends, then run again; source.patience says how long a run waits for it",
            code=ErrorCode.SOURCE_LOCKED,
            facts={"seconds": ask.source.patience, **facts},
        )
    if said.code == "size":
        return OperationFailedError(
            f"{subject} cannot be read over NFC",
            f"the host says it has {said.text('size')} bytes, vSphere {said.text('wanted')}",
            "run it again; a disk that was resized meanwhile has its new size then",
            code=ErrorCode.SIZE_MISMATCH,
            facts=facts,
        )
    return OperationFailedError(
        f"{subject} cannot be read over NFC",
        f"the host refuses ({said.code}): {text}",
        "look at the host's log (hostd, nfcd); or choose another reader (source.reader): docs/readers.md",
        code=ErrorCode.DISK_READ_FAILED,
        facts=facts,
    )


READER = Reader(
    "nfc",
    how="over NFC",
    reads=frozenset({Layout.CHAIN, Layout.SPARSE, Layout.OBJECT, Layout.RAW_DEVICE}),
    open=open_disk,
    plugins=(Plugin("python", "run: apt-get install nbdkit-plugin-python"),),
    sessions=lambda source: source.nfc.sessions,
    only_where_named=True,
)
