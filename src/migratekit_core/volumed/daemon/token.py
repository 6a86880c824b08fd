"""The daemon's token: one file, mode 0600, read again whenever it has changed; and its rotation.

Beside TOKEN_FILE there may be TOKEN_FILE.previous: the token before the last rotation, and until when it still holds.
Whoever replaces TOKEN_FILE by hand has no overlap: the new token holds at once, and the old one no more.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, UnreachableError, UsageError
from migratekit_core.common.files import write_private
from migratekit_core.common.redact import remember
from migratekit_core.config.secret import SecretSource

TOKEN_BYTES = 32
SETTING = "daemon.token_file"
Stamp = tuple[int, int, int, int, int] | None


@dataclass(frozen=True)
class _Read:
    """What the files held when they looked like this."""

    stamps: tuple[Stamp, Stamp]
    current: bytes
    previous: bytes
    previous_until: float


class TokenFile:
    """The token that requests are checked with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held: _Read | None = None

    def accepts(self, token: str) -> bool:
        """Return whether a token is the current one, or the previous one within its overlap.

        How long it takes does not tell how much of a wrong token was right. Raises UnreachableError where the file is
        gone or others may read it: then nobody is let in.
        """
        try:
            held = self.load()
        except MigrateKitError as error:
            # Not the client's fault, whatever it is: nobody's token can be checked.
            raise UnreachableError(
                "the volume daemon has no token to check", str(error), error.todo, code=ErrorCode.SECRET_UNREADABLE
            ) from None
        given = token.encode("utf-8", "surrogateescape")
        current = hmac.compare_digest(given, held.current)
        previous = hmac.compare_digest(given, held.previous or held.current)
        still = bool(held.previous) and datetime.now(UTC).timestamp() < held.previous_until
        return current | (previous & still)

    def load(self) -> _Read:
        """Read the files, if they changed since. Raises UsageError or AuthError as `SecretSource.read` does."""
        with self._lock:
            stamps = (_stamp(self._path), _stamp(previous_path(self._path)))
            if self._held is None or self._held.stamps != stamps:
                self._held = self._read(stamps)
            return self._held

    def _read(self, stamps: tuple[Stamp, Stamp]) -> _Read:
        current = SecretSource(file=self._path).read(SETTING)
        previous, until = _previous(self._path)
        return _Read(stamps, current.encode(), previous.encode(), until)


def rotate(path: Path, overlap: float) -> datetime:
    """Make a new token; the old one holds for `overlap` more seconds. Return until when (UTC).

    Both files belong to whom the token belonged to. Raises UsageError or AuthError for a token file that cannot be
    read or is not private, OperationFailedError where the new one cannot be written.
    """
    old = SecretSource(file=path).read(SETTING)
    until = datetime.now(UTC) + timedelta(seconds=overlap)
    new = remember(secrets.token_urlsafe(TOKEN_BYTES))
    try:
        path = path.resolve()
        status = path.stat()
        owner = (status.st_uid, status.st_gid)
        # The old one first: a daemon that reads in between still knows it.
        write_private(previous_path(path), f"{old}\n{until.timestamp():.6f}\n", owner)
        write_private(path, f"{new}\n", owner)
    except OSError as error:
        raise OperationFailedError(
            "the token was not replaced",
            f"{path}: {error.strerror}",
            "run it as root or as the daemon's user",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(path)},
        ) from error
    return until


def previous_path(path: Path) -> Path:
    """Return where the token before the last rotation is."""
    path = path.expanduser().resolve()
    return path.with_name(f"{path.name}.previous")


def _previous(path: Path) -> tuple[str, float]:
    beside = previous_path(path)
    if not beside.exists():
        return "", 0.0
    token, _, until = SecretSource(file=beside).read(SETTING).partition("\n")
    remember(token)
    try:
        return token, float(until)
    except ValueError:
        raise UsageError(
            f"{beside} is damaged",
            "its second line is no time",
            "delete it",
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(beside)},
        ) from None


def _stamp(path: Path) -> Stamp:
    """Return what changes when a file is replaced, written or opened to others."""
    try:
        status = path.expanduser().stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode
