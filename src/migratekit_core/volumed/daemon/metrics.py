"""What /metrics tells: numbers for Prometheus, kept while the daemon runs. No names, no ids, no secrets."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OPERATION_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
REQUEST_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 30)
"""Seconds; a long poll takes up to 30."""
BEGINNING = "migratekit_"


class Metrics:
    """The daemon's numbers, and those of other collectors."""

    def __init__(self, version: str, kinds: Iterable[str], *others: Collector) -> None:
        self._registry = made = CollectorRegistry()
        for other in others:
            made.register(other)
        ProcessCollector(namespace="migratekit", registry=made)
        Gauge(f"{BEGINNING}build_info", "The daemon's version.", ["version"], registry=made).labels(version).set(1)
        self._requests = Histogram(
            f"{BEGINNING}http_request_seconds",
            "Requests by route and status, and how long they took.",
            ["method", "route", "status"],
            buckets=REQUEST_BUCKETS,
            registry=made,
        )
        self._operations = Histogram(
            f"{BEGINNING}operation_seconds",
            "Operations by type and outcome, and how long they took.",
            ["type", "outcome"],
            buckets=OPERATION_BUCKETS,
            registry=made,
        )
        self._running = Gauge(
            f"{BEGINNING}operations_running", "Operations that are being worked on.", ["type"], registry=made
        )
        self._volumes = Gauge(
            f"{BEGINNING}volumes", "Our volumes by where CloudStack has them.", ["attached"], registry=made
        )
        self._exports = Gauge(f"{BEGINNING}exports", "NBD exports that the rows tell of.", registry=made)
        self._drift = Gauge(
            f"{BEGINNING}volume_drift",
            "Disagreements between CloudStack, Linux, the exporter and the rows that nobody has put right yet.",
            ["kind"],
            registry=made,
        )
        self._kinds = tuple(kinds)
        for kind in self._kinds:
            self._drift.labels(kind)
        self._repairs = Counter(
            f"{BEGINNING}volume_repairs", "Disagreements that the daemon put right.", ["kind"], registry=made
        )
        self._compared = Gauge(
            f"{BEGINNING}reconcile_last_success_timestamp_seconds", "When all were last compared.", registry=made
        )
        self._seconds = Gauge(
            f"{BEGINNING}reconcile_duration_seconds", "How long the last comparison took.", registry=made
        )
        self._failures = Counter(f"{BEGINNING}reconcile_failures", "Comparisons that could not be made.", registry=made)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    @contextmanager
    def running(self, kind: str) -> Iterator[None]:
        """Count the block as an operation that runs."""
        with self._running.labels(kind).track_inprogress():
            yield

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count an operation that has ended."""
        self._operations.labels(kind, outcome).observe(seconds)

    def compared(self, at: float, seconds: float, attached: Counts[str], exports: int, drift: Counts[str]) -> None:
        """Take over what a comparison found; `at` is seconds since 1970."""
        self._compared.set(at)
        self._seconds.set(seconds)
        self._exports.set(exports)
        for where in ("oma", "elsewhere", "nowhere"):
            self._volumes.labels(where).set(attached[where])
        for kind in self._kinds:
            self._drift.labels(kind).set(drift[kind])

    def repaired(self, kinds: Iterable[str]) -> None:
        """Count what was put right."""
        for kind in kinds:
            self._repairs.labels(kind).inc()

    def not_compared(self) -> None:
        """Count a comparison that could not be made."""
        self._failures.inc()
