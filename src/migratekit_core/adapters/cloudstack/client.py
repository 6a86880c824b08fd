"""CloudStack's API through `cs`, its quirks handled once: errors, numbers as text, lists left out, async jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from typing import Any, Protocol

import requests
from cs import CloudStack, CloudStackApiException, CloudStackException
from urllib3.exceptions import NameResolutionError, NewConnectionError

from migratekit_core.adapters.cloudstack.errors import refusal
from migratekit_core.adapters.cloudstack.patience import (
    LONGEST_POLL,
    READING,
    InterruptedJobError,
    LostJobError,
    NeverSentError,
    Patience,
    poll_pause,
)
from migratekit_core.adapters.cloudstack.refusals import INTERNAL, number, page_size
from migratekit_core.common import failpoints as points
from migratekit_core.common import recording
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.patience import patiently
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import Ossea

Rows = list[dict[str, Any]]
PAGE = 500
"""CloudStack's default upper limit of a page (default.page.size); an operator may have set less."""
MOVED = 2
"""How often a list is asked for anew whose number of rows changed from one page to the next."""
IDS = 100
"""Ids in one call: 4 kB, well below what a server takes (a very long POST is answered with 404, recorded)."""
PENDING, SUCCEEDED, FAILED = 0, 1, 2
"""jobstatus of queryAsyncJobResult."""
GATEWAY = frozenset({500, 502, 503, 504})
"""HTTP codes of whatever stands before CloudStack, or of a server that starts; its own are 401, 431, 432, 53x."""

