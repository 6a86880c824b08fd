"""Sends jobs to an OpenTelemetry collector as traces: a job is a span, its steps are spans in it, events are events.

A trace is made of what the joblog holds, once the job has ended: so that of a process that was killed is as complete as
any, jobs of the volume daemon are in it, and a job can be sent again later. The trace's id is the correlation id, the
spans' ids are derived from the rows': sending twice makes no second trace. Imported only where it is used.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.common.redact import redact
from migratekit_core.joblog.search import Found
from migratekit_core.joblog.states import COMPLETED, RUNNING

LOT = 512
"""Spans of one request."""


@dataclass(frozen=True)
class Target:
    """A collector, as OTLP over HTTP (protobuf)."""

    endpoint: str
    headers: Mapping[str, str]
    ca_file: str | None
    service_name: str
    version: str
    timeout: float
    """Seconds."""


def trace_id(correlation_id: str) -> int:
    """Return the id of a correlation's trace: a UUID is one, of any other text a hash."""
    try:
        return uuid.UUID(correlation_id).int
    except ValueError:
        return int.from_bytes(hashlib.sha256(correlation_id.encode()).digest()[:16], "big")


def span_id(*key: object) -> int:
    """Return the id of a row's span."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "big")


def send(target: Target, trees: Iterable[Found]) -> int:
    """Send jobs with all that is within them; return how many spans that were. Those that still run are left out.

    Raises UnreachableError where the collector does not take them.
    """
    session = requests.Session()
    session.trust_env = False  # no proxy and no .netrc of the environment
    exporter = OTLPSpanExporter(
        session=session,
        endpoint=target.endpoint,
        headers=dict(target.headers),
        certificate_file=target.ca_file,
        timeout=target.timeout,
    )
    resource = Resource.create({"service.name": target.service_name, "service.version": target.version})
    sent = 0
    try:
        lot: list[ReadableSpan] = []
        for tree in trees:
            lot += spans(tree, resource, target.version)
            while len(lot) >= LOT:
                sent += _export(exporter, target, lot[:LOT])
                lot = lot[LOT:]
        return sent + (_export(exporter, target, lot) if lot else 0)
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


def _export(exporter: OTLPSpanExporter, target: Target, lot: list[ReadableSpan]) -> int:
    try:
        done, reason = exporter.export(lot) is SpanExportResult.SUCCESS, "it refused them, or did not answer"
    except Exception as error:  # requests' errors: none of them may end a migration
        done, reason = False, f"{type(error).__name__}: {error}"
    if not done:
        raise UnreachableError(
            f"traces were not taken by {urlsplit(target.endpoint).hostname}",
            redact(reason),
            "check [otel]",
            code=ErrorCode.COLLECTOR_REFUSED,
        )
    return len(lot)


def spans(tree: Found, resource: Resource, version: str) -> Iterator[ReadableSpan]:
    """Yield the spans of a job that has ended, and of the jobs within it."""
    scope = InstrumentationScope("migratekit", version)

    def span(
        name: str, row: Any, key: int, parent: int | None, attributes: Mapping[str, Any], events: list[Event]
    ) -> ReadableSpan:
        trace = trace_id(row.correlation_id)
        return ReadableSpan(
            name=name,
            context=_context(trace, key),
            parent=_context(trace, parent) if parent is not None else None,
            resource=resource,
            attributes={**attributes, "migratekit.status": row.status},
            events=events,
            kind=SpanKind.INTERNAL,
            instrumentation_scope=scope,
            status=_status(row),
            start_time=_nanoseconds(row.started_at),
            end_time=_nanoseconds(row.completed_at),
        )

    def walk(found: Found, outer: int | None) -> Iterator[ReadableSpan]:
        job = found.job
        if job.status == RUNNING or job.completed_at is None:
            return
        own = span_id("job", job.id)
        about = {
            "migratekit.job.id": job.id,
            "migratekit.job.kind": job.kind,
            "migratekit.owner": job.owner,
            "host.name": job.host,
            "process.pid": job.pid,
        }
        beside = [_event(event) for event in found.events if event.step_id is None]
        yield span(job.kind, job, own, outer, about, beside)
        for step in found.steps:
            if step.completed_at is None:
                continue
            events = [_event(event) for event in found.events if event.step_id == step.id]
            key = span_id("step", job.id, step.sequence)
            yield span(step.name, step, key, own, {"migratekit.job.id": job.id}, events)
        for inner in found.within:
            yield from walk(inner, _around(found, inner, own))

    # A job within one that is not sent with it, such as an operation's of the volume daemon, still names its parent.
    parent = tree.job.parent_job_id
    yield from walk(tree, span_id("job", parent) if parent else None)


def _around(outer: Found, inner: Found, own: int) -> int:
    """Return the span that a job within another one belongs to: the step that it ran in, or the job itself."""
    for step in outer.steps:
        if step.completed_at is not None and step.started_at <= inner.job.started_at <= step.completed_at:
            return span_id("step", outer.job.id, step.sequence)
    return own


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _status(row: Any) -> Status:
    if row.status == COMPLETED:
        return Status(StatusCode.OK)
    return Status(StatusCode.ERROR, row.error_message or row.status)


def _event(event: Any) -> Event:
    attributes = {
        "level": event.level,
        "migratekit.event.kind": event.kind or "",
        **{name: _value(value) for name, value in (event.fields or {}).items()},
    }
    return Event(event.message, attributes=attributes, timestamp=_nanoseconds(event.created_at))


def _value(value: Any) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else json.dumps(value, default=str)


def _nanoseconds(when: datetime) -> int:
    since = when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
