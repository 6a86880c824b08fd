"""Jobs as OpenTelemetry traces, taken by a real OTLP/HTTP receiver on loopback; off, and not loaded, by default."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration import sample_joblog
from tests.lab.lab import COMMAND, environment

HEADER = "Bearer planted-in-a-header"


class Receiver:
    """Takes traces as a collector does, and keeps them."""

    def __init__(self, status: int = 200) -> None:
        self.spans: dict[str, Span] = {}
        self.headers: list[dict[str, str]] = []
        self.services: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                if status == 200:
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services |= {each.value.string_value for each in resource.resource.attributes
                              if each.key == "service.name"}  # fmt: skip
            for scope in resource.scope_spans:
                assert scope.scope.name == "migratekit"
                for span in scope.spans:
                    self.spans[span.span_id.hex()] = span


@contextmanager
def receiving(status: int = 200) -> Iterator[Receiver]:
    """Run a receiver as long as the block runs."""
    receiver = Receiver(status)
    threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    sample_joblog.make(folder / "db", syncs=2).dispose()
    file = folder / "config.toml"
    file.write_text(f'[database]\ndirectory = "{folder / "db"}"\n')
    return file


def run(config: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "--config", str(config), *arguments],
        env={**environment(), **extra}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


JOB_THAT_ENDS = """
import sys
from pathlib import Path
from migratekit_core.config import load_config
from migratekit_core.context import open_runtime
from migratekit_core.joblog.events import EventKind

with open_runtime(load_config(Path(sys.argv[1]))) as opened:
    print("loaded" if "opentelemetry" in sys.modules else "not loaded")
    with opened.tracker.job("replication", owner="live01") as outer:
        with outer.step("copy") as step:
            step.log(EventKind.DISK_COPIED, moved=7, password="hidden")
            with opened.tracker.job("volume-export", owner="v", parent=outer) as inner, inner.step("export"):
                pass
    print("loaded" if "opentelemetry" in sys.modules else "not loaded")
    print(outer.correlation_id)
"""


def job_that_ends(config: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOB_THAT_ENDS, str(config)],
        env={**environment(), **extra}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def attributes(span: Span | Span.Event) -> dict[str, object]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


def test_a_job_that_ends_becomes_a_trace_of_nested_spans(config: Path) -> None:
    with receiving() as receiver:
        done = job_that_ends(
            config,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={HEADER.replace(' ', '%20')}",
            OTEL_SERVICE_NAME="the-service",
        )
    before, after, correlation = done.stdout.split("\n")[:3]
    assert (before, after) == ("not loaded", "loaded")
    spans = {span.name: span for span in receiver.spans.values()}
    assert set(spans) == {"replication", "copy", "volume-export", "export"}
    assert {span.trace_id.hex() for span in spans.values()} == {uuid.UUID(correlation).hex}
    assert spans["replication"].parent_span_id == b""
    assert spans["copy"].parent_span_id == spans["replication"].span_id
    assert spans["volume-export"].parent_span_id == spans["copy"].span_id, "within the step that it ran in"
    assert spans["export"].parent_span_id == spans["volume-export"].span_id
    assert attributes(spans["replication"])["migratekit.owner"] == "live01"
    assert all(
        span.status.code == 1 and span.end_time_unix_nano >= span.start_time_unix_nano for span in spans.values()
    )
    [event] = spans["copy"].events
    assert attributes(event)["migratekit.event.kind"] == "disk-copied"
    assert {each.key for each in event.attributes} == {"level", "migratekit.event.kind", "moved", "password"}
    assert "hidden" not in str(receiver.spans)
    assert receiver.services == {"the-service"}
    assert {headers["authorization"] for headers in receiver.headers} == {HEADER}


def test_what_failed_and_what_was_killed_is_told_and_can_be_sent_again(config: Path) -> None:
    with receiving() as receiver:
        for _ in range(2):
            # A proxy of the environment is nobody's business, also one that is not there.
            there = {"MIGRATEKIT_OTEL__ENDPOINT": f'"{receiver.endpoint}"', "http_proxy": "http://127.0.0.1:9"}
            done = run(config, "jobs", "export", "--otel", **there)
            assert done.returncode == 0, done.stderr
        first = len(receiver.spans)
    jobs = json.loads(run(config, "jobs", "list", "--nested", "-o", "json").stdout)["jobs"]
    named = {span.name for span in receiver.spans.values()}
    assert {"replication", "verify", "failover", "test-failover", "shutdown-source"} <= named
    # Sent twice, and the same spans: their ids are those of the rows.
    assert len([span for span in receiver.spans.values() if "migratekit.job.kind" in attributes(span)]) == len(jobs)
    assert first == len(receiver.spans)
    [failed] = [span for span in receiver.spans.values() if span.name == "test-failover"]
    assert failed.status.code == 2
    assert "CloudStack does not answer" in failed.status.message


def test_traces_never_end_a_job(config: Path) -> None:
    with receiving(status=503) as receiver:
        done = job_that_ends(config, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, MIGRATEKIT_OTEL__TIMEOUT="1")
    assert done.returncode == 0
    assert receiver.headers, "it was asked"


def test_traces_are_off_by_default_and_never_go_unprotected(config: Path) -> None:
    assert job_that_ends(config).stdout.split("\n")[:2] == ["not loaded", "not loaded"]
    off = job_that_ends(config, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_SDK_DISABLED="true")
    assert off.stdout.split("\n")[:2] == ["not loaded", "not loaded"]
    plain = run(config, "jobs", "export", OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.example:4318")
    assert plain.returncode == 2
    assert "unprotected" in plain.stderr
    none = run(config, "jobs", "export", "--otel")
    assert none.returncode == 2
    assert "no collector is configured" in none.stderr
