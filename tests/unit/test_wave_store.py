"""Waves in the database (SQLite here; many workers on MariaDB: tests/integration/test_wave_claims.py)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, OperationFailedError, PreconditionError
from migratekit_core.db.engine import Databases
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.wavestates import CUTOVER, REHEARSE, REPLICATE, ROLLBACK
from migratekit_core.joblog.prune import prune
from migratekit_core.services.waves import asks, claims, look, store
from migratekit_core.services.waves.model import Machine, Wave
from migratekit_core.services.waves.view import overview
from tests.coded import raises
from tests.unit.sample_wave import lose

WAVE = Wave(
    name="shop",
    machines=(
        Machine(name="db01", uuid="u-db"),
        Machine(name="web01", uuid="u-web", stage=2, depends_on=("db01",)),
        Machine(name="web02", uuid="u-web2", stage=2, depends_on=("db01",)),
    ),
)
ALL = [machine.uuid for machine in WAVE.machines]


@pytest.fixture
def engine(databases: Databases) -> Engine:
    """Return an OMA database of this test's own, with the wave."""
    store.create(databases.oma, WAVE)
    return databases.oma


def states(engine: Engine) -> dict[str, str]:
    """Return the machines' states by name."""
    return {each.name: each.state for each in look.snapshot(engine, "shop").machines}


def ready(engine: Engine, task: str, again: bool = False) -> tuple[str, ...]:
    """Return who may be begun."""
    return look.ready(look.snapshot(engine, "shop"), WAVE, task, again=again)


def does(engine: Engine, task: str, *vms: str) -> None:
    """Do a task with machines."""
    for vm in vms:
        held = claims.claim(engine, "shop", vm, task, "w1")
        assert held is not None
        claims.finish(engine, held, result={task: True})


def fails(engine: Engine, task: str, vm: str) -> None:
    """Have a task fail."""
    held = claims.claim(engine, "shop", vm, task, "w1")
    assert held is not None
    claims.fail(
        engine, held, OperationFailedError("the copy failed", "the link broke", "run it again", code=ErrorCode.UNKNOWN)
    )


def test_the_same_wave_is_stored_once(engine: Engine) -> None:
    assert store.create(engine, WAVE) == store.find(engine, "shop")[0]
    assert store.find(engine, "shop")[1] == WAVE
    other = replace(WAVE, description="changed")
    with raises(PreconditionError, ErrorCode.WAVE_CHANGED):
        store.create(engine, other)
    assert (
        store.create(engine, other, replace=True).digest
        != store.create(engine, replace(WAVE, name="b", machines=(Machine(name="x", uuid="x"),))).digest
    )
    does(engine, REPLICATE, "u-db")
    with raises(PreconditionError, ErrorCode.WAVE_CHANGED):
        store.create(engine, WAVE, replace=True)


def test_a_machine_is_in_one_open_wave(engine: Engine) -> None:
    second = replace(WAVE, name="second")
    with raises(PreconditionError, ErrorCode.WAVE_SHARED):
        store.create(engine, second)
    asks.cancel(engine, "shop")
    store.create(engine, second)


def test_a_machine_has_one_worker(engine: Engine) -> None:
    held = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
    assert held is not None and (held.attempt, held.came_from) == (1, "waiting")
    assert claims.claim(engine, "shop", "u-db", REPLICATE, "w2") is None
    orders = claims.heartbeat(engine, held, done=5, total=10, rate=2, job_id="j")
    assert orders == claims.Orders(paused=False, cancel=False)
    claims.finish(engine, held, done=10)
    claims.finish(engine, held, done=10)  # the answer to the first commit may have been lost
    assert claims.claim(engine, "shop", "u-db", REPLICATE, "w2") is None, "who comes late does not do it again"
    assert claims.claim(engine, "shop", "u-db", REPLICATE, "w2", again=0) is None
    assert claims.claim(engine, "shop", "u-db", REPLICATE, "w2", again=1) is not None


