"""The fleet's parts that need no other process: places, order, phases, shares, certificates."""

from __future__ import annotations

import pickle
import ssl
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine

from migratekit_core.adapters.tunnel import pki
from migratekit_core.adapters.tunnel.certificates import fleet_role
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, BusyError, PreconditionError
from migratekit_core.common.units import MIB, SLOWEST
from migratekit_core.config.fleet import Fleet
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases, open_engine
from migratekit_core.db.migrate import upgrade_both
from migratekit_core.db.wavestates import (
    CUT_OVER,
    CUTOVER,
    FAILED,
    REHEARSE,
    REHEARSED,
    REPLICATE,
    REPLICATED,
    ROLLBACK,
    ROLLED_BACK,
    RUNNING,
    WAITING,
)
from migratekit_core.services.fleet import grants, phases, runs
from migratekit_core.services.fleet.child import Work
from migratekit_core.services.fleet.phases import ABORT, CUT, DONE, GATE, RUN, Course, turn
from migratekit_core.services.fleet.process import MachineProcess
from migratekit_core.services.fleet.runs import Asked
from migratekit_core.services.fleet.waiting import Waiting
from migratekit_core.services.waves import store
from migratekit_core.services.waves.look import MachineState, Snapshot
from migratekit_core.services.waves.model import Limits, Machine, Wave
from migratekit_core.services.waves.places import KINDS, Places, needs
from migratekit_core.services.waves.store import Stored
from tests.coded import raises

NOW = datetime(2026, 11, 24)
NO_LIMITS = Limits(esxi_host=None, datastore=None, vcenter=None, oma=None, oma_disks=None)


def machine(number: int, **more: Any) -> Machine:
    return Machine(name=f"vm{number}", uuid=f"uuid-{number}", host=f"esx{number % 2}", datastores=("b", "a"), **more)


# Places


def test_places_are_taken_in_one_order() -> None:
    found = [need.name for need in needs(machine(1, vcenter="vc"), Limits(), REPLICATE)]
    assert found == [
        "vcenter:vc",
        "oma:default",
        "oma-disks:default",
        "host:vc/esx1",
        "datastore:vc/a",
        "datastore:vc/b",
    ]
    assert [name.partition(":")[0] for name in found] == sorted(
        (name.partition(":")[0] for name in found), key=KINDS.index
    )


def test_what_reads_no_disk_takes_no_host() -> None:
    assert [need.name for need in needs(machine(1), Limits(), REHEARSE)] == ["vcenter:default", "oma:default"]
    assert needs(machine(1), NO_LIMITS, REPLICATE) == ()


def test_a_machine_takes_as_many_places_of_its_oma_as_it_has_disks() -> None:
    for disks, taken in ((0, 1), (1, 1), (5, 5), (32, 32), (40, 32)):
        found = {need.name: need.number for need in needs(machine(1, disks=disks), Limits(), REPLICATE)}
        assert found.pop("oma-disks:default") == taken
        assert set(found.values()) == {1}


Where = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1), st.integers(1, 7))


@given(st.lists(Where, min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 6), st.integers(3, 9))
def test_machines_begin_in_order_past_those_whose_places_are_taken(
    where: list[tuple[int, int, int, int]], most: int, slots: int, disks: int
) -> None:
    wave = [placed(number, *each) for number, each in enumerate(where)]
    limits = Limits(esxi_host=most, datastore=most, vcenter=most + 1, oma=None, oma_disks=disks)
    room = {"vcenter": most + 1, "oma-disks": disks}
    wanted = {each.uuid: needs(each, limits, REPLICATE) for each in wave}
    waiting, places = Waiting(wanted), Places()
    waiting.add(wanted)
    running: list[str] = []
    begun: list[str] = []
    while waiting or running:
        while len(running) < slots and (found := waiting.take(places)) is not None:
            vm, need = found
            # Nobody who could have begun waits before it.
            earlier = [vm_ for vm_ in wanted if vm_ in waiting and list(wanted).index(vm_) < list(wanted).index(vm)]
            assert all(not places.room(wanted[vm_]) for vm_ in earlier)
            places.take(need)
            assert all(number <= room.get(name.partition(":")[0], most) for name, number in places.taken().items())
            running.append(vm)
            begun.append(vm)
        ended = wanted[running.pop(0)]
        places.give(ended)
        waiting.freed(ended)
    assert sorted(begun) == sorted(wanted)


