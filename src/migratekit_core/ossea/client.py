"""CloudStack's API through `cs`, its quirks handled once: errors, numbers as text, lists left out, async jobs."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from typing import Any, Protocol

import requests
from cs import CloudStack, CloudStackApiException, CloudStackException

from migratekit_core import points
from migratekit_core.config.schema import Ossea
from migratekit_core.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.redact import redact

PAGE = 500
"""CloudStack's default upper limit of a page (default.page.size)."""
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.1, 2.0
"""Between two questions for a job: soon at first, for most are quick, then less and less often."""
OUTAGE_SECONDS = 120.0
"""How long a job may be asked for in vain, by a network or a management server that is away, before it is given up."""
JOB_TIMEOUT_SECONDS = 3600.0
"""Until an asynchronous job counts as lost; copying a large volume on secondary storage takes long."""
READING = ("list", "query")
"""How the names of commands begin that change nothing."""
PENDING, SUCCEEDED, FAILED = 0, 1, 2
"""jobstatus of queryAsyncJobResult."""
REFUSED_CREDENTIALS = frozenset({401, 531})
FORBIDDEN = frozenset({432, 403})
"""432 is what an unknown command gives, which is also what a role that may not call it sees."""
UNKNOWN_ID = 431
"""A parameter error: what CloudStack answers for an id that does not exist (any more)."""
GATEWAY = frozenset({500, 502, 503, 504})
"""HTTP codes of whatever stands before CloudStack, or of a server that starts; its own are 401, 431, 432, 53x."""
NO_CAPACITY = frozenset({533, 535})
"""InsufficientCapacity and ResourceAllocation (a quota)."""


class LostJobError(OperationFailedError):
    """CloudStack took a job and does not know it any more, or does not end it: it may have done its work, or not."""


class AsyncJobs(Protocol):
    """Told of asynchronous jobs, so that a restart can pick them up (ossea.tracking)."""

    def started(self, job_id: str, command: str) -> None:
        """CloudStack has taken the job."""

    def ended(self, job_id: str, status: str) -> None:
        """CloudStack has finished it: succeeded, failed or lost."""


class Untracked:
    """For calls whose job nobody has to find again."""

    def started(self, job_id: str, command: str) -> None:
        """Nothing."""

    def ended(self, job_id: str, status: str) -> None:
        """Nothing."""