def test_who_was_late_reports_nothing(engine: Engine) -> None:
    late = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
    assert late is not None
    assert claims.release_stale(engine, 60) == ()
    [released] = claims.release_stale(engine, -1)
    assert (released.vm_name, released.worker, released.attempts) == ("db01", "w1", 1)
    assert states(engine)["db01"] == "waiting"
    held = claims.claim(engine, "shop", "u-db", REPLICATE, "w2")
    assert held is not None and held.attempt == 2
    for report in (claims.heartbeat, claims.finish, claims.give_back, claims.cancelled):
        with pytest.raises(claims.LostClaimError):
            report(engine, late)
    claims.finish(engine, held)
    outcomes = [(each.worker, each.outcome) for each in look.attempts(engine, "shop")]
    assert outcomes == [("w1", "lost"), ("w2", "done")]


def test_a_dead_workers_machines_are_taken_back_at_once(engine: Engine) -> None:
    for vm, worker in (("u-db", "w1"), ("u-web", "w1"), ("u-web2", "w2")):
        assert claims.claim(engine, "shop", vm, REPLICATE, worker)
    assert {each.vm_name for each in lose(engine, "w1")} == {"db01", "web01"}
    assert states(engine) == {"db01": "waiting", "web01": "waiting", "web02": "running"}


def test_cut_over_goes_by_stages_and_back_against_them(engine: Engine) -> None:
    assert ready(engine, REPLICATE) == tuple(ALL)
    assert ready(engine, CUTOVER) == ()
    does(engine, REPLICATE, *ALL)
    assert ready(engine, REPLICATE) == () and ready(engine, REPLICATE, again=True) == tuple(ALL)
    does(engine, REHEARSE, *ALL)
    assert ready(engine, CUTOVER) == ("u-db",)
    held = claims.claim(engine, "shop", "u-db", CUTOVER, "w1")
    assert held is not None and ready(engine, CUTOVER) == ()
    claims.finish(engine, held, result={"downtime_seconds": 4.5})
    assert ready(engine, CUTOVER) == ("u-web", "u-web2")
    does(engine, CUTOVER, "u-web")
    assert ready(engine, ROLLBACK) == ("u-web",)
    fails(engine, CUTOVER, "u-web2")
    assert ready(engine, ROLLBACK) == ("u-web", "u-web2")
    does(engine, ROLLBACK, "u-web", "u-web2")
    assert ready(engine, ROLLBACK) == ("u-db",)
    result = look.snapshot(engine, "shop").machines[0].result
    assert result == {"replicate": True, "rehearse": True, "downtime_seconds": 4.5}


def test_what_depends_on_a_failed_machine_is_skipped(engine: Engine) -> None:
    does(engine, REPLICATE, *ALL)
    fails(engine, CUTOVER, "u-db")
    now = look.snapshot(engine, "shop")
    held = look.blocked(now, WAVE)
    assert held == dict.fromkeys(("u-web", "u-web2"), "it depends on db01, which is failed")
    assert look.ready(now, WAVE, CUTOVER) == ()
    assert [asks.skip(engine, "shop", vm, why) for vm, why in held.items()] == [True, True]
    assert not asks.skip(engine, "shop", "u-web", "again")
    assert store.end(engine, "shop").status == "failed"
    assert set(asks.retry(engine, "shop").machines) == {"db01", "web01", "web02"}
    assert set(states(engine).values()) == {"replicated"}


def test_a_pause_stops_what_is_not_begun(engine: Engine) -> None:
    held = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
    assert held is not None
    assert asks.pause(engine, "shop").running == ("db01",)
    assert not asks.pause(engine, "shop").changed
    assert claims.heartbeat(engine, held).paused
    assert claims.claim(engine, "shop", "u-web", REPLICATE, "w1") is None
    claims.finish(engine, held)
    assert asks.resume(engine, "shop").changed
    assert claims.claim(engine, "shop", "u-web", REPLICATE, "w1") is not None


def test_a_cancelled_wave_can_be_taken_up_again(engine: Engine) -> None:
    does(engine, REPLICATE, "u-web")
    held = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
    assert held is not None
    asked = asks.cancel(engine, "shop")
    assert (asked.machines, asked.running) == (("web02",), ("db01",))
    assert claims.heartbeat(engine, held).cancel
    claims.cancelled(engine, held)
    assert states(engine) == {"db01": "cancelled", "web01": "replicated", "web02": "cancelled"}
    assert store.end(engine, "shop").status == "cancelled"
    with raises(PreconditionError, ErrorCode.WAVE_NOT_READY):
        store.begin(engine, "shop", REPLICATE)
    with raises(PreconditionError, ErrorCode.WAVE_NOT_READY):
        asks.pause(engine, "shop")
    assert set(asks.retry(engine, "shop").machines) == {"db01", "web02"}
    assert store.begin(engine, "shop", REPLICATE).status == "running"
    assert ready(engine, REPLICATE) == ("u-db", "u-web2")


