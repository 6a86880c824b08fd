"""Any disk, any areas, any server: a copy is right byte for byte, and an incremental one touches nothing else."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.engine.job import Checkpoint, Done, Event, Job
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import KIB, MIB, Server

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "30"))
"""Each takes two servers and an engine: a quarter of a second."""
LARGEST = 3 * MIB

SOURCES = ((), ("noextents",), ("blocksize-policy", "blocksize-minimum=512", "blocksize-error-policy=error"))
TARGETS = (
    (),
    ("nozero",),
    ("nozero", "zeromode=notrim"),
    ("noextents",),
    ("noparallel",),
    ("multi-conn", "multi-conn-mode=disable"),
    ("blocksize-policy", "blocksize-minimum=4096", "blocksize-error-policy=error"),
    ("blocksize-policy", "blocksize-maximum=65536", "blocksize-error-policy=error"),
    ("nozero", "noextents", "blocksize-policy", "blocksize-minimum=4096", "blocksize-error-policy=error"),
)


@dataclass(frozen=True)
class Case:
    """One copy."""

    extents: list[tuple[str, int]]
    """(kind, length) of the source, from its beginning: data, written zeros, holes."""
    areas: list[tuple[int, int]]
    """In any order, overlapping, empty, beyond the end."""
    behind: int
    """How much larger than the disk the target is, in blocks of 4 KiB."""
    start: int
    """The checkpoint, as a share of the disk in thousandths."""
    source: tuple[str, ...]
    target: tuple[str, ...]
    structured: bool
    request_size: int
    window: int
    connections: int
    carriers: int

    @property
    def size(self) -> int:
        """Return the disk's size in bytes."""
        return sum(length for _, length in self.extents)

    @property
    def granule(self) -> int:
        """Return the block that the servers insist on."""
        found = [item.partition("=")[2] for item in self.source + self.target if item.startswith("blocksize-minimum=")]
        return max(map(int, found), default=1)

    def content(self) -> bytes:
        """Return the source's bytes."""
        rng = random.Random(self.size)
        return b"".join(rng.randbytes(length) if kind == "data" else bytes(length) for kind, length in self.extents)


def whole_sectors(case: Case) -> Case:
    """Round the disk's size up where the source insists on sectors: such a server has no half ones."""
    if not any(item.startswith("blocksize") for item in case.source):
        return case
    return replace(case, extents=[*case.extents, ("data", 512 - case.size % 512)])


LENGTHS = st.one_of(st.integers(1, 5000), st.integers(1, 600 * KIB), st.sampled_from([512, 4096, 64 * KIB, MIB]))
CASES = st.builds(
    Case,
    extents=st.lists(st.tuples(st.sampled_from(["data", "zeros", "hole"]), LENGTHS), min_size=1, max_size=8).filter(
        lambda extents: sum(length for _, length in extents) <= LARGEST
    ),
    areas=st.lists(
        st.tuples(st.integers(0, LARGEST), st.one_of(st.just(0), LENGTHS, st.just(LARGEST))), min_size=0, max_size=10
    ),
    behind=st.sampled_from([0, 1, 37]),
    start=st.sampled_from([0, 0, 0, 500, 1000]),
    source=st.sampled_from(SOURCES),
    target=st.sampled_from(TARGETS),
    structured=st.booleans(),
    request_size=st.sampled_from([4 * KIB, 64 * KIB, 96 * KIB, MIB, 32 * MIB]),
    window=st.sampled_from([64 * KIB, MIB, 16 * MIB]),
    connections=st.integers(1, 4),
    carriers=st.integers(0, 3),
).map(whole_sectors)


def server(folder: Path, name: str, image: Path, filters: tuple[str, ...], *options: str) -> Server:
    """Return an nbdkit with filters and their settings."""
    socket = folder / f"{name}.sock"
    names = [f"--filter={item}" for item in filters if "=" not in item]
    return Server(socket, "nbdkit", "-f", "-U", str(socket), *options, *names, "file", str(image),
                  *(item for item in filters if "=" in item))  # fmt: skip


@contextmanager
def disks(case: Case, content: bytes, before: bytes) -> Iterator[tuple[Path, Server, Server]]:
    """Yield the target's image and both servers."""
    options = [] if case.structured else ["--no-sr"]
    with tempfile.TemporaryDirectory(prefix="mk-") as name:
        folder = Path(name)
        source, target = folder / "source.img", folder / "target.img"
        with source.open("wb") as file:
            file.truncate(case.size)
            for kind, offset, length in _placed(case.extents):
                file.seek(offset)
                if kind != "hole":
                    file.write(content[offset : offset + length])
        target.write_bytes(before)
        with (
            server(folder, "source", source, case.source, "-r", *options) as here,
            server(folder, "target", target, case.target, *options) as there,
        ):
            yield target, here, there


