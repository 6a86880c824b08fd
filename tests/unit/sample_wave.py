"""A wave with something of everything, made through the store: for what only shows."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine
from sqlmodel import Session, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.db.engine import session, write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.waves import WaveAttempt, WaveMachine, WaveRow
from migratekit_core.db.wavestates import CUTOVER, REPLICATE
from migratekit_core.services.waves import claims, store
from migratekit_core.services.waves.model import Estimate, Machine, Target, Wave

GIB, MIB = 1 << 30, 1 << 20
HOSTILE = "<script>document.title='owned'</script><img src=http://198.51.100.1/x>"
LONG = "a-machine-with-a-name-as-long-as-vsphere-allows-it-to-be-01234567890123456789.example.com"


def wave(machines: int = 12) -> Wave:
    """Return the wave."""
    names = [LONG, *(f"web{number:02}" for number in range(1, machines))]
    return Wave(
        name="shop-1",
        description="the shop",
        machines=tuple(
            Machine(
                name=name, uuid=f"u-{number}", host=f"esx{number % 3}", oma="b" if number % 2 else "", group="shop",
                datastores=("ds1",), disks=1, capacity_bytes=40 * GIB, data_bytes=(10 + number) * GIB,
                target=Target(zone="z1"),
            )
            for number, name in enumerate(names)
        ),
        estimate=Estimate(
            data_bytes=200 * GIB, seconds=3600.0, bytes_per_second=60e6, rate_from="measured",
            rate_basis="median of 12 first syncs since 2026-11-01",
        ),
    )  # fmt: skip


def lose(engine: Engine, worker: str) -> tuple[claims.Released, ...]:
    """Have a worker give no sign of life for an hour, and its machines be taken back."""

    def silence(db: Session) -> None:
        for row in db.exec(select(WaveMachine).where(WaveMachine.worker == worker)):
            row.heartbeat_at = utcnow() - timedelta(hours=1)

    write(engine, silence)
    return claims.release_stale(engine, 1800)


def make(engine: Engine) -> Wave:
    """Store it in the middle of its copies: done, at work, failed after a retry, lost with a worker, waiting."""
    made = wave()
    store.create(engine, made)
    store.begin(engine, made.name, REPLICATE)
    for number in range(8):
        held = claims.claim(engine, made.name, f"u-{number}", REPLICATE, f"host{number % 2}:41{number}")
        assert held is not None
        size = (10 + number) * GIB
        if number < 4:
            claims.heartbeat(engine, held, done=size // 2, total=size, rate=80 * MIB, job_id=f"job-{number}")
            claims.finish(engine, held, done=size)
        elif number == 4:
            claims.fail(
                engine, held, OperationFailedError("the copy failed", HOSTILE, "run it again", code=ErrorCode.UNKNOWN)
            )
        elif number == 5:
            lose(engine, held.worker)
        else:
            claims.heartbeat(engine, held, done=size * (number - 5) // 4, total=size, rate=64 * MIB, job_id="job-9")
    held = claims.claim(engine, made.name, "u-0", CUTOVER, "host0:410")
    assert held is not None
    claims.finish(engine, held, result={"downtime_seconds": 93.5})
    _spread(engine)
    return made


def _spread(engine: Engine) -> None:
    """Let it have taken a while: attempts one after another, some at once."""
    began = utcnow() - timedelta(minutes=45)
    with session(engine) as db:
        for number, each in enumerate(db.exec(select(WaveAttempt).order_by(WaveAttempt.started_at))):  # type: ignore[arg-type]
            each.started_at = began + timedelta(minutes=4 * number)
            if each.ended_at is not None:
                each.ended_at = each.started_at + timedelta(minutes=5 + number)
        row = db.exec(select(WaveRow)).one()
        row.started_at = began
        for machine in db.exec(select(WaveMachine)):
            if machine.state == "running" and machine.vm_id == "u-7":
                assert machine.heartbeat_at is not None
                machine.heartbeat_at -= timedelta(seconds=95)
