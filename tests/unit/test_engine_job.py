"""What goes into an engine and what comes out is the same on both sides of the pipe."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.engine.control import Control
from migratekit_core.engine.job import (
    Checkpoint,
    Done,
    Event,
    Failure,
    Job,
    Progress,
    decode,
    encode,
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
    patience=st.none() | FIGURES,
)
EVENTS = st.one_of(
    st.builds(
        Progress, done=COUNTS, total=COUNTS, read=COUNTS, written=COUNTS, zeroed=COUNTS, rate=FIGURES,
        window=COUNTS, connections=COUNTS, retries=COUNTS,
        event=st.just("progress"),
    ),
    st.builds(Checkpoint, position=COUNTS, event=st.just("checkpoint")),
    st.builds(
        Done, total=COUNTS, read=COUNTS, written=COUNTS, zeroed=COUNTS, seconds=FIGURES, retries=COUNTS,
        event=st.just("done"),
    ),
    st.builds(
        Failure,
        error=st.fixed_dictionaries(
            {"what": st.text(), "why": st.text(), "todo": st.text(), "exit_code": st.integers(1, 8)}
        ),
        event=st.just("error"),
    ),
)  # fmt: skip


def received(text: str) -> tuple[Job, list[tuple[int, int]], Control]:
    """Return what an engine reads from a standard input of `text`."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        file.seek(0)
        control = Control(file.fileno())
        job, areas = control.job()
        return job, list(areas), control


def sent(job: Job, areas: Iterable[tuple[int, int]]) -> str:
    stream = io.StringIO()
    write_job(stream, job, areas)
    return stream.getvalue()


SMALL = Job("d", "s", "t", 1, True)


@given(JOBS, st.lists(st.tuples(COUNTS, COUNTS), max_size=30))
def test_a_job_and_its_areas_come_through(job: Job, areas: list[tuple[int, int]]) -> None:
    assert received(sent(job, areas))[:2] == (job, areas)


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 25000])
def test_no_area_is_lost_between_lines(count: int) -> None:
    areas = [(number * 10, 5) for number in range(count)]
    text = sent(SMALL, iter(areas))
    assert received(text)[1] == areas
    assert all(len(line) < 50_000 for line in text.splitlines())


def test_areas_are_written_as_they_come() -> None:
    stream = io.StringIO()
    seen = []

    def areas() -> Iterator[tuple[int, int]]:
        for number in range(5000):
            seen.append(stream.getvalue().count("\n"))
            yield number, 1

    write_job(stream, SMALL, areas())
    # While the last areas are asked for, the first ones have long been sent.
    assert seen[-1] >= 4


def test_areas_are_read_before_the_last_one_is_written() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as incoming, os.fdopen(writer, "w") as outgoing:
        outgoing.write(sent(SMALL, []).removesuffix("null\n") + "[[0, 1]]\n")
        outgoing.flush()
        _, areas = Control(incoming.fileno()).job()
        assert next(areas) == (0, 1)


def test_an_input_that_ends_within_the_areas_is_no_shorter_job() -> None:
    text = sent(SMALL, [(0, 1), (5, 1)])
    with pytest.raises(EOFError):
        received(text.removesuffix("null\n"))
    with pytest.raises(EOFError):
        received(text[: text.index("\n") // 2])


def test_commands_come_after_the_areas_and_the_end_is_noticed() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as incoming, os.fdopen(writer, "w") as outgoing:
        outgoing.write(sent(SMALL, [(0, 1)]) + json.dumps({"rate": 5}) + "\n")
        outgoing.flush()
        control = Control(incoming.fileno())
        assert list(control.job()[1]) == [(0, 1)]
        assert list(control.commands()) == [{"rate": 5}]
        assert list(control.commands()) == []
        outgoing.write('{"ra')
        outgoing.flush()
        assert list(control.commands()) == []
        outgoing.write('te": null}\n')
        outgoing.flush()
        assert list(control.commands()) == [{"rate": None}]
        assert not control.gone
        outgoing.close()
        assert list(control.commands()) == []
        assert control.gone


@given(EVENTS)
def test_an_event_comes_through_on_one_line(event: Event) -> None:
    line = encode(event)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert decode(line) == event
