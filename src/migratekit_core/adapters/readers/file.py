"""Reads a local image (raw, qcow2, vmdk …) with qemu-nbd, for imports and tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.reader import nbd_uri, serve
from migratekit_core.common import programs
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError

FORMATS = ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc")
CLIENTS = 16
"""Connections that qemu-nbd accepts at once; the engine opens fewer."""


@contextmanager
def open_image(image: Path, image_format: str) -> Iterator[str]:
    """Serve a local image read-only as long as the block runs, and yield its NBD URI.

    The format is never guessed: a guest can write a qcow2 header into its raw disk and so name files of this host.
    Raises PreconditionError for a missing file or a format that is not in FORMATS.
    """
    if image_format not in FORMATS:
        raise PreconditionError(
            f"image format {image_format!r} is not supported",
            f"known: {', '.join(FORMATS)}",
            "name one of them",
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(image)},
        )
    if not image.is_file():
        raise PreconditionError(
            f"image {image} cannot be read",
            "there is no such file",
            "check the path",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(image)},
        )
    with private_folder("file") as folder:
        socket = folder / "image.sock"
        command = [
            # qemu-nbd has no --exit-with-parent.
            *(programs.find("setpriv", "util-linux"), "--pdeathsig", "KILL"),
            programs.find("qemu-nbd", "qemu-utils"),
            "--read-only",
            "--persistent",
            f"--shared={CLIENTS}",
            f"--socket={socket}",
            f"--format={image_format}",
            str(image.resolve()),
        ]
        with serve(command, socket, f"image {image}"):
            yield nbd_uri(socket)
