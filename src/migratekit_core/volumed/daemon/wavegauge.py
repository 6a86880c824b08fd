"""What /metrics tells of waves, asked of the OMA's database when Prometheus asks: no part of the daemon knows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func
from sqlmodel import col, select

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.db.engine import db_time, session
from migratekit_core.db.models.waves import WaveMachine, WaveRow
from migratekit_core.db.wavestates import RUNNING, STALE_SECONDS, STATES, WAVE_STATES


class WaveGauges(Collector):
    """Gauges of waves. A database that is away leaves them out, and takes nothing else away."""

    def __init__(self, oma: Engine) -> None:
        self._oma = oma

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield what they are called, without asking the database."""
        yield from _empty()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield them."""
        try:
            yield from _filled(self._oma)
        except MigrateKitError:
            return


def _filled(oma: Engine) -> tuple[GaugeMetricFamily, ...]:
    waves, machines, rate, silent = made = _empty()
    at_work = WaveMachine.state == RUNNING
    with session(oma) as db:
        by_status = dict(db.exec(select(WaveRow.status, func.count()).group_by(col(WaveRow.status))).all())
        by_state = dict(db.exec(select(WaveMachine.state, func.count()).group_by(col(WaveMachine.state))).all())
        copied = db.exec(select(func.sum(WaveMachine.rate)).where(at_work)).one()
        late = col(WaveMachine.heartbeat_at) < db_time(db) - timedelta(seconds=STALE_SECONDS)
        without_sign = db.exec(select(func.count()).where(at_work, late)).one()
    for status in WAVE_STATES:
        waves.add_metric([status], by_status.get(status, 0))
    for state in STATES:
        machines.add_metric([state], by_state.get(state, 0))
    rate.add_metric([], int(copied or 0))
    silent.add_metric([], without_sign)
    return made


def _empty() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("migratekit_waves", "Waves by status.", labels=["status"]),
        GaugeMetricFamily("migratekit_wave_machines", "Machines of waves by state.", labels=["state"]),
        GaugeMetricFamily("migratekit_wave_bytes_per_second", "What all waves copy now.", labels=[]),
        GaugeMetricFamily("migratekit_wave_silent_machines", "Machines at work whose workers say nothing.", labels=[]),
    )
