"""Decides whether and where jobs go as traces; the OpenTelemetry libraries are imported only when one is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.metadata import version
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError, UsageError
from migratekit_core.common.hints import migratekit
from migratekit_core.common.redact import redact, remember
from migratekit_core.config.base import is_loopback
from migratekit_core.config.schema import Otel
from migratekit_core.db.engine import session
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.joblog.search import Found, trees

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
PATH = "/v1/traces"


class Traces:
    """Where jobs go as traces."""

    def __init__(self, settings: Otel, endpoint: str) -> None:
        self._settings = settings
        self.endpoint = endpoint

    def send(self, found: Iterable[Found]) -> int:
        """Send jobs; return how many spans. Raises PreconditionError without the libraries, UnreachableError where the
        collector does not take them, and what reading a header raises."""
        try:
            from migratekit_core.joblog import otel
        except ImportError as error:
            raise PreconditionError(
                "traces cannot be sent",
                f"{error.name} is not installed",
                "run: pip install 'migratekit[otel]'",
                code=ErrorCode.NOT_INSTALLED,
                facts={"library": error.name},
            ) from None
        settings = self._settings
        headers = _environment_headers()
        headers |= {name.lower(): source.read(f"otel.headers.{name}") for name, source in settings.headers.items()}
        ca_file = settings.ca_file or _first(
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
        )
        target = otel.Target(
            endpoint=self.endpoint,
            headers=headers,
            ca_file=str(ca_file) if ca_file else None,
            service_name=os.environ.get("OTEL_SERVICE_NAME") or settings.service_name,
            version=version("migratekit"),
            timeout=settings.timeout,
        )
        return otel.send(target, found)


def configured(settings: Otel) -> Traces | None:
    """Return where traces go; None where nobody asked for any. Raises UsageError for a URL that is not protected."""
    if not settings.enabled or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if settings.endpoint:
        return Traces(settings, _with_path(settings.endpoint))
    given = os.environ.get(ENDPOINTS[0])
    general = os.environ.get(ENDPOINTS[1])
    # By the specification the general one is a base that the path is added to, and the other is taken as it is.
    url = given or (f"{general.rstrip('/')}{PATH}" if general else "")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise UsageError(
            f"traces would go to {parts.hostname} unprotected",
            f"{ENDPOINTS[0] if given else ENDPOINTS[1]} is not https",
            "use https, or a collector on this host",
            code=ErrorCode.CONFIG_INVALID,
            facts={"setting": "otel.endpoint"},
        )
    return Traces(settings, url)


def on_end(traces: Traces, engine: Engine, note: Callable[[str], None]) -> Callable[[str], None]:
    """Return what sends a job when it has ended. It never fails: a migration does not end because of its traces."""

    def send(job_id: str) -> None:
        try:
            with session(engine) as db:
                job = db.get(JoblogJob, job_id)
            if job is not None:
                traces.send(trees(engine, [job]))
        except MigrateKitError as error:
            note(f"{error}; send it again with: {migratekit('jobs', 'export', job_id[:8], '--otel')}")
        except Exception as error:
            note(f"traces were not sent: {redact(f'{type(error).__name__}: {error}')}")

    return send


def _with_path(url: str) -> str:
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + PATH


def _environment_headers() -> dict[str, str]:
    """Return the headers of OTEL_EXPORTER_OTLP_HEADERS (`name=value,name=value`, percent-encoded); all are secrets."""
    pairs = (part.partition("=") for part in (_first(HEADERS) or "").split(",") if "=" in part)
    return {unquote(name.strip()).lower(): remember(unquote(value.strip())) for name, _, value in pairs}


def _first(names: Iterable[str]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
