"""CloudStack's refusals, each by its recorded answer: what kind they are, and what an operator is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.adapters.cloudstack.errors import refusal
from migratekit_core.adapters.cloudstack.patience import (
    AT_ONCE,
    RESTARTS,
    InterruptedJobError,
    NeverSentError,
    Patience,
    await_result,
    through_restarts,
)
from migratekit_core.adapters.cloudstack.refusals import ROWS, Row, classify, page_size, retry_after, whose_limit
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError, PreconditionError, UnreachableError

DATA = Path(__file__).parents[1] / "data" / "cloudstack-4.22"


def recordings() -> dict[str, Any]:
    return {**json.loads((DATA / "answers-more.json").read_text()), **json.loads((DATA / "answers.json").read_text())}


def refused(recording: dict[str, Any]) -> tuple[int, str, bool]:
    """Return errorcode and text of a recorded refusal, and whether a job's result has it."""
    answer = next(iter(recording["answer"].values()))
    in_job = "errortext" not in answer
    error = next(iter(recording["job"].values()))["jobresult"] if in_job else answer
    return int(error["errorcode"]), str(error["errortext"]), in_job


RECORDINGS = recordings()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sample.recorded or f"{row.code}: {row.pattern}")
def test_each_row_has_a_sample_that_it_is_for(row: Row) -> None:
    sample = row.sample
    assert bool(sample.recorded) != bool(sample.unrecorded and sample.source)
    if sample.recorded:
        recording = RECORDINGS[sample.recorded]
        assert classify(recording["command"], *refused(recording)[:2], in_job=refused(recording)[2]) is row.code
    else:
        assert (row.status is not None and row.command) or row.pattern
        assert classify(row.command or "attachVolume", row.status or 0, sample.unrecorded, in_job=True) is row.code


def test_no_row_is_in_the_shade_of_another() -> None:
    for position, row in enumerate(ROWS):
        if not row.sample.recorded:
            continue
        status, text, in_job = refused(RECORDINGS[row.sample.recorded])
        first = next(
            number
            for number, other in enumerate(ROWS)
            if other.status in (None, status)
            and other.in_job in (None, in_job)
            and (not other.command or re.fullmatch(other.command, RECORDINGS[row.sample.recorded]["command"]))
            and (not other.pattern or re.search(other.pattern, text, re.IGNORECASE))
        )
        assert first == position, f"{ROWS[first].sample} answers for {row.sample.recorded}"


EXPECTED = {
    "attachVolume.full": ErrorCode.VM_FULL,
    "attachVolume.vm_has_snapshot": ErrorCode.VM_HAS_SNAPSHOTS,
    "detachVolume.vm_has_snapshot": ErrorCode.VM_HAS_SNAPSHOTS,
    "attachVolume.user.vm_of_another_account": ErrorCode.NOT_PERMITTED,
    "attachVolume.account_volume_to_project_vm": ErrorCode.DIFFERENT_ACCOUNTS,
    "queryAsyncJobResult.of_another_account": ErrorCode.NOT_PERMITTED,
    "createVolume.domain_limit": ErrorCode.QUOTA,
    "deployVirtualMachine.project.limit_cpus": ErrorCode.QUOTA,
    "listHypervisorCapabilities.user": ErrorCode.NOT_ALLOWED,
    "createVolume.project.not_member": ErrorCode.NOT_ALLOWED,
    "noSuchApi": ErrorCode.BAD_CREDENTIALS,
    "deployVirtualMachine.iptonetworklist.taken": ErrorCode.HIDDEN,
    "createSnapshot.kvm_snapshot_disabled": ErrorCode.HIDDEN,
    "destroyVirtualMachine.gone": ErrorCode.GONE,
    "queryAsyncJobResult.unknown": ErrorCode.GONE,
    "attachVolume.again": ErrorCode.ATTACHED_ELSEWHERE,
    "deleteVolume.attached": ErrorCode.ATTACHED_ELSEWHERE,
    "createSnapshot.never_attached": ErrorCode.NEVER_ATTACHED,
    "createSnapshot.during_snapshot": ErrorCode.WRONG_STATE,
    # Nothing to be done about these, and nothing is guessed.
    "attachVolume.deviceid_3": ErrorCode.UNKNOWN,
    "attachVolume.encrypted": ErrorCode.UNKNOWN,
    "createVolume.fixed_offering_with_size": ErrorCode.UNKNOWN,
    "startVirtualMachine.without_root": ErrorCode.UNKNOWN,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_refusals_are_what_they_are(name: str) -> None:
    status, text, in_job = refused(RECORDINGS[name])
    assert classify(RECORDINGS[name]["command"], status, text, in_job=in_job) is EXPECTED[name]


def test_full_is_said_of_full_only() -> None:
    said = {
        name
        for name, recording in RECORDINGS.items()
        if isinstance(recording["answer"], dict) and _is_refusal(recording)
        for status, text, in_job in [refused(recording)]
        if classify(recording["command"], status, text, in_job=in_job) is ErrorCode.VM_FULL
    }
    assert said == {"attachVolume.full"}


def _is_refusal(recording: dict[str, Any]) -> bool:
    answer = next(iter(recording["answer"].values()), None)
    if isinstance(answer, dict) and "errortext" in answer:
        return True
    job = next(iter((recording.get("job") or {"": {}}).values()))
    return isinstance(job, dict) and isinstance(job.get("jobresult"), dict) and "errortext" in job["jobresult"]


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("wrong_signature", AuthError, "wrong keys, or an unknown command"),
        ("listHosts.not_allowed", AuthError, "does not offer listHosts to this account"),
        ("attachVolume.project.not_member", AuthError, "belongs to another account"),
        ("createVolume.quota", PreconditionError, "the account's limit of volume"),
        ("createVolume.domain_limit", PreconditionError, "the domain's limit of volume"),
        ("createVolume.project.limit_primary_storage", PreconditionError, "the project's limit of primary_storage"),
        ("deployVirtualMachine.iptonetworklist.taken", OperationFailedError, "an address that was asked for is taken"),
        ("attachVolume.vm_has_snapshot", PreconditionError, "has VM snapshots"),
        ("destroyVirtualMachine.expunge_refused", AuthError, "does not let this account expunge"),
    ],
)
def test_each_kind_has_a_message_of_its_own(name: str, kind: type[Exception], part: str) -> None:
    recording = RECORDINGS[name]
    _, text, in_job = refused(recording)
    source = (
        next(iter(recording["answer"].values())) if not in_job else next(iter(recording["job"].values()))["jobresult"]
    )
    error = refusal("CloudStack", recording["command"], source, in_job=in_job)
    assert type(error) is kind
    assert part in error.what
    # CloudStack's own text is never left out.
    assert text[:40] in error.why
    assert error.todo


