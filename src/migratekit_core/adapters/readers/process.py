"""Serves a disk by a reader process of ours: nbdkit's Python plugin around the modules in `remote`.

The process has no password. What it needs of vCenter it asks for over a socket pair, and a thread here answers with
the session that the command has; so nothing secret is in an argument, the environment or a file.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migratekit_core.adapters.readers import remote
from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.model import Ask, UnfitError
from migratekit_core.adapters.readers.reader import nbd_uri, nbdkit, serve
from migratekit_core.adapters.readers.remote.channel import line_of, messages
from migratekit_core.common.childprocess import Child, last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import Fact, MigrateKitError, OperationFailedError, UnreachableError
from migratekit_core.common.redact import redact

PLUGIN = Path(remote.__file__).with_name("plugin.py")
THREADS = 16
"""Requests that one connection has worked on at once; each thread keeps a buffer of remote.plugin.LARGEST_REQUEST."""
SILENT_SECONDS = 240.0
"""For which a reader that opens a disk may say nothing: its own limits are shorter."""
LOOK_SECONDS = 0.1
TOLD_SECONDS = 2.0
"""In which what a reader has told is heard."""
LONGEST_FACT = 300
REFUSED = "refused"
"""What a reader says that ends because the command could not give what it asked for."""
ENVIRONMENT = {"PYTHONPATH": "", "PYTHONHOME": "", "PYTHONNOUSERSITE": "1"}
"""nbdkit's interpreter reads its own standard library, whatever this one was told."""


@dataclass(frozen=True)
class Said:
    """What a reader tells: a code that it shares with the module that started it, and what it is about."""

    code: str
    facts: Mapping[str, Fact]

    def text(self, name: str) -> str:
        """Return a fact as text, "" where there is none."""
        return str(self.facts.get(name, ""))


@dataclass(frozen=True)
class Serving:
    """How the reader process is to read, and what is made of what it says."""

    name: str
    """The reader's."""
    module: str
    """Whose `connect` opens the disk: one of those in `remote`, by its whole name."""
    settings: Mapping[str, Any]
    """For that, and without secrets."""
    explain: Callable[[Said], MigrateKitError]
    """Return the error for why the disk cannot be read."""
    answers: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = field(default_factory=dict)
    """By what a reader may ask for. Each raises MigrateKitError, or UnfitError while the disk is opened; called in a
    thread of its own, one at a time."""
    note: Callable[[Said], str] = lambda said: said.code
    """Return in a line what is waited for."""
    unfit: frozenset[str] = frozenset()
    """Codes that say, while the disk is opened, that another reader may be able to read it."""


