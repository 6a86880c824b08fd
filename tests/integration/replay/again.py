"""Asks a double that has just begun what another server was asked, call by call, as `migratekit --record` wrote it.

What is made now has other ids than what was made then, so ids are translated as the answers come.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.lab.cloudstack.signature import sign
from tests.lab.parts.cloud import Cloud

from . import shapes
from .recordings import Recording

SECONDS = 30.0
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def differences(cloud: Cloud, recorded: Sequence[Recording]) -> Iterator[str]:
    """Yield where the cloud answers with another status, or in another shape, than was recorded."""
    ids: dict[str, str] = {}
    for one in recorded:
        if not one.http:
            continue
        parameters = {name: _ID.sub(lambda found: ids.get(found[0], found[0]), v) for name, v in one.parameters.items()}
        status, answer = _call(cloud, one.command, parameters)
        job = _job(cloud, answer) if one.job is not None else None
        if status != one.http:
            yield f"{one.name}: HTTP {one.http} was recorded, now it is {status}: {answer}"
        for was, now in ((one.answer, answer), (one.job, job)):
            for difference in shapes.differences(shapes.shape(was), shapes.shape(now)):
                yield f"{one.name}: {difference}"
            _learn(was, now, ids)


def _learn(was: Any, now: Any, ids: dict[str, str]) -> None:
    """Note which id stands where another one stood."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in was.keys() & now.keys():
            _learn(was[name], now[name], ids)
    elif isinstance(was, list) and isinstance(now, list):
        for one, other in zip(was, now, strict=False):
            _learn(one, other, ids)
    elif isinstance(was, str) and isinstance(now, str) and _ID.fullmatch(was) and _ID.fullmatch(now):
        ids[was] = now


def _call(cloud: Cloud, command: str, parameters: Mapping[str, str]) -> tuple[int, Any]:
    sent = {"command": command, "response": "json", "apikey": cloud.api_key, **parameters}
    url = urlsplit(cloud.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=SECONDS)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({**sent, "signature": sign(sent, cloud.secret_key)})
        connection.request("POST", url.path, body, form)
        reply = connection.getresponse()
        text = reply.read().decode()
    finally:
        connection.close()
    return reply.status, json.loads(text) if "json" in reply.headers.get("Content-Type", "") else text


def _job(cloud: Cloud, answer: Any) -> Any:
    """Return what the poll of a job's end told, without its envelope."""
    job_id = next(iter(answer.values()))["jobid"]
    deadline = time.monotonic() + SECONDS
    while True:
        _, told = _call(cloud, "queryAsyncJobResult", {"jobid": job_id})
        job = next(iter(told.values()))
        if job.get("jobstatus") != 0:
            return job
        assert time.monotonic() < deadline, f"job {job_id} does not end"
        time.sleep(0.02)
