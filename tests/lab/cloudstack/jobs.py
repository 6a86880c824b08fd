"""Asynchronous jobs: a thread each, one at a time per virtual machine, in the order they came.

A job first looks at the rules, whatever else goes on; then it waits for its turn, and works.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .call import Work
from .errors import ApiError, as_job_result, in_job, runtime
from .model import Account, Job, now
from .state import Cloud, forget

CANCELLED = "Job is cancelled as it has been blocking others for too long"
INTERRUPT_SECONDS = 30.0
"""How long what jobs are about to do may take to end, when the server is restarted."""


@dataclass(frozen=True)
class Orders:
    """What the fault injector wants of one job."""

    seconds: float = 0.0
    failure: ApiError | None = None
    vanish: bool = False


def submit(cloud: Cloud, account: Account, cmd: str, work: Work, orders: Orders) -> str:
    """Must be called under the lock that the command was checked under, so that its place in the queue is its own."""
    job = Job(str(uuid.uuid4()), account.name, cmd, work.instancetype, work.instanceid, now())
    cloud.jobs[job.id] = job
    for resource in work.resources:
        cloud.queues.setdefault(resource, deque()).append(job.id)
    threading.Thread(target=_run, args=(cloud, job.id, work, orders), name=f"job-{cmd}", daemon=True).start()
    if orders.vanish:
        forget(cloud, "job", job.id)
    return job.id


def pending_on(cloud: Cloud, resource: str) -> str | None:
    """The job that is at work (or next) on a resource."""
    queue = cloud.queues.get(resource)
    return queue[0] if queue else None


class _Interrupted(Exception):
    """The management server was restarted under the job."""


def _run(cloud: Cloud, job_id: str, work: Work, orders: Orders) -> None:
    def back() -> None:
        """Nothing to put back yet."""

    try:
        with cloud.lock:
            work.check()
        _wait_for_turn(cloud, job_id, work.resources)
        with cloud.lock:
            back = work.begin()
        _pass_time(cloud, job_id, cloud.config.job_seconds + work.seconds + orders.seconds, work.resources)
        if orders.failure:
            raise orders.failure
        result: Mapping[str, Any] = work.run()
        code = 0
    except _Interrupted:
        with cloud.lock:
            back()
            (work.interrupted or work.undo)()
            _leave(cloud, job_id, work.resources)
        return
    except ApiError as refusal:
        error = in_job(refusal)
        result, code = as_job_result(error), error.errorcode
    except Exception as error:  # a bug of ours is to the client what one of CloudStack's is
        result, code = as_job_result(runtime(f"{type(error).__name__}: {error}")), 530
    if code:
        with cloud.lock:
            back()
        work.undo()
    with cloud.lock:
        # What was cancelled is told as that, and done all the same.
        if job_id in cloud.jobs and job_id not in cloud.interrupted and cloud.jobs[job_id].jobstatus == 0:
            done = replace(cloud.jobs[job_id], jobstatus=2 if code else 1, jobresultcode=code, jobresult=result)
            cloud.jobs[job_id] = replace(done, completed=now())
        _leave(cloud, job_id, work.resources)


def _leave(cloud: Cloud, job_id: str, resources: tuple[str, ...]) -> None:
    """Give up the job's places. Called under the lock."""
    for resource in resources:
        if job_id not in cloud.queues.get(resource, ()):
            continue  # it was cancelled
        cloud.queues[resource].remove(job_id)
        if not cloud.queues[resource]:
            del cloud.queues[resource]
    cloud.turns.notify_all()


def _wait_for_turn(cloud: Cloud, job_id: str, resources: tuple[str, ...]) -> None:
    """Wait until no earlier job is left on its machine or snapshot; jobs on one volume do not wait for each other.

    All places were taken in one go, so two jobs can never wait for each other.
    """
    waited = [resource for resource in resources if not resource.startswith("volume:")]
    with cloud.turns:
        cloud.turns.wait_for(
            lambda: job_id in cloud.interrupted or all(cloud.queues[resource][0] == job_id for resource in waited)
        )
        if job_id in cloud.interrupted:
            raise _Interrupted


def _pass_time(cloud: Cloud, job_id: str, seconds: float, resources: tuple[str, ...]) -> None:
    """Let a job take its time. One that holds others up for longer than job.cancel.threshold.minutes is told as failed
    and gives up its places; its work goes on, and is done."""
    most = cloud.config.job_cancel_minutes * 60
    with cloud.turns:
        if cloud.turns.wait_for(lambda: job_id in cloud.interrupted, min(seconds, most)):
            raise _Interrupted
        if seconds <= most:
            return
        if job_id in cloud.jobs:
            cloud.jobs[job_id] = replace(cloud.jobs[job_id], jobstatus=2, words=CANCELLED, completed=now())
        _leave(cloud, job_id, resources)
        if cloud.turns.wait_for(lambda: job_id in cloud.interrupted, seconds - most):
            raise _Interrupted


def interrupt(cloud: Cloud) -> None:
    """End every job as a restart of the server does, without a result, and wait until what it did is put back."""
    with cloud.turns:
        running = {job_id for queue in cloud.queues.values() for job_id in queue}
        running |= {job.id for job in cloud.jobs.values() if job.jobstatus == 0}
        cloud.interrupted |= running
        for job_id in running & cloud.jobs.keys():
            cloud.jobs[job_id] = replace(cloud.jobs[job_id], jobstatus=2, jobresultcode=530, completed=now())
        cloud.turns.notify_all()
        cloud.turns.wait_for(lambda: not cloud.queues, INTERRUPT_SECONDS)
