"""The wave file: what is wrong is told with its line, and what is written is read as the same wave."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.services.waves import files
from migratekit_core.services.waves.model import Estimate, Limits, Machine, NetworkMap, Pass, Target, Wave, Window
from tests.coded import raises

TEXT = """\
schema: migratekit.wave/1
name: shop-1
window:
  not_before: 2026-11-28T22:00:00+01:00
must_pass:
  abort_below: 90%
limits:
  bandwidth: 400Mbit
machines:
  - name: db01
    uuid: 503e0001
  - name: web01
    uuid: 503e0002
    stage: 2
    depends_on: [db01]
"""


def wrong(text: str) -> str:
    """Return why a text is refused."""
    with pytest.raises(UsageError) as caught:
        files.loads(text)
    return caught.value.why


def test_a_file_as_an_operator_writes_it() -> None:
    wave = files.loads(TEXT)
    assert [machine.name for machine in wave.machines] == ["db01", "web01"]
    assert wave.window.not_before is not None and wave.window.not_before.utctimetuple().tm_hour == 21
    assert wave.must_pass.abort_below == 90.0 and wave.limits.bandwidth == 50_000_000
    assert wave.limits.esxi_host == 4, "what is not said is the default"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("stage: 2", "stag: 2", "line 14: machines[2].stag: unknown key; did you mean stage?"),
        ("must_pass:", "must_pas:", "line 5: must_pas: unknown key; did you mean must_pass?"),
        ("limits:\n", "limits:\n  esxi_hosts: 3\n", "line 8: limits.esxi_hosts: unknown key; did you mean esxi_host?"),
        ("name: shop-1\n", "", "line 1: name: is missing"),
        ("abort_below: 90%", "abort_below: most", "line 6: must_pass.abort_below: 'most' is no percentage; write 90%"),
        ("22:00:00+01:00", "22:00:00", "a time needs its zone"),
        ("400Mbit", "fast", "line 8: limits.bandwidth: 'fast' is no rate"),
        (
            "stage: 2",
            "stage: 1",
            "line 15: machines[2].depends_on[1]: 'db01' is in stage 1; it has to be in one before 1",
        ),
        ("[db01]", "[db02]", "line 15: machines[2].depends_on[1]: 'db02' is no machine of this wave"),
        ("503e0002", "503e0001", "line 11: machines[1].uuid: '503e0001' stands in the wave 2 times"),
        ("name: shop-1", "name: shop 1", "line 2: name: "),
        ("name: shop-1", "name: shop-1\nname: shop-2", "line 3: name: stands there twice"),
        ("wave/1", "wave/9", "line 1: schema: it is 'migratekit.wave/9', not 'migratekit.wave/1'"),
        ("stage: 2", "networks: prod", "line 14: machines[2].networks: 'prod' is none of the wave's: none"),
        ("depends_on: [db01]", "depends_on: [db01", "expected ',' or ']'"),
        ("stage: 2", "target: {zon: a}", "line 14: machines[2].target.zon: unknown key; did you mean zone?"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, told: str) -> None:
    assert old in TEXT
    assert told in wrong(TEXT.replace(old, new, 1))


def test_every_mistake_is_told() -> None:
    why = wrong(TEXT.replace("stage: 2", "stage: none").replace("90%", "900%"))
    assert "line 6" in why and "line 14" in why


@pytest.mark.parametrize("text", ["", "- a", "schema: [", "\x00", "schema: migratekit.wave/1\nmachines: {}", "&a [*a]"])
def test_what_is_no_wave_file_is_refused(text: str) -> None:
    assert wrong(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raises(UsageError, ErrorCode.FILE_UNREADABLE):
        files.load(tmp_path / "none.yaml")


names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), min_size=1, max_size=20
)
times = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC))


@st.composite
def waves(draw: st.DrawFn) -> Wave:
    """Any wave."""
    labels = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    maps = {
        name: NetworkMap(map=dict(draw(st.lists(st.tuples(names, st.one_of(names, st.just(False))), max_size=2))))
        for name in draw(st.lists(names, max_size=2, unique=True))
    }
    machines = tuple(
        Machine(
            name=label,
            uuid=f"uuid-{number}",
            stage=number + 1,
            depends_on=tuple(draw(st.lists(st.sampled_from(labels[:number]), max_size=2, unique=True)))
            if number
            else (),
            datastores=tuple(draw(st.lists(names, max_size=2))),
            data_bytes=draw(st.integers(0, 2**60)),
            networks=draw(st.sampled_from(["", *maps])),
            target=Target(zone=draw(st.none() | names)),
            group=draw(st.just("") | names),
        )
        for number, label in enumerate(labels)
    )
    first = draw(st.none() | times)
    return Wave(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        machines=machines,
        window=Window(not_before=first),
        must_pass=Pass(abort_below=draw(st.integers(0, 100))),
        limits=Limits(oma=draw(st.none() | st.integers(1, 99)), bandwidth=draw(st.none() | st.integers(65536, 2**40))),
        networks=maps,
        estimate=draw(
            st.none()
            | st.builds(
                Estimate,
                data_bytes=st.integers(0, 2**60),
                seconds=st.floats(0, 1e9),
                bytes_per_second=st.floats(0, 1e12),
                rate_from=st.sampled_from(["measured", "given"]),
                rate_basis=names,
            )
        ),
    )


@settings(max_examples=100, deadline=None)
@given(wave=waves())
def test_what_is_written_is_read_as_the_same_wave(wave: Wave) -> None:
    read = files.loads(files.dumps(wave))
    assert read == wave
    assert files.digest(read) == files.digest(wave)


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "wave.yaml"
    files.save(files.loads(TEXT), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert files.load(path) == files.loads(TEXT)