def test_single_machines_are_cancelled_and_tried_again(engine: Engine) -> None:
    does(engine, REPLICATE, "u-db")
    held = claims.claim(engine, "shop", "u-web", REPLICATE, "w1")
    assert held is not None
    asked = asks.cancel(engine, "shop", ["db01", "u-web"])
    assert (asked.machines, asked.running, asked.left) == (("db01",), ("web01",), ())
    assert claims.heartbeat(engine, held).cancel
    claims.cancelled(engine, held)
    assert ready(engine, REPLICATE) == ("u-web2",)
    with raises(PreconditionError, ErrorCode.WAVE_VM_NOT_FOUND):
        asks.retry(engine, "shop", ["db9"])
    asked = asks.retry(engine, "shop", ["db01", "web02"])
    assert (asked.machines, asked.left) == (("db01",), ("web02 is waiting",))
    assert states(engine)["db01"] == "replicated"


def test_a_dry_run_changes_nothing(engine: Engine) -> None:
    fails(engine, REPLICATE, "u-db")
    assert claims.claim(engine, "shop", "u-db", ROLLBACK, "w1") is None, "there is nothing to take back"
    before = look.snapshot(engine, "shop")
    for ask in (asks.pause, asks.cancel, asks.retry):
        assert ask(engine, "shop", dry_run=True).changed
    assert look.snapshot(engine, "shop").machines == before.machines
    assert look.snapshot(engine, "shop").wave == before.wave


def test_a_failed_rollback_is_left_to_people(engine: Engine) -> None:
    does(engine, REPLICATE, "u-db")
    does(engine, CUTOVER, "u-db")
    fails(engine, ROLLBACK, "u-db")
    assert asks.retry(engine, "shop").left == ("db01: its rollback failed; run: migratekit rollback db01",)
    assert states(engine)["db01"] == "failed" and ready(engine, ROLLBACK) == ("u-db",)


def test_waves_wait_for_others(engine: Engine) -> None:
    later = Wave(name="later", machines=(Machine(name="x", uuid="x"),), after=("shop", "none"))
    assert store.unmet(engine, later) == [
        "3 of the machines of wave shop are not cut over",
        "wave none was not begun",
    ]
    does(engine, REPLICATE, *ALL)
    does(engine, CUTOVER, *ALL)
    assert store.unmet(engine, later) == ["wave none was not begun"]
    assert store.end(engine, "shop").status == "completed"
    assert [each.counts for each in store.listing(engine)] == [{"cut-over": 3}]


def test_an_unknown_wave(engine: Engine) -> None:
    with raises(PreconditionError, ErrorCode.WAVE_NOT_FOUND):
        look.snapshot(engine, "shpo")
    assert claims.claim(engine, "shpo", "u-db", REPLICATE, "w1") is None


def test_who_gives_a_machine_back_because_others_have_it_says_so_and_it_is_pruned_later(
    engine: Engine, databases: Databases
) -> None:
    for number in range(3):
        held = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
        assert held is not None and held.attempt == number + 1
        claims.give_back(engine, held, BusyError("the OMA has no room", "all 13 stay", "wait", code=ErrorCode.UNKNOWN))
    view = overview(look.snapshot(engine, "shop"))
    [waits] = view.troubles
    assert (waits.name, waits.state, waits.error and waits.error.what) == ("db01", "waiting", "the OMA has no room")
    assert [each.outcome for each in look.attempts(engine, "shop")] == ["busy"] * 3
    held = claims.claim(engine, "shop", "u-db", REPLICATE, "w1")
    assert held is not None
    claims.finish(engine, held)
    assert overview(look.snapshot(engine, "shop")).troubles == ()
    later = utcnow() + timedelta(seconds=2)
    assert prune(databases, later - timedelta(days=1)).attempts == 0
    assert prune(databases, later, dry_run=True).attempts == 3
    assert prune(databases, later).attempts == 3
    assert [each.outcome for each in look.attempts(engine, "shop")] == ["done"]
