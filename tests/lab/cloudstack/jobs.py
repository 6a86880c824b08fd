"""Asynchronous jobs: a thread each, one at a time per virtual machine and volume, in the order they came."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .call import Work
from .errors import ApiError, as_job_result, in_job, runtime
from .model import Account, Job, now
from .state import Cloud, forget


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


def _run(cloud: Cloud, job_id: str, work: Work, orders: Orders) -> None:
    _wait_for_turn(cloud, job_id, work.resources)
    try:
        time.sleep(cloud.config.job_seconds + orders.seconds)
        if orders.failure:
            raise orders.failure
        result: Mapping[str, Any] = work.run()
        code = 0
    except ApiError as refusal:
        error = in_job(refusal)
        result, code = as_job_result(error), error.errorcode
    except Exception as error:  # a bug of ours is to the client what one of CloudStack's is
        result, code = as_job_result(runtime(f"{type(error).__name__}: {error}")), 530
    if code:
        work.undo()
    with cloud.turns:
        if job_id in cloud.jobs:
            done = replace(cloud.jobs[job_id], jobstatus=2 if code else 1, jobresultcode=code, jobresult=result)
            cloud.jobs[job_id] = replace(done, completed=now())
        for resource in work.resources:
            cloud.queues[resource].remove(job_id)
            if not cloud.queues[resource]:
                del cloud.queues[resource]
        cloud.turns.notify_all()


def _wait_for_turn(cloud: Cloud, job_id: str, resources: tuple[str, ...]) -> None:
    """All places were taken in one go, so two jobs can never wait for each other."""
    with cloud.turns:
        cloud.turns.wait_for(lambda: all(cloud.queues[resource][0] == job_id for resource in resources))