def placed(number: int, host: int, store: int, vcenter: int, disks: int) -> Machine:
    where = {"host": f"esx{host}", "datastores": (f"store{store}",), "vcenter": f"vc{vcenter}"}
    return replace(machine(number), **where, disks=disks)


# Phases


def seen(*states: str, task: str = REPLICATE, cancelled: bool = False, paused: bool = False) -> Snapshot:
    wave = Stored("id", "w", "d", RUNNING, task, paused, cancelled, "ann@host" if cancelled else None, NOW, NOW, None)
    return Snapshot(
        wave, NOW,
        tuple(
            MachineState(f"uuid-{number}", f"vm{number}", number, 1, "", "", "", "", state, WAITING, task, 1, None,
                         None, False, None, 0, 0, 0, None, {}, None, None)
            for number, state in enumerate(states)
        ),
    )  # fmt: skip


def course(phase: str, kind: str = CUT, gate: bool = False, below: float = 90.0) -> Course:
    return Course(kind, phase, True, gate, below)


@pytest.mark.parametrize(
    ("before", "states", "waiting", "after", "failed"),
    [
        (course(REPLICATE, RUN), (WAITING, REPLICATED), True, REPLICATE, False),
        (course(REPLICATE, RUN), (RUNNING, REPLICATED), False, REPLICATE, False),
        (course(REPLICATE, RUN), (REPLICATED, REPLICATED), False, DONE, False),
        (course(REPLICATE, RUN), (FAILED, REPLICATED), False, DONE, True),
        (course(REHEARSE), (REHEARSED, REHEARSED), False, GATE, False),
        (course(REHEARSE, gate=True), (REHEARSED, REHEARSED), False, CUTOVER, False),
        (course(REHEARSE, gate=True), (REHEARSED, FAILED), False, DONE, True),
        (course(REHEARSE, gate=True, below=50), (REHEARSED, FAILED), False, CUTOVER, False),
        (course(GATE), (REHEARSED,), False, GATE, False),
        (course(GATE, gate=True), (REHEARSED,), False, CUTOVER, False),
        (course(CUTOVER), (CUT_OVER, CUT_OVER), False, DONE, False),
        # Nothing is begun any more, while others are still under way; then all of it comes back.
        (course(CUTOVER), (CUT_OVER, FAILED, RUNNING), True, ABORT, False),
        (course(ABORT), (CUT_OVER, FAILED, RUNNING), False, ABORT, False),
        (course(ABORT), (CUT_OVER, FAILED, CUT_OVER), False, ROLLBACK, True),
        (course(ROLLBACK), (CUT_OVER, ROLLED_BACK), True, ROLLBACK, False),
        (course(ROLLBACK), (ROLLED_BACK, ROLLED_BACK), False, DONE, True),
    ],
)
def test_phases(before: Course, states: tuple[str, ...], waiting: bool, after: str, failed: bool) -> None:
    found = turn(before, seen(*states, task=before.phase), waiting)
    assert (found.phase, found.failed) == (after, failed)


def test_a_cancelled_run_ends_when_nothing_runs_but_a_rollback_goes_on() -> None:
    assert turn(course(REPLICATE, RUN), seen(RUNNING, cancelled=True), False).phase == REPLICATE
    ended = turn(course(REPLICATE, RUN), seen(REPLICATED, cancelled=True), False)
    assert (ended.phase, ended.failed, ended.note) == (DONE, True, "cancelled by ann@host")
    assert turn(course(ROLLBACK), seen(CUT_OVER, cancelled=True), True).phase == ROLLBACK


def test_a_paused_run_waits() -> None:
    found = turn(course(REPLICATE, RUN), seen(WAITING, paused=True), False)
    assert (found.phase, found.note) == (REPLICATE, "paused")


def test_exactly_the_threshold_is_enough() -> None:
    nine = [CUT_OVER] * 9 + [FAILED]
    assert turn(course(CUTOVER), seen(*nine), False).phase == DONE
    assert turn(course(CUTOVER), seen(*nine[1:], FAILED), False).phase == ABORT


