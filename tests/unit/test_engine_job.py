"""What goes into an engine and what comes out is the same on both sides of the pipe."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.engine.job import (
    Checkpoint,
    Done,
    Event,
    Failure,
    Job,
    Progress,
    decode,
    encode,
    read_job,
    write_job,
)

COUNTS = st.integers(0, 2**63)
FIGURES = st.floats(0, 1e15)
JOBS = st.builds(
    Job,
    disk=st.text(),
    source=st.text(),
    target=st.text(),
    size=COUNTS,
    full=st.booleans(),
    start=COUNTS,
    connections=st.integers(1, 64),
    request_size=COUNTS,
    window=COUNTS,
    rate=st.none() | COUNTS,
)
EVENTS = st.one_of(
    st.builds(
        Progress, done=COUNTS, total=COUNTS, read=COUNTS, written=COUNTS, zeroed=COUNTS, rate=FIGURES, retries=COUNTS,
        event=st.just("progress"),
    ),
    st.builds(Checkpoint, position=COUNTS, event=st.just("checkpoint")),
    st.builds(
        Done, total=COUNTS, read=COUNTS, written=COUNTS, zeroed=COUNTS, seconds=FIGURES, retries=COUNTS,
        event=st.just("done"),
    ),
    st.builds(Failure, what=st.text(), why=st.text(), todo=st.text(), exit_code=st.integers(1, 8),
              event=st.just("error")),
)  # fmt: skip


class Kept(io.StringIO):
    """A stream whose text outlives its end."""

    text = ""

    def close(self) -> None:
        self.text = self.getvalue()
        super().close()


@given(JOBS, st.lists(st.tuples(COUNTS, COUNTS), max_size=30))
def test_a_job_and_its_areas_come_through(job: Job, areas: list[tuple[int, int]]) -> None:
    stream = Kept()
    write_job(stream, job, areas)
    assert stream.closed
    received, stretches = read_job(io.StringIO(stream.text))
    assert received == job
    assert list(stretches) == areas


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_no_area_is_lost_between_lines(count: int) -> None:
    areas = [(number * 10, 5) for number in range(count)]
    stream = Kept()
    write_job(stream, Job("d", "s", "t", 1, True), iter(areas))
    assert list(read_job(io.StringIO(stream.text))[1]) == areas
    assert all(len(line) < 50_000 for line in stream.text.splitlines())


def test_areas_are_written_as_they_come() -> None:
    stream = Kept()
    seen = []

    def areas() -> Iterator[tuple[int, int]]:
        for number in range(5000):
            seen.append(stream.getvalue().count("\n"))
            yield number, 1

    write_job(stream, Job("d", "s", "t", 1, True), areas())
    # While the last areas are asked for, the first ones have long been sent.
    assert seen[-1] >= 4


def test_areas_are_read_as_they_are_used() -> None:
    def lines() -> Iterator[str]:
        yield json.dumps([[0, 1]]) + "\n"
        raise AssertionError("read ahead")

    class Stream:
        def __iter__(self) -> Iterator[str]:
            return lines()

        def readline(self) -> str:
            return json.dumps({"disk": "d", "source": "s", "target": "t", "size": 1, "full": True}) + "\n"

    _, areas = read_job(Stream())  # type: ignore[arg-type]
    assert next(areas) == (0, 1)


@given(EVENTS)
def test_an_event_comes_through_on_one_line(event: Event) -> None:
    line = encode(event)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert decode(line) == event
