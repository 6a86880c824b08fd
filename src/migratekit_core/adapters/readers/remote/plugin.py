"""nbdkit's Python plugin: serves the disk that one of the modules beside it reads.

    nbdkit --readonly python plugin.py channel=FD

The descriptor is the channel to the command that started it, which tells what to read and how.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any

API_VERSION = 2

# Behind the standard library: what is read of it must be its own.
sys.path.append(str(Path(__file__).resolve().parents[4]))

from migratekit_core.adapters.readers.remote.channel import (  # noqa: E402
    Channel,
    ChannelClosedError,
    FailedError,
    RefusedError,
)
from migratekit_core.adapters.readers.remote.disk import Disk  # noqa: E402

LARGEST_REQUEST = 1 << 20
"""Each of nbdkit's threads keeps a buffer as large as the largest request it had, so this limits memory."""
SWITCH_SECONDS = 0.0005
"""For which a thread that computes may keep the interpreter from one that has data to take."""

_settings: dict[str, str] = {}
_channel: Channel | None = None
_disk: Disk | None = None


def config(key: str, value: str) -> None:
    """Take a word of the command line."""
    _settings[key] = value


def config_complete() -> None:
    """See that all words are there."""
    if set(_settings) != {"channel"} or not _settings["channel"].isdigit():
        raise RuntimeError("channel=FD is needed, and nothing else")


def thread_model() -> int:
    """Return that reads may be made at the same time."""
    import nbdkit  # type: ignore[import-not-found]  # only nbdkit's own interpreter has it

    return int(nbdkit.THREAD_MODEL_PARALLEL)


def after_fork() -> None:
    """Open the disk: whoever connects finds it open."""
    global _channel, _disk
    sys.setswitchinterval(SWITCH_SECONDS)
    channel = _channel = Channel(int(_settings["channel"]))
    channel.start()
    try:
        told = channel.want("settings")
        connect = importlib.import_module(told["module"]).connect
        _disk = disk = connect(channel, told["settings"])
    except FailedError as error:
        channel.failed(error)
        raise RuntimeError(error.code) from None
    except (ChannelClosedError, RefusedError):
        channel.failed(FailedError("no-answer"))
        raise RuntimeError("the command does not answer") from None
    channel.when_closed(_leave)
    channel.ready(disk.size)


def _leave() -> None:
    """End at once: nbdkit would wait for who is connected, and nobody needs this process any more."""
    cleanup()
    os._exit(0)


def cleanup() -> None:
    """Take leave of the source."""
    if _disk is not None:
        _disk.close()


def open(readonly: bool) -> Disk:
    """Begin a connection."""
    assert _disk is not None, "nobody can connect before"
    return _disk


def get_size(disk: Disk) -> int:
    """Return the size of the disk in bytes."""
    return disk.size


def block_size(disk: Disk) -> tuple[int, int, int]:
    """Return the smallest, the preferred and the largest request."""
    return (1, 1 << 16, LARGEST_REQUEST)


def can_write(disk: Disk) -> bool:
    """Return that nothing is ever written."""
    return False


def can_multi_conn(disk: Disk) -> bool:
    """Return that all connections see the same disk."""
    return True


def pread(disk: Disk, buffer: Any, offset: int, flags: int) -> None:
    """Fill the buffer."""
    try:
        with memoryview(buffer) as view:
            disk.read(view, offset)
    except FailedError as error:
        # Before anybody hears that a read failed the command has been told why.
        if _channel is not None:
            _channel.failed(error)
        _fail(errno.EIO, error.code)
    except OSError as error:
        _fail(error.errno or errno.EIO, error.strerror or "read error")


def _fail(number: int, text: str) -> None:
    import nbdkit

    nbdkit.set_error(number)
    # nbdkit logs it with where it was raised: there is nothing in it but the text.
    raise RuntimeError(text) from None