# Runs and shares, in a database


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    database = Database(directory=tmp_path)
    upgrade_both(open_databases(database))
    made = open_engine(database, "oma")
    store.create(made, Wave(name="w", machines=(machine(1), machine(2))))
    return made


def test_a_run_is_joined_and_another_kind_is_refused(engine: Engine) -> None:
    first = runs.ask(engine, "w", Asked(RUN))
    assert (first.course.phase, first.over) == (REPLICATE, False)
    runs.note(engine, "w", "host:1", REPLICATE, "copying")
    assert runs.ask(engine, "w", Asked(RUN)).note == "copying"
    with raises(BusyError, ErrorCode.WAVE_BUSY):
        runs.ask(engine, "w", Asked(CUT))
    runs.note(engine, "w", "host:1", DONE, "", failed=True)
    assert runs.open_runs(engine) == ()
    again = runs.ask(engine, "w", Asked(CUT, abort_below=90.0))
    assert (again.course.phase, again.failed, again.note) == (REHEARSE, False, "")
    with raises(PreconditionError, ErrorCode.WAVE_NOT_READY):
        runs.open_gate(engine, "w")
    runs.note(engine, "w", "host:1", GATE, str(phases.gate("w")))
    runs.open_gate(engine, "w")
    found = runs.of(engine, "w")
    assert found is not None
    assert found.course.gate_open


def test_the_sum_of_the_shares_never_exceeds_the_total(engine: Engine) -> None:
    """Machines come and go, and each holds to what it confirmed, not to what it was told."""
    grants.prepare(engine)
    total, holding = 30 * MIB, dict[str, int]()
    for moment in range(60):
        if moment % 7 == 0 and len(holding) < 6:
            holding[f"token-{moment}"] = 0
        if moment in (20, 40):
            gone = next(iter(holding))
            del holding[gone]
            grants.leave(engine, gone)
        for token, had in list(holding.items()):
            told = grants.settle(engine, token, total, 60.0, had, had)
            assert sum(holding.values()) - had + max(told, had) <= total
            holding[token] = told
    # In the end all have about the same.
    assert all(total / len(holding) * 0.9 <= rate <= total / len(holding) * 1.1 for rate in holding.values()), holding


def test_who_cannot_use_its_share_leaves_it(engine: Engine) -> None:
    grants.prepare(engine)
    total, slow, quick = 20 * MIB, 0, 0
    for _ in range(12):
        slow = grants.settle(engine, "slow", total, 60.0, slow, min(slow, MIB))
        quick = grants.settle(engine, "quick", total, 60.0, quick, quick)
    assert slow < 6 * MIB
    assert quick > 13 * MIB
    assert slow + quick <= total


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3),
                       st.tuples(st.integers(0, 1 << 30), st.integers(0, 1 << 30)), min_size=1, max_size=12),
       st.integers(16 * SLOWEST, 1 << 30))  # fmt: skip
def test_fair_shares_add_up_to_no_more_than_the_total(held: dict[str, tuple[int, int]], total: int) -> None:
    assert sum(grants.fair(total, held).values()) <= total + len(held)


# Certificates, and what is configured


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "pki"
    pki.init(folder)
    for role in ("scheduler", "worker", "client"):
        pki.issue(folder, role, server=False, names=[], fleet=role)
    return folder


def settings(folder: Path, name: str) -> Fleet:
    return Fleet(scheduler="127.0.0.1:1", ca_file=folder / "ca.pem", cert_file=folder / f"{name}.pem")


def test_a_certificate_of_the_fleet_keeps_its_part_when_it_is_rotated(certificates: Path) -> None:
    pki.rotate(certificates, "worker")
    _, issued = pki.show(certificates)
    assert [one.fleet for one in issued if one.name == "worker"] == ["worker", "worker"]
    assert [one.fleet for one in issued if one.name in ("oma", "vma")] == ["", ""]
    assert fleet_role(["a", "migratekit-fleet-client"]) == "client"


