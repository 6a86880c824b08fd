"""For how long a call to vCenter is made again, and which."""

from __future__ import annotations

import pytest

from migratekit_core.adapters.vsphere.patience import STARTING, Calls, FirstLogin, UnansweredError
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


def test_a_first_login_waits_for_a_proxy_only() -> None:
    policy = FirstLogin(10.0)
    for status in STARTING:
        error = UnreachableError("starts", code=ErrorCode.VCENTER_UNREACHABLE, facts={"status": status})
        assert policy.pause(error, "log in", 0.0, 1) is not None
        assert policy.pause(error, "log in", 9.9, 6) is None
    for error in (AWAY, UnreachableError("no", code=ErrorCode.VCENTER_UNREACHABLE, facts={"status": 404}), UNTRUSTED):
        assert policy.pause(error, "log in", 0.0, 1) is None