class Cloud:
    """A CloudStack cloud."""

    def __init__(self, ossea: Ossea) -> None:
        self._where = f"CloudStack {ossea.api_url}"
        key = ossea.api_key.read("ossea.api_key")
        secret = ossea.secret_key.read("ossea.secret_key")
        # POST keeps parameters out of the access logs of whatever stands between.
        self._cs = CloudStack(
            endpoint=ossea.api_url,
            key=key,
            secret=secret,
            timeout=int(ossea.timeout),
            method="post",
            verify=str(ossea.ca_file) if ossea.ca_file else None,
        )

    def request(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Call a command and return its answer.

        Raises AuthError, UnreachableError, PreconditionError (no capacity, quota) or OperationFailedError.
        """
        asking = nullcontext() if command.startswith(READING) else points.call(command)
        try:
            with asking:
                answer = getattr(self._cs, command)(**parameters)
        except CloudStackApiException as error:
            raise self._api_error(command, error.error) from None
        except requests.RequestException as error:
            raise UnreachableError(
                f"{self._where} does not answer",
                redact(f"{command}: {_reason(error)}"),
                "check ossea.api_url and the network, then run again",
            ) from None
        except (CloudStackException, ValueError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in GATEWAY:
                raise UnreachableError(
                    f"{self._where} does not answer",
                    f"{command}: HTTP {status}",
                    "look at the management server and at what stands before it, then run again",
                ) from None
            raise OperationFailedError(
                f"{self._where} answered {command} with something else than CloudStack's JSON",
                redact(str(error.args[0]) if error.args else type(error).__name__),
                "check ossea.api_url: it ends in /client/api",
            ) from None
        if not isinstance(answer, dict):
            raise OperationFailedError(
                f"{self._where}: {command} answered no object", redact(str(answer)), "report this"
            )
        return answer

    def list(self, command: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """Call a list command page by page; an empty answer has no list at all.

        A page may be shorter than asked for (a server's own limit), so the count decides where there is one; what moved
        from one page to the next meanwhile is taken once.
        """
        found: dict[str, dict[str, Any]] = {}
        page = seen = 0
        while True:
            page += 1
            answer = self.request(command, page=page, pagesize=PAGE, **parameters)
            part = answer.get(key) or []
            seen += len(part)
            for item in part:
                found[str(item.get("id", f"{page}.{len(found)}"))] = item
            count = answer.get("count")
            if not part or (len(part) < PAGE if count is None else seen >= int(count)):
                return [*found.values()]

    def run(self, command: str, jobs: AsyncJobs | None = None, **parameters: Any) -> dict[str, Any]:
        """Call an asynchronous command, wait for its job, and return the job's result."""
        jobs = jobs or Untracked()
        answer = self.request(command, **parameters)
        if "jobid" not in answer:
            return answer
        job_id = str(answer["jobid"])
        jobs.started(job_id, command)
        return self.wait(job_id, command, jobs)

    def wait(self, job_id: str, command: str, jobs: AsyncJobs | None = None) -> dict[str, Any]:
        """Wait for an asynchronous job and return its result as one object (`jobresult` unwrapped)."""
        jobs = jobs or Untracked()
        deadline = time.monotonic() + JOB_TIMEOUT_SECONDS
        heard, pause = time.monotonic(), FIRST_POLL_SECONDS
        while True:
            try:
                answer = self.request("queryAsyncJobResult", jobid=job_id)
            except (UnreachableError, OperationFailedError) as error:
                # The job goes on without us; only a cloud that stays away, or does not know the job, ends the wait.
                unknown = f"(error {UNKNOWN_ID})" in error.why
                if not unknown and time.monotonic() - heard < OUTAGE_SECONDS:
                    time.sleep(LONGEST_POLL_SECONDS)
                    continue
                jobs.ended(job_id, "lost")
                raise LostJobError(
                    f"{self._where}: the job of {command} is lost",
                    f"job {job_id}: {error.why}",
                    "what it was to do is looked for; see the events of that resource in CloudStack",
                ) from None
            heard = time.monotonic()
            status = _number(answer.get("jobstatus"), PENDING)
            if status == SUCCEEDED:
                jobs.ended(job_id, "succeeded")
                return _result(answer.get("jobresult"))
            if status == FAILED:
                jobs.ended(job_id, "failed")
                raise self._api_error(command, _job_error(answer))
            if time.monotonic() > deadline:
                jobs.ended(job_id, "lost")
                raise LostJobError(
                    f"{self._where}: {command} does not end",
                    f"job {job_id} has been pending for {JOB_TIMEOUT_SECONDS:.0f} s",
                    "look at the job in CloudStack, then run again",
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL_SECONDS, 1.5 * pause)

    def accepts(self, command: str, parameter: str) -> bool:
        """Return whether this cloud's version of a command takes a parameter: listApis knows, versions only hint."""
        apis = self.request("listApis", name=command).get("api") or []
        return any(parameter == given["name"] for api in apis for given in api.get("params") or [])

    def _api_error(self, command: str, error: Any) -> MigrateKitError:
        fields = error if isinstance(error, dict) else {"errortext": str(error)}
        code = _number(fields.get("errorcode"), 530)
        text = redact(str(fields.get("errortext") or "no reason given"))
        detail = fields.get("cserrorcode")
        # 9999 stands for "no exception in particular".
        exception = f", exception {detail}" if detail and str(detail) != "9999" else ""
        why = f"{command}: {text}{exception} (error {code})"
        if code in REFUSED_CREDENTIALS:
            return AuthError(
                f"{self._where} refused the call", why, "check ossea.api_key, ossea.secret_key and this host's clock"
            )
        if code in FORBIDDEN:
            return AuthError(
                f"{self._where} does not offer {command} to this account", why, "add it to the account's role"
            )
        if code in NO_CAPACITY:
            return PreconditionError(
                f"{self._where} has no room", why, "free capacity or raise the quota, then run again"
            )
        return OperationFailedError(
            f"{self._where} refused a call", why, "look at the events of that resource in CloudStack"
        )


def _number(value: Any, default: int) -> int:
    """Return a number that may have come as text, or not at all."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def _parsed(result: Any) -> Any:
    """Return a jobresult that came as text with JSON in it as what it says."""
    if isinstance(result, str) and result.lstrip().startswith("{"):
        try:
            return json.loads(result)
        except ValueError:
            return result
    return result


def _result(result: Any) -> dict[str, Any]:
    """Return what a job made: `{"volume": {…}}` becomes `{…}`, and text stays under `text`."""
    result = _parsed(result)
    if not isinstance(result, dict):
        return {"text": str(result)}
    if len(result) == 1:
        only = next(iter(result.values()))
        if isinstance(only, dict):
            return only
    return result


def _job_error(answer: dict[str, Any]) -> dict[str, Any]:
    """Return why a job failed: its result, which may be text or missing, and the code beside it."""
    result = _parsed(answer.get("jobresult"))
    error = result if isinstance(result, dict) else {"errortext": str(result or "no reason given")}
    return {"errorcode": answer.get("jobresultcode") or 530, **error}


def _reason(error: requests.RequestException) -> str:
    """Return the inmost text: the outer ones repeat the URL, with its signature."""
    cause: BaseException = error
    while True:
        inner = cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    return str(cause) or type(error).__name__


def by_name_or_id(found: list[dict[str, Any]], wanted: str, kind: str, setting: str) -> dict[str, Any]:
    """Return the resource that `wanted` names. Raises PreconditionError where none or several do."""
    matches = [item for item in found if wanted in (item.get("id"), item.get("name"))]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(sorted(str(item.get("name", "")) for item in found)) or "none"
    problem = "does not exist" if not matches else f"is ambiguous ({len(matches)} have that name)"
    raise PreconditionError(f"{kind} {wanted!r} {problem} in CloudStack", f"it has: {known}", f"set {setting}")