@pytest.mark.parametrize(
    ("name", "part", "taken"),
    [
        ("worker", "worker", True), ("scheduler", "scheduler", True), ("client", "client", True),
        ("scheduler", "client", True), ("client", "worker", False), ("worker", "scheduler", False),
        ("vma", "worker", False),
    ],
)  # fmt: skip
def test_each_part_needs_its_own_certificate(certificates: Path, name: str, part: str, taken: bool) -> None:
    from migratekit_core.services.fleet import tls

    if taken:
        tls.security(settings(certificates, name), part)
        return
    with raises(AuthError, ErrorCode.CERTIFICATE_UNFIT):
        tls.security(settings(certificates, name), part)


@pytest.mark.parametrize(
    ("caller", "callee", "let_in"),
    [
        ("worker", "scheduler", True), ("client", "scheduler", True), ("scheduler", "worker", True),
        ("worker", "worker", False), ("client", "worker", False), ("vma", "scheduler", False), ("vma", "worker", False),
    ],
)  # fmt: skip
def test_who_answers_whom(certificates: Path, caller: str, callee: str, let_in: bool) -> None:
    from migratekit_core.services.fleet import tls

    listening = tls.context(settings(certificates, callee), tls.CALLED_BY[callee], listening=True)
    calls = tls.CALLS.get(caller, ("scheduler", "worker"))
    calling = tls.context(settings(certificates, caller), calls)
    assert handshake(calling, listening) == let_in


def handshake(calling: ssl.SSLContext, listening: ssl.SSLContext) -> bool:
    """Return whether a byte gets through."""
    import socket
    import threading

    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.settimeout(10)

    def answer() -> None:
        try:
            with listening.wrap_socket(theirs, server_side=True) as line:
                line.sendall(b"x")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with calling.wrap_socket(ours, server_hostname="fleet") as line:
            return line.recv(1) == b"x"
    except OSError:
        return False
    finally:
        ours.close()
        thread.join(10)


def test_what_opens_the_fleet_cannot_be_sent(certificates: Path) -> None:
    from migratekit_core.services.fleet import tls

    with pytest.raises(TypeError):
        pickle.dumps(tls.security(settings(certificates, "worker"), "worker"))


def test_a_scheduler_without_certificates_is_an_error() -> None:
    with pytest.raises(ValidationError, match="also needs: ca_file, cert_file"):
        Fleet(scheduler="vma1:8786")
    with pytest.raises(ValidationError, match="HOST:PORT"):
        Fleet(listen="8786")
    with pytest.raises(ValidationError, match="too short"):
        Fleet(lease=1.0)


@pytest.mark.parametrize("since", [0.0, 60.0])
def test_a_process_that_was_slow_to_start_counts_from_its_workers_last_sign(since: float) -> None:
    """A lease runs from then, too: with one that is over by the time that it has started, nothing is begun."""
    machine = Machine(name="a", uuid="u", moref="vm-1", path="/dc/vm/a", host="esx1", datastores=(), disks=1)
    silence = 30.0
    work = Work(REPLICATE, machine, {}, False, None, silence, time.monotonic() - since)
    running = MachineProcess(work, ["--config", "/does/not/exist"])
    try:
        assert running.wait(silence)
        assert (running.last_words() == "killed by signal 9") == (since > silence), running.last_words()
        assert (running.news.error is None) == (since > silence)
    finally:
        running.kill()


def test_a_task_carries_names_only() -> None:
    """What is sent to a worker, as Dask sends it."""
    from distributed.protocol import dumps

    from migratekit_core.services.fleet.work import work

    sent = pickle.dumps((work, ("wave-1", "uuid-1", REPLICATE, "1.0", None)))
    assert b"uuid-1" in sent
    assert len(sent) < 200
    assert dumps is not None


def test_a_gate_that_was_opened_is_none_any_more() -> None:
    assert phases.waits_for_a_yes(Course(phases.CUT, GATE, rehearse=True, gate_open=False, abort_below=100))
    assert not phases.waits_for_a_yes(Course(phases.CUT, GATE, rehearse=True, gate_open=True, abort_below=100))
    assert not phases.waits_for_a_yes(
        Course(phases.CUT, phases.CUTOVER, rehearse=True, gate_open=False, abort_below=100)
    )
