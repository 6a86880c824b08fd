"""What /metrics tells of waves, asked of the OMA's database when Prometheus asks: no part of the daemon knows it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.services.waves.gauge import numbers
from migratekit_core.services.waves.states import STATES, WAVE_STATES


class WaveGauges(Collector):
    """Gauges of waves. A database that is away leaves them out, and takes nothing else away."""

    def __init__(self, oma: Engine) -> None:
        self._oma = oma

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield what they are called, without asking the database."""
        yield from self._empty().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield them."""
        try:
            found = numbers(self._oma)
        except MigrateKitError:
            return
        made = self._empty()
        for status in WAVE_STATES:
            made["waves"].add_metric([status], found.waves[status])
        for state in STATES:
            made["machines"].add_metric([state], found.machines[state])
        made["rate"].add_metric([], found.rate)
        made["silent"].add_metric([], found.silent)
        yield from made.values()

    @staticmethod
    def _empty() -> dict[str, GaugeMetricFamily]:
        return {
            "waves": GaugeMetricFamily("migratekit_waves", "Waves by status.", labels=["status"]),
            "machines": GaugeMetricFamily("migratekit_wave_machines", "Machines of waves by state.", labels=["state"]),
            "rate": GaugeMetricFamily("migratekit_wave_bytes_per_second", "What all waves copy now.", labels=[]),
            "silent": GaugeMetricFamily(
                "migratekit_wave_silent_machines", "Machines at work whose workers say nothing.", labels=[]
            ),
        }
