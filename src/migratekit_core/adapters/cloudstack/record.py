"""What was said to CloudStack, for `--record FILE`: a JSON line for each call, without keys and secrets.

A line is `{"<command>.<its number>": {command, method, parameters, http, answer, job, at, seconds}}`: the form of
the recorded answers that the lab replays (tests/data/cloudstack-4.22). A call whose job CloudStack has taken gets its
line when the job has ended. Recording never ends a command: what cannot be written is left out, and that is said once.
"""

from __future__ import annotations

import atexit
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import requests

from migratekit_core.common import recording
from migratekit_core.common.errors import UsageError
from migratekit_core.common.record_file import LineFile
from migratekit_core.common.redact import redact, redact_fields

LONGEST = 1 << 20
"""Most characters of an answer, and of a job's end; a longer one is cut, and says so."""
POLL, PENDING = "queryAsyncJobResult", "0"
_SIGNING = frozenset({"command", "response", "apikey", "signature", "signatureversion", "expires", "sessionkey"})
"""Parameters of the request as such, and not of its command."""
_PRIVATE = re.compile(
    r"user_?data(details)?$|(^|\.)(url|posturl)$|psk$|preshared|(access|public)_?key|certificate|session|otp$",
    re.IGNORECASE,
)
"""Names of what is nobody's business, besides those that `redact` knows: user data, keys, links that let one in."""

_starting = threading.Lock()
_recorder: Recorder | None = None


def session(note: Callable[[str], None] | None = None) -> requests.Session:
    """Return a session that records what goes through it; `note` is told, once, where something is not recorded."""
    note = note or recording.say
    try:
        return RecordedSession(_of_process(), note)
    except UsageError as error:
        # In a process that another one has started: there the file was right.
        note(f"nothing is recorded: {error.what} ({error.why})")
        return requests.Session()


def _of_process() -> Recorder:
    global _recorder
    with _starting:
        if _recorder is None:
            _recorder = Recorder(recording.file_of_process())
            atexit.register(_recorder.close)
        return _recorder


class RecordedSession(requests.Session):
    """A session whose exchanges are recorded."""

    def __init__(self, recorder: Recorder, note: Callable[[str], None]) -> None:
        super().__init__()
        self._recorder = recorder
        self._note = note

    def send(self, request: requests.PreparedRequest, **arguments: Any) -> requests.Response:
        """Send a request as every session does, and record what came of it."""
        at, began = datetime.now(UTC), time.monotonic()
        try:
            response = super().send(request, **arguments)
        except requests.RequestException as error:
            self._record(request, at, began, error)
            raise
        self._record(request, at, began, response)
        return response

    def _record(
        self,
        request: requests.PreparedRequest,
        at: datetime,
        began: float,
        outcome: requests.Response | requests.RequestException,
    ) -> None:
        try:
            self._recorder.exchange(_line(request, at, outcome), began)
        except Exception as error:
            # Whatever it is: no migration fails because nobody will be able to read how it went.
            if self._recorder.first_trouble():
                self._note(f"not everything is recorded: {redact(str(error) or type(error).__name__)}")


class Recorder:
    """Puts calls and the ends of their jobs together, and writes them down."""

    def __init__(self, file: LineFile) -> None:
        self._file = file
        self._guard = threading.Lock()
        self._held: dict[str, tuple[dict[str, Any], float]] = {}
        """Calls whose jobs have not ended, by the job's id, and when each began (monotonic)."""
        self._trouble = False

    def exchange(self, line: dict[str, Any], began: float) -> None:
        """Take an exchange that began at `began` (monotonic); what a poll tells of a job belongs to the job's call.

        Raises OSError where the file takes no more.
        """
        inner = _inside(line["answer"]) if line["http"] == 200 else {}
        with self._guard:
            if line["command"] != POLL and "jobid" in inner:
                self._held[str(inner["jobid"])] = line, began
                return
            if line["command"] == POLL and line["http"] == 200:
                if str(inner.get("jobstatus", PENDING)) == PENDING:
                    return
                call, since = self._held.pop(line["parameters"].get("jobid", ""), (None, began))
                if call is not None:
                    line, began = {**call, "job": line["answer"]}, since
            self._write(line, began)

    def first_trouble(self) -> bool:
        """Return whether it is asked for the first time."""
        first, self._trouble = not self._trouble, True
        return first

    def close(self) -> None:
        """Write down the calls whose jobs' end was not seen."""
        with self._guard:
            held, self._held = self._held, {}
            for line, began in held.values():
                try:
                    self._write({**line, "note": "the end of its job was not seen"}, began)
                except OSError:
                    return

    def _write(self, line: dict[str, Any], began: float) -> None:
        whole = {
            name: recording.bounded(value, LONGEST) if name in ("answer", "job") else value
            for name, value in line.items()
        }
        whole["seconds"] = round(time.monotonic() - began, 3)
        self._file.add(lambda number: json.dumps({f"{line['command']}.{number}": whole}))


def _line(
    request: requests.PreparedRequest, at: datetime, outcome: requests.Response | requests.RequestException
) -> dict[str, Any]:
    """Return what is recorded of a request and of what came of it, without the time that it took."""
    body = request.body or b""
    sent = dict(parse_qsl(body.decode() if isinstance(body, bytes) else str(body), keep_blank_values=True))
    if isinstance(outcome, requests.Response):
        http, answer = outcome.status_code, _answer(outcome)
    else:
        http, answer = None, _unanswered(outcome)
    return {
        "command": sent.get("command", ""),
        "method": request.method,
        "parameters": cleaned({name: value for name, value in sent.items() if name.lower() not in _SIGNING}),
        "http": http,
        "answer": answer,
        "at": recording.moment(at),
    }


def _answer(response: requests.Response) -> Any:
    try:
        return cleaned(response.json())
    except ValueError:
        return redact(response.text)


def _unanswered(error: requests.RequestException) -> dict[str, str]:
    """Return which kind of error it was, and the inmost one; their texts may repeat the URL."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return {"error": type(error).__name__, "cause": type(cause).__name__}


def _inside(answer: Any) -> Mapping[str, Any]:
    """Return what is within an answer's envelope: {"attachvolumeresponse": {…}}."""
    held = next(iter(answer.values()), None) if isinstance(answer, Mapping) else None
    return held if isinstance(held, Mapping) else {}


def cleaned(value: Any) -> Any:
    """Return a JSON-like value without secrets: those that are known, and what is called like one."""
    return redact_fields(_without_private(value))


def _without_private(value: Any) -> Any:
    if isinstance(value, Mapping):
        cleared = {
            name: redact_fields(held, secret=True) if _PRIVATE.search(str(name)) else _without_private(held)
            for name, held in value.items()
        }
        if isinstance(told := cleared.get("key"), str) and "value" in cleared:
            # A tag, of whosever machine: what its value is called is what its key says.
            (cleared["value"],) = cleaned({told: cleared["value"]}).values()
        return cleared
    return [_without_private(held) for held in value] if isinstance(value, list) else value
