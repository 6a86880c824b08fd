"""Asks the double what a real management server was asked, over HTTP and signed, and waits for the job."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any
from urllib.parse import urlencode

from tests.lab.cloudstack.server import API_PATH, Server
from tests.lab.cloudstack.signature import sign
from tests.lab.cloudstack.state import Cloud

PATIENCE = 10.0
"""Seconds in which a job of the double must end."""


@dataclass(frozen=True)
class Answer:
    """What came back: of a job, its last poll."""

    http: int
    answer: Any
    job: Mapping[str, Any] | None


@dataclass(frozen=True)
class Caller:
    """Whose request it is."""

    key: str
    secret: str


@contextmanager
def serving(cloud: Cloud) -> Iterator[Server]:
    """A double that listens; each test gives it a cloud of its own."""
    with Server(("127.0.0.1", 0), cloud) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def call(server: Server, caller: Caller, command: str, parameters: Mapping[str, str], method: str) -> tuple[int, Any]:
    """Send one signed request. Returns the status and the answer, as text where it is no JSON."""
    sent = {"command": command, "response": "json", "apikey": caller.key, **parameters}
    query = urlencode({**sent, "signature": sign(sent, caller.secret)})
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=PATIENCE)
    try:
        if method == "POST":
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", API_PATH, query, form)
        else:
            connection.request("GET", f"{API_PATH}?{query}")
        reply = connection.getresponse()
        text = reply.read().decode()
    finally:
        connection.close()
    return reply.status, json.loads(text) if "json" in reply.headers.get("Content-Type", "") else text


def ask(
    server: Server, caller: Caller, command: str, parameters: Mapping[str, str], method: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> Answer:  # fmt: skip
    """Send a request and wait for its job. Raises TimeoutError where the job does not end.

    `meanwhile` is called between the request and the first poll.
    """
    status, answer = call(server, caller, command, parameters, method)
    inner = next(iter(answer.values()), {}) if isinstance(answer, dict) else {}
    if status != 200 or "jobid" not in inner or command == "queryAsyncJobResult":
        return Answer(status, answer, None)
    meanwhile()
    return Answer(status, answer, wait(server, caller, inner["jobid"]))


def wait(server: Server, caller: Caller, job_id: str) -> Mapping[str, Any]:
    """Poll a job until it has ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        _, answer = call(server, caller, "queryAsyncJobResult", {"jobid": job_id}, "GET")
        job: Mapping[str, Any] = answer["queryasyncjobresultresponse"]
        if job.get("jobstatus") != 0:
            return job
        time.sleep(0.002)
    raise TimeoutError(f"job {job_id} did not end in {PATIENCE} s")
