"""A guest's files are made by whoever has the guest: what is meant ill is refused, with the reason, in bounded time and
memory, by a process that has nothing to tell."""

from __future__ import annotations

import gzip
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from migratekit_core.common.units import MIB
from migratekit_core.services.guests import initramfs, reading
from migratekit_core.services.guests.initramfs import MOST_INFLATED, UnreadableError

CHUNK = bytes(16 * MIB)


def bomb(folder: Path) -> Path:
    """A few KB that inflate to a megabyte, which inflates to more than a gigabyte of zeros."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first, again = (packer.compress(CHUNK) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    data = gzip.compress(first + again * (MOST_INFLATED // len(CHUNK)))
    assert len(data) < 300_000
    return _file(folder, data)


def nested(folder: Path) -> Path:
    data = b"070701" + b"0" * 104
    for _ in range(40):
        data = gzip.compress(data)
    return _file(folder, data)


def zstd_bomb(folder: Path) -> Path:
    file = folder / "initrd.img"
    with file.open("wb") as out:
        packer = subprocess.Popen(["zstd", "-q", "-1", "-c"], stdin=subprocess.PIPE, stdout=out)
        assert packer.stdin is not None
        for _ in range(MOST_INFLATED // len(CHUNK) + 1):
            packer.stdin.write(CHUNK)
        packer.stdin.close()
        assert packer.wait() == 0
    assert file.stat().st_size < MIB
    return file


def header(**fields: int) -> bytes:
    values = [
        fields.get(name, 0) for name in ("ino", "mode", "uid", "gid", "links", "time", "size", "a", "b", "c", "d")
    ]
    return b"070701" + b"".join(b"%08X" % value for value in [*values, fields.get("name", 1), 0])


def beyond(folder: Path) -> Path:
    """An archive whose first file is larger than all there is, by name and by content."""
    return _file(folder, header(size=0xFFFFFFFF, name=0xFFFFFFFF) + b"x")


def no_number(folder: Path) -> Path:
    return _file(folder, b"070701" + b"zz" * 52 + b"x")


def link_out(folder: Path) -> Path:
    (folder / "secret").write_text("CONFIG_VIRTIO_BLK=y\n")
    file = folder / "initrd.img"
    file.symlink_to(folder / "secret")
    return file


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "initrd.img")
    return folder / "initrd.img"


def huge(folder: Path) -> Path:
    file = folder / "initrd.img"
    file.touch()
    os.truncate(file, 1 << 40)
    return file


def endless(folder: Path) -> Path:
    """Archives of nothing, one after the other, without an end."""
    return _file(folder, header(name=2) * 1000)


def _file(folder: Path, data: bytes) -> Path:
    file = folder / "initrd.img"
    file.write_bytes(data)
    return file


CASES: dict[Callable[[Path], Path], str] = {
    bomb: "inflates",
    zstd_bomb: "inflates",
    nested: "nested",
    beyond: "no end",
    no_number: "sense",
    link_out: "",
    pipe: "plain file",
    huge: "more than",
    endless: "no end",
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_it_is_refused_with_the_reason(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(UnreadableError) as caught:
        reading.read("initramfs", make(tmp_path))
    assert str(caught.value)
    assert CASES[make] in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_limits_are_the_process_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reader does wrong: it ends, and that is the reason."""
    file = _file(tmp_path, b"x")
    for code, reason in (
        ("bytearray(8 << 30)", "memory"),
        (
            "(_ for _ in iter(int, 1)).__next__() if __import__('os').kill(__import__('os').getpid(), 24) else 0",
            "processor",
        ),
        (f"__import__('os').write(__import__('os').open({str(tmp_path / 'out')!r}, 65), b'x')", "ended"),
        ("__import__('os').abort()", "ended"),
    ):
        program = (
            "from migratekit_core.services.guests import reading\n"
            f"reading.KINDS['test'] = lambda data: {code}\n"
            "import sys; sys.exit(reading.main(*sys.argv[1:3]))"
        )
        script = tmp_path / "reader.py"
        script.write_text(program)
        real = subprocess.Popen

        def popen(command: list[str], script: Path = script, real: type = real, **options: object) -> object:
            return real([command[0], str(script), *command[-2:]], **options)

        monkeypatch.setattr(reading.subprocess, "Popen", popen)
        with pytest.raises(UnreadableError, match=reason):
            reading.read("test", file)
        monkeypatch.undo()


def test_it_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATEKIT_VCENTER__PASSWORD", "of-this-test")
    given: dict[str, object] = {}
    real = subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        given.update(options)
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(reading.subprocess, "Popen", popen)
    assert reading.read("config", _file(tmp_path, b"CONFIG_VIRTIO_BLK=y\n")) is True
    assert set(given["env"]) == {"PATH", "LANG"}  # type: ignore[call-overload]


def test_what_is_right_is_read(tmp_path: Path) -> None:
    assert reading.read("config", _file(tmp_path, b"CONFIG_VIRTIO_BLK=m\n")) is False
    assert MOST_INFLATED > 500 * MIB
    assert initramfs.MOST_DEPTH > 1