_page_sizes: dict[str, int] = {}
"""Largest page by the API's URL, where it was learned from a refusal."""


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

    def __init__(
        self, ossea: Ossea, patience: Patience | None = None, note: Callable[[str], None] | None = None
    ) -> None:
        """`note` is told, in a line for people, what is waited for."""
        self._url = ossea.api_url
        self._where = f"CloudStack {ossea.api_url}"
        self._patience = patience if patience is not None else Patience(outage=ossea.patience)
        self._note = note
        self._throttled = False
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
            session=_session(ossea, note),
        )

    def request(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Call a command and return its answer; ask again where that is safe and may help (ossea.patience).

        Raises AuthError, UnreachableError, PreconditionError or OperationFailedError; `code` says what was refused.
        """
        asking = nullcontext() if command.startswith(READING) else points.call(command)
        with asking:
            return self._patiently(command, lambda: self._once(command, parameters))

    def _patiently(self, command: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            try:
                return ask()
            except MigrateKitError as error:
                self._throttled = self._throttled or error.code is ErrorCode.THROTTLED
                raise

        return patiently(self._patience, command, once, self._note)

    def _once(self, command: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = getattr(self._cs, command)(**parameters)
        except CloudStackApiException as error:
            raise refusal(self._where, command, error.error) from None
        except requests.RequestException as error:
            kind = NeverSentError if _never_sent(error) else UnreachableError
            raise kind(
                f"{self._where} does not answer",
                redact(f"{command}: {_reason(error)}"),
                "check ossea.api_url and the network, then run again",
                code=ErrorCode.CLOUDSTACK_UNREACHABLE,
                facts={"command": command},
            ) from None
        except (CloudStackException, ValueError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in GATEWAY:
                raise UnreachableError(
                    f"{self._where} does not answer",
                    f"{command}: HTTP {status}",
                    "look at the management server and at what stands before it, then run again",
                    code=ErrorCode.CLOUDSTACK_UNREACHABLE,
                    facts={"command": command, "status": status},
                ) from None
            # Whoever answered may have passed the call on before: only a refusal says that nothing was done.
            lost = not command.startswith(READING)
            other = LostJobError if lost else OperationFailedError
            raise other(
                f"{self._where} answered {command} with something else than CloudStack's JSON",
                redact(str(error.args[0]) if error.args else type(error).__name__),
                "check ossea.api_url: it ends in /client/api",
                code=ErrorCode.LOST if lost else ErrorCode.UNKNOWN,
            ) from None
        if not isinstance(answer, dict):
            raise OperationFailedError(
                f"{self._where}: {command} answered no object",
                redact(str(answer)),
                "report this",
                code=ErrorCode.BAD_ANSWER,
                facts={"command": command},
            )
        return answer

    def list(self, command: str, key: str, /, **parameters: Any) -> Rows:
        """Call a list command page by page; an empty answer has no list at all.

        Without paging the server would cut the list and say nothing (recorded). A page that is larger than it allows is
        asked for in its size, from then on in the whole process.
        """
        while True:
            size = _page_sizes.get(self._url, PAGE)
            try:
                return self._pages(command, key, size, parameters)
            except OperationFailedError as error:
                allowed = page_size(error.why) if error.code is ErrorCode.PAGE_TOO_LARGE else None
                if allowed is None or allowed >= size:
                    raise
                _page_sizes[self._url] = allowed

    def _pages(self, command: str, key: str, size: int, parameters: dict[str, Any], again: int = MOVED) -> Rows:
        """Return all rows. A page may be shorter than asked for, so the count decides where there is one.

        What moved from one page to the next meanwhile is taken once. Where a row went, what moved to the page before
        would be missed, so all is asked for again, `again` times at most.
        """
        found: dict[str, dict[str, Any]] = {}
        seen, first = 0, None
        for page in count(1):
            answer = self.request(command, page=page, pagesize=size, **parameters)
            first = answer.get("count") if page == 1 else first
            part = answer.get(key) or []
            gone = not part and first is not None and seen < int(first)
            if again and (gone or answer.get("count", first) != first):
                return self._pages(command, key, size, parameters, again - 1)
            seen += len(part)
            for item in part:
                found[str(item.get("id", f"{page}.{len(found)}"))] = item
            total = answer.get("count")
            if not part or (len(part) < size if total is None else seen >= int(total)):
                break
        return [*found.values()]

    def tagged(self, command: str, list_key: str, resource_type: str, tag: str) -> Rows:
        """Return all rows of a list command that carry a tag with this key, whatever its value.

        A list command takes no tag filter without a value; `listTags` does, and gives the ids (recorded). A role
        without `listTags`, as roles for the last release were, reads the whole list instead.
        """
        try:
            rows = self.list("listTags", "tag", key=tag, resourcetype=resource_type)
        except AuthError as error:
            if error.code is not ErrorCode.NOT_ALLOWED:
                raise
            found = self.list(command, list_key)
        else:
            ids = [*dict.fromkeys(str(row["resourceid"]) for row in rows if row.get("resourceid"))]
            size = min(IDS, _page_sizes.get(self._url, PAGE))
            found = [
                row
                for start in range(0, len(ids), size)
                for row in self.list(command, list_key, ids=ids[start : start + size])
            ]
        return [row for row in found if any(one.get("key") == tag for one in row.get("tags") or [])]

    def run(self, command: str, jobs: AsyncJobs | None = None, **parameters: Any) -> dict[str, Any]:
        """Call an asynchronous command, wait for its job, and return the job's result.

        A job that was refused because a resource is busy is asked for again, as a call is.
        """
        jobs = jobs or Untracked()

        def once() -> dict[str, Any]:
            answer = self.request(command, **parameters)
            if "jobid" not in answer:
                return answer
            job_id = str(answer["jobid"])
            jobs.started(job_id, command)
            return self.wait(job_id, command, jobs)

        return self._patiently(command, once)

    def wait(self, job_id: str, command: str, jobs: AsyncJobs | None = None) -> dict[str, Any]:
        """Wait for an asynchronous job and return its result as one object (`jobresult` unwrapped).

        Raises InterruptedJobError where CloudStack was restarted meanwhile, LostJobError where nobody knows the job any
        more or it does not end, and the error of a job that failed.
        """
        jobs = jobs or Untracked()
        patience = self._patience
        began = heard = time.monotonic()
        for polls in count(1):
            try:
                answer = self.request("queryAsyncJobResult", jobid=job_id)
            except (UnreachableError, OperationFailedError) as error:
                # The job goes on without us; only a cloud that stays away, or does not know the job, ends the wait.
                away = isinstance(error, UnreachableError) and patience.outage > 0
                if error.code is not ErrorCode.GONE and not away and time.monotonic() - heard < patience.nonsense:
                    time.sleep(LONGEST_POLL)
                    continue
                jobs.ended(job_id, "lost")
                raise LostJobError(
                    f"{self._where}: the job of {command} is lost",
                    f"job {job_id}: {error.why}",
                    "what it was to do is looked for; see the events of that resource in CloudStack",
                    code=ErrorCode.LOST,
                ) from None
            heard = time.monotonic()
            status = number(answer.get("jobstatus"), PENDING)
            if status == SUCCEEDED:
                jobs.ended(job_id, "succeeded")
                return _result(answer.get("jobresult"))
            if status == FAILED:
                jobs.ended(job_id, "failed")
                raise self._failure(job_id, command, answer)
            if time.monotonic() > began + patience.job:
                jobs.ended(job_id, "lost")
                raise LostJobError(
                    f"{self._where}: {command} does not end",
                    f"job {job_id} has been pending for {patience.job:.0f} s",
                    "look at the job in CloudStack, then run again",
                    code=ErrorCode.LOST,
                )
            time.sleep(poll_pause(polls, self._throttled))
        raise AssertionError("count does not end")

    def _failure(self, job_id: str, command: str, answer: dict[str, Any]) -> MigrateKitError:
        if answer.get("jobresult") is None and number(answer.get("jobresultcode"), INTERNAL) == INTERNAL:
            # So end jobs that ran, or waited, when the management server was restarted (recorded).
            return InterruptedJobError(
                f"{self._where} was restarted while it worked on {command}",
                f"job {job_id} ended without a result (error {INTERNAL})",
                "run again: what became of it is looked for first",
                code=ErrorCode.INTERRUPTED,
            )
        return refusal(self._where, command, _job_error(answer), in_job=True)


def _session(ossea: Ossea, note: Callable[[str], None] | None) -> requests.Session:
    """Return a session that goes by ossea.proxy and by nothing of the environment (proxies, .netrc).

    It records what goes through it where that is asked for (--record).
    """
    session = _recorded(note) if recording.wanted() else requests.Session()
    session.trust_env = False
    if ossea.proxy is not None:
        session.proxies = {"http": ossea.proxy, "https": ossea.proxy}
    return session


def _recorded(note: Callable[[str], None] | None) -> requests.Session:
    from migratekit_core.adapters.cloudstack import record

    return record.session(note)


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


def _never_sent(error: requests.RequestException) -> bool:
    """Return whether no connection came about. A name that does not resolve is none of it: waiting does not help."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError) and not isinstance(reason, NameResolutionError)


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
    problem = "does not exist" if not matches else f"is ambiguous ({len(matches)} have that name)"
    raise PreconditionError(
        f"{kind} {wanted!r} {problem} in CloudStack",
        f"this account sees: {names_of(found)}",
        f"set {setting}",
        code=ErrorCode.NAME_UNKNOWN,
        facts={"kind": kind, "wanted": wanted},
    )


def names_of(rows: Rows, most: int = 8) -> str:
    """Return the names of rows for a message: the first few, and how many more there are."""
    names = sorted(str(row.get("name", "")) for row in rows)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
