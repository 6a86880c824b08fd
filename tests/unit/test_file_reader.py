"""Local images, served by the real qemu-nbd and read back by the real libnbd."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbd
import pytest

from migratekit_core.adapters.readers.file import open_image
from migratekit_core.common.errors import OperationFailedError, PreconditionError

SIZE = 1024 * 1024 + 512


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the readers a runtime folder of their own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


@pytest.fixture
def raw(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "disk with spaces.raw"
    path.write_bytes(content)
    return path


def read(uri: str) -> bytes:
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = bytes(handle.pread(handle.get_size(), 0))
    assert handle.is_read_only()
    handle.shutdown()
    return data


def servers(folder: Path) -> list[str]:
    """Return the command lines of processes that serve from `folder`."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            lines.append(line)
    return lines


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk"])
def test_an_image_is_read_back_as_it_is(
    runtime: Path, tmp_path: Path, raw: Path, content: bytes, image_format: str
) -> None:
    image = raw
    if image_format != "raw":
        image = tmp_path / f"disk.{image_format}"
        subprocess.run(["qemu-img", "convert", "-O", image_format, str(raw), str(image)], check=True)
        assert image.read_bytes()[:SIZE] != content
    with open_image(image, image_format) as uri:
        assert servers(runtime)
        assert read(uri)[:SIZE] == content
    assert servers(runtime) == []
    assert list(runtime.iterdir()) == []


def test_a_header_in_a_raw_disk_is_data(runtime: Path, tmp_path: Path) -> None:
    image = tmp_path / "guest.raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M"], check=True)
    with image.open("ab") as file:
        file.truncate(-(-image.stat().st_size // 512) * 512)
    with open_image(image, "raw") as uri:
        assert read(uri) == image.read_bytes()


def test_several_connections_at_once(runtime: Path, raw: Path, content: bytes) -> None:
    with open_image(raw, "raw") as uri:
        handles = [nbd.NBD() for _ in range(8)]
        for handle in handles:
            handle.connect_uri(uri)
        assert all(handle.pread(512, 512 * number) == content[512 * number : 512 * number + 512]
                   for number, handle in enumerate(handles))  # fmt: skip


def test_the_server_ends_also_where_the_block_fails(runtime: Path, raw: Path) -> None:
    with pytest.raises(ValueError, match="x"), open_image(raw, "raw"):
        assert servers(runtime)
        raise ValueError("x")
    assert servers(runtime) == []
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("image_format", ["", "auto", "RAW", "luks"])
def test_an_unknown_format_is_refused(runtime: Path, raw: Path, image_format: str) -> None:
    with pytest.raises(PreconditionError) as caught, open_image(raw, image_format):
        raise AssertionError("served it")
    assert "raw, qcow2" in caught.value.why


def test_a_missing_file_is_refused(runtime: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(PreconditionError) as caught, open_image(path, "raw"):
            raise AssertionError("served it")
        assert str(path) in caught.value.what


def test_an_image_of_another_format_is_an_error_in_the_servers_words(runtime: Path, raw: Path) -> None:
    with pytest.raises(OperationFailedError) as caught, open_image(raw, "qcow2"):
        raise AssertionError("served it")
    assert "qcow2" in caught.value.why
    assert servers(runtime) == []