class Link:
    """The command's end of the channel."""

    def __init__(self, ask: Ask, serving: Serving, ours: socket.socket) -> None:
        self._ask = ask
        self._serving = serving
        self._socket = ours
        self._changed = threading.Condition()
        self._heard = time.monotonic()
        self._ended = False
        self._refused: MigrateKitError | UnfitError | None = None
        self._failed: Said | None = None
        self._size: int | None = None
        self._thread = threading.Thread(target=self._listen, name=f"reader of {ask.subject}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Have the reader leave."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def opened(self, child: Child) -> None:
        """Wait until the disk is open. Raises what keeps it from that; KeyboardInterrupt where the run is stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(self._decided, LOOK_SECONDS)
                if self._size is not None:
                    self._same_size(self._size)
                    return
                if self._failed is not None:
                    raise self._error(self._failed)
                silent = time.monotonic() - self._heard > SILENT_SECONDS
            if silent or self._ended or not child.running():
                self._thread.join(LOOK_SECONDS)
                if self._failed is None:
                    raise self._gone(last_line(child.said()))
            elif self._ask.stopped():
                raise KeyboardInterrupt

    def reason(self) -> MigrateKitError | None:
        """Return why the reader gave up, None where it has not."""
        with self._changed:
            # It was told before the read failed; the thread that listens may not have come to it.
            self._changed.wait_for(lambda: self._failed is not None or self._ended, TOLD_SECONDS)
            error = self._error(self._failed) if self._failed is not None else None
        return error.error if isinstance(error, UnfitError) else error

    def _decided(self) -> bool:
        return self._size is not None or self._failed is not None or self._ended

    def _error(self, said: Said) -> MigrateKitError | UnfitError:
        if said.code == REFUSED and self._refused is not None:
            return self._refused
        error = self._serving.explain(said)
        return UnfitError(error) if said.code in self._serving.unfit else error

    def _same_size(self, size: int) -> None:
        wanted = self._ask.disk.capacity_bytes
        if size != wanted:
            raise OperationFailedError(
                f"{self._ask.subject} cannot be read",
                f"its reader finds {size} bytes, vSphere says {wanted}",
                "run it again; a disk that was resized meanwhile has its new size then",
                code=ErrorCode.SIZE_MISMATCH,
                facts={"size": size, "wanted": wanted},
            )

    def _gone(self, why: str) -> OperationFailedError:
        return OperationFailedError(
            f"{self._ask.subject} cannot be read",
            why,
            "check the reader's settings: docs/readers.md",
            code=ErrorCode.UNKNOWN,
        )

    def _listen(self) -> None:
        try:
            for message in messages(self._socket):
                self._take(message)
        except (OSError, ValueError, KeyError, TypeError):
            # It has ended, or says what is no sentence: it gets no more answers.
            self.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "want" in message:
            answer = self._answer(str(message["want"]), message)
            self._socket.sendall(line_of({"id": int(message["id"]), **answer}))
        elif "note" in message:
            self._ask.note(self._serving.note(_said(message["note"])))
        with self._changed:
            self._heard = time.monotonic()
            if "failed" in message and self._failed is None:
                self._failed = _said(message["failed"])
            elif "ready" in message:
                self._size = int(message["ready"]["size"])
            self._changed.notify_all()

    def _answer(self, kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
        if kind == "settings":
            return {"ok": {"module": self._serving.module, "settings": dict(self._serving.settings)}}
        try:
            return {"ok": dict(self._serving.answers[kind](about))}
        except (MigrateKitError, UnfitError) as error:
            refused = error
        except Exception as error:
            refused = self._gone(f"{kind}: {type(error).__name__}: {redact(str(error))[:LONGEST_FACT]}")
        with self._changed:
            self._refused = refused
        known = refused.error if isinstance(refused, UnfitError) else refused
        return {"error": {"code": known.code.value, "again": isinstance(known, UnreachableError)}}


@contextmanager
def serve_disk(ask: Ask, serving: Serving) -> Iterator[str]:
    """Serve the disk by a process of its own as long as the block runs, and yield its NBD URI.

    Raises what `serving` makes of what the process says, also in place of the error of a read that failed meanwhile;
    UnfitError where the disk cannot be opened for a reason that another reader may not have; KeyboardInterrupt where
    the run is stopped while it waits.
    """
    ours, theirs = socket.socketpair()
    with private_folder(serving.name) as folder, ours, theirs:
        path = folder / "disk.sock"
        link = Link(ask, serving, ours)
        command = [*nbdkit(path), f"--threads={THREADS}", "python", str(PLUGIN), f"channel={theirs.fileno()}"]

        def ready(child: Child) -> None:
            theirs.close()
            try:
                link.opened(child)
            except BaseException:
                link.close()
                raise

        try:
            with serve(command, path, ask.subject, pass_fds=[theirs.fileno()], env=ENVIRONMENT, ready=ready):
                try:
                    yield nbd_uri(path)
                finally:
                    link.close()
        except MigrateKitError as error:
            reason = link.reason() if error.code in (ErrorCode.DISK_READ_FAILED, ErrorCode.NBD_UNREACHABLE) else None
            if reason is None:
                raise
            raise reason from error
        finally:
            link.close()


def _said(message: Mapping[str, Any]) -> Said:
    """Return what a reader told; texts within it may be a host's own, so they are short and have no control codes."""
    facts: dict[str, Fact] = {}
    for name, fact in dict(message.get("facts", {})).items():
        if isinstance(fact, str):
            shown = "".join(letter if letter.isprintable() else " " for letter in fact[:LONGEST_FACT])
            facts[str(name)] = redact(shown)
        elif isinstance(fact, bool | int | float):
            facts[str(name)] = fact
    return Said(str(message["code"]), facts)