def _placed(extents: list[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    position = 0
    for kind, length in extents:
        yield kind, position, length
        position += length


def touched(case: Case, start: int) -> list[tuple[int, int]]:
    """Return what an incremental copy may touch: the areas in whole blocks, in order, from `start` on."""
    end = -(-case.size // case.granule) * case.granule
    mask = bytearray(end)
    for offset, length in case.areas:
        low = max(offset // case.granule * case.granule, start)
        high = min(-(-(offset + length) // case.granule) * case.granule, end)
        if length and low < high:
            mask[low:high] = b"x" * (high - low)
    return [found.span() for found in re.finditer(b"x+", mask)]


def room(case: Case) -> int:
    """Return the target's size: whole blocks of 4 KiB."""
    return (-(-case.size // 4096) + case.behind) * 4096


def run(case: Case, here: Server, there: Server, full: bool, start: int) -> tuple[Done, list[Event]]:
    events: list[Event] = []
    job = Job("a disk", here.uri, there.uri, case.size, full, start=start, connections=case.connections,
              request_size=case.request_size, window=case.window, carriers=case.carriers)  # fmt: skip
    return copy(job, case.areas, events.append, Engines()), events


def begin(case: Case) -> int:
    """Return the checkpoint in bytes: a multiple of the block, as every checkpoint is."""
    return case.size * case.start // 1000 // 4096 * 4096


CASE = Case([("data", 9000), ("hole", 70000), ("zeros", 130000), ("data", 1)], [(200000, 10**6), (0, 9000), (8000, 2)],
            37, 0, (), (), True, 64 * KIB, MIB, 2, 2)  # fmt: skip
BOUNDED = settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@BOUNDED
@given(CASES)
@example(CASE)
def test_a_full_copy_is_the_disk_and_zeros_behind_it(case: Case) -> None:
    # What change tracking does not name reads as zeros.
    content = bytearray(case.size)
    whole = case.content()
    for offset, length in case.areas:
        content[offset : offset + length] = whole[offset : offset + length]
    start, before = begin(case), random.Random(5).randbytes(room(case))
    with disks(case, bytes(content), before) as (image, here, there):
        _, events = run(case, here, there, True, start)
        found = image.read_bytes()
    # What is below the checkpoint stays.
    same_bytes(found[: case.size], before[:start] + content[start:])
    assert not any(found[max(case.size, start) :])
    positions = [event.position for event in events if isinstance(event, Checkpoint)]
    assert positions == sorted(positions)
    assert positions[-1] >= case.size


@BOUNDED
@given(CASES)
@example(CASE)
def test_an_incremental_copy_is_the_areas_and_nothing_else(case: Case) -> None:
    content, start = case.content(), begin(case)
    before = random.Random(5).randbytes(room(case))
    areas = touched(case, start)
    expected = bytearray(before)
    padded = content + bytes(room(case) - case.size)
    for low, high in areas:
        expected[low:high] = padded[low:high]
    with disks(case, content, before) as (image, here, there):
        done, _ = run(case, here, there, False, start)
        found = image.read_bytes()
    same_bytes(found, bytes(expected))
    total = sum(high - low for low, high in areas)
    assert done.total == total
    assert done.written + done.zeroed == total, "nothing is sent that was not asked for"


@settings(max_examples=8)
@given(CASES, st.booleans(), st.sampled_from(["read-only", "too small"]))
def test_a_target_that_does_not_do_is_refused_untouched(case: Case, full: bool, fault: str) -> None:
    small = fault == "too small"
    before = random.Random(5).randbytes(max(case.size - 1, 0) // 4096 * 4096 if small else room(case))
    with disks(case, case.content(), before) as (image, here, there):
        if not small:
            there.kill()
            there = server(image.parent, "read-only", image, case.target, "-r")
            there.start()
        try:
            with pytest.raises(OperationFailedError if small else PreconditionError, match=fault):
                run(case, here, there, full, 0)
        finally:
            there.kill()
        same_bytes(image.read_bytes(), before)


def same_bytes(found: bytes, wanted: bytes) -> None:
    """Check that two disks are the same, and say where they are not."""
    # Not `==` in the assert itself: pytest would explain the difference of megabytes.
    if found != wanted:
        at = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), -1)
        raise AssertionError(f"{len(found)} and {len(wanted)} bytes, different from byte {at} on")
