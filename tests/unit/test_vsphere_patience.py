"""For how long a call to vCenter is made again, and which."""

from __future__ import annotations

from typing import Any

import pytest

from migratekit_core.adapters.vsphere.patience import (
    FIRST_LOGIN_SECONDS,
    STARTING,
    Calls,
    FirstLogin,
    UnansweredError,
)
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, UnreachableError

FORWARD, UNDOING = Calls(900.0), Calls(900.0, undoing=True)
AWAY = UnreachableError("away", code=ErrorCode.VCENTER_UNREACHABLE)
UNTRUSTED = UnreachableError("untrusted", code=ErrorCode.VCENTER_UNTRUSTED)
REFUSED = AuthError("refused", code=ErrorCode.VCENTER_LOGIN_REFUSED)
ENDED = AuthError("ended", code=ErrorCode.VCENTER_SESSION_ENDED)
LACKING = AuthError("lacking", code=ErrorCode.VCENTER_PRIVILEGE_MISSING)
NONSENSE = OperationFailedError("nonsense", code=ErrorCode.BAD_ANSWER)
UNANSWERED = UnansweredError("unanswered", code=ErrorCode.VCENTER_UNREACHABLE)


@pytest.mark.parametrize(
    ("error", "forward", "undoing"),
    [
        (AWAY, True, True),
        (ENDED, True, True),
        (UNTRUSTED, False, True),
        (REFUSED, False, True),
        (LACKING, False, False),
        (NONSENSE, False, False),
        (UNANSWERED, False, False),
    ],
)
def test_what_is_tried_again(error: MigrateKitError, forward: bool, undoing: bool) -> None:
    assert (FORWARD.pause(error, "Fetch", 0.0, 1) is not None) is forward
    assert (UNDOING.pause(error, "Fetch", 0.0, 1) is not None) is undoing


@pytest.mark.parametrize("error", [AWAY, UNTRUSTED, REFUSED])
def test_it_ends(error: MigrateKitError) -> None:
    assert UNDOING.pause(error, "Fetch", 899.9, 50) is None


def test_a_wrong_password_locks_no_account_out() -> None:
    """vSphere's default: five failed logins within 180 s."""
    logins, waited = [0.0], 0.0
    while (pause := UNDOING.pause(REFUSED, "Fetch", waited, len(logins))) is not None:
        waited += pause
        logins.append(waited)
    assert len(logins) > 5
    assert all(sum(begin <= at < begin + 180 for at in logins) < 5 for begin in logins)


def away(**facts: Any) -> UnreachableError:
    return UnreachableError("away", code=ErrorCode.VCENTER_UNREACHABLE, facts=facts)


WHAT_PASSES = [*[away(status=status) for status in STARTING], away(connected=True), away(fault="SystemError")]
WHAT_STAYS = [away(connected=False), away(), away(status=404), UNTRUSTED, REFUSED, LACKING]


@pytest.mark.parametrize("number", range(len(WHAT_PASSES)))
def test_a_first_login_waits_for_who_was_reached(number: int) -> None:
    error, waited, attempt = WHAT_PASSES[number], 0.0, 1
    policy = FirstLogin(FIRST_LOGIN_SECONDS)
    while (pause := policy.pause(error, "log in", waited, attempt)) is not None:
        waited, attempt = waited + pause, attempt + 1
    assert waited <= FIRST_LOGIN_SECONDS
    assert 2 < attempt < 5, "five unanswered logins within three minutes may lock an account out"


@pytest.mark.parametrize("number", range(len(WHAT_STAYS)))
def test_a_first_login_does_not_wait_for_wrong_settings(number: int) -> None:
    assert FirstLogin(FIRST_LOGIN_SECONDS).pause(WHAT_STAYS[number], "log in", 0.0, 1) is None


def test_a_first_login_with_late_answers_is_tried_twice() -> None:
    policy = FirstLogin(FIRST_LOGIN_SECONDS)
    assert policy.pause(away(connected=True), "log in", FIRST_LOGIN_SECONDS + 5, 1) is not None
    assert policy.pause(away(connected=True), "log in", 2 * FIRST_LOGIN_SECONDS, 2) is None
    assert FirstLogin(0.0).pause(away(connected=True), "log in", 0.0, 1) is None