def test_numbers_are_taken_from_refusals_within_bounds() -> None:
    assert page_size(refused(RECORDINGS["listVolumes.default_page_size_5.pagesize_10"])[1]) == 5
    assert page_size("Page size can't exceed max allowed page size value: 0") is None
    assert page_size("Page size can't exceed max allowed page size value: 99999999999999999") is None
    assert retry_after(refused(RECORDINGS["createVolume.throttled"])[1]) == pytest.approx(13.398)
    assert retry_after("please retry after [soon] ms.") is None
    assert whose_limit("whatever") == "a limit"


def test_what_is_asked_again_and_what_never_is() -> None:
    patience = Patience(outage=150, throttled=600, busy=60)
    never_sent, away = (
        NeverSentError("", "refused", code=ErrorCode.UNKNOWN),
        UnreachableError("", "timed out", code=ErrorCode.UNKNOWN),
    )
    throttled = OperationFailedError("", "please retry after [13825] ms.", code=ErrorCode.THROTTLED)
    busy = OperationFailedError("", "", code=ErrorCode.WRONG_STATE)
    unknown = OperationFailedError("", "", code=ErrorCode.UNKNOWN)
    assert patience.pause(throttled, "createVolume", 0, 1) == pytest.approx(13.925)
    assert patience.pause(throttled, "createVolume", 590, 9) is None
    # Nothing was sent: the call may be made again, whatever it is.
    assert patience.pause(never_sent, "createVolume", 0, 1)
    assert patience.pause(never_sent, "createVolume", 151, 9) is None
    # It may have been carried out: only what changes nothing is asked again.
    assert patience.pause(away, "createVolume", 0, 1) is None
    assert patience.pause(away, "listVolumes", 0, 1)
    assert patience.pause(busy, "attachVolume", 0, 1)
    assert patience.pause(busy, "attachVolume", 61, 9) is None
    assert patience.pause(unknown, "attachVolume", 0, 1) is None
    assert AT_ONCE.pause(never_sent, "listVolumes", 0, 1) is None
    huge = OperationFailedError("", "please retry after [999999999] ms.", code=ErrorCode.THROTTLED)
    assert (patience.pause(huge, "listVolumes", 0, 1) or 0) <= 120


def test_what_a_restart_has_ended_is_looked_for_and_done_again() -> None:
    done: list[str] = []

    def ended() -> str:
        done.append("called")
        raise InterruptedJobError("restarted", code=ErrorCode.INTERRUPTED)

    with pytest.raises(InterruptedJobError):
        through_restarts(ended)
    assert len(done) == 1 + RESTARTS
    done.clear()
    assert through_restarts(ended, lambda: "found") == "found"
    assert len(done) == 1


def test_a_lost_answer_is_looked_for_also_while_nobody_answers() -> None:
    answers = iter([UnreachableError("", "away", code=ErrorCode.UNKNOWN), None, "found"])

    def look() -> str | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await_result(look, 60) == "found"
    assert await_result(lambda: None, 0) is None
