"""What a client of the volume daemon says while it waits."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from migratekit_core.common import patience
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, OperationFailedError, UnreachableError
from migratekit_core.volumed import client
from migratekit_core.volumed.client import Endpoint, VolumeClient
from migratekit_core.volumed.patience import Patience
from tests.lab.parts.process import choose_port


def nobody() -> Endpoint:
    """Return a loopback port where nobody listens."""
    return Endpoint(None, "127.0.0.1", choose_port(None))


def test_it_says_once_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "Patience", partial(Patience, outage=4.0))
    monkeypatch.setattr(patience, "QUIET_SECONDS", 0.3)
    said: list[str] = []
    where = nobody()
    with pytest.raises(UnreachableError):
        VolumeClient(where, "token", note=said.append).volumes()
    assert len(said) == 1, said
    assert said[0].startswith(f"waiting, up to 4 s: the volume daemon does not answer (127.0.0.1:{where.port}) (")


def test_a_daemon_that_is_away_for_a_moment_is_nobodys_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "Patience", partial(Patience, outage=0.5))
    said: list[str] = []
    with pytest.raises(UnreachableError):
        VolumeClient(nobody(), "token", note=said.append).volumes()
    assert said == []


def test_a_request_that_cloudstack_throttles_longer_than_the_daemon_waits_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [OperationFailedError("limited", "please retry after [59000] ms.", code=ErrorCode.THROTTLED)] * 2
    asked = VolumeClient(nobody(), "token")

    def once(method: str, path: str, **arguments: Any) -> dict[str, Any]:
        if answers:
            raise answers.pop()
        return {"volumes": []}

    monkeypatch.setattr(asked, "_once", once)
    assert asked.volumes() == []
    refused = OperationFailedError("refused", code=ErrorCode.UNKNOWN)
    answers.append(refused)
    with pytest.raises(OperationFailedError) as caught:
        asked.volumes()
    assert caught.value is refused, "nothing else is asked again"


def test_what_is_made_again_and_what_never_is() -> None:
    policy = Patience(outage=10, busy=3)
    away, busy = UnreachableError("", "", code=ErrorCode.UNKNOWN), BusyError("", "", code=ErrorCode.UNKNOWN)
    throttled = OperationFailedError("", "", code=ErrorCode.THROTTLED)
    for error in (away, throttled):
        assert policy.pause(error, "/api/v1/volumes", 0, 1)
        assert policy.pause(error, "/api/v1/volumes", 10, 9) is None
    assert policy.pause(busy, "/api/v1/volumes", 3, 9)
    assert policy.pause(busy, "/api/v1/volumes", 3.1, 9) is None
    assert policy.pause(OperationFailedError("", "", code=ErrorCode.UNKNOWN), "/api/v1/volumes", 0, 1) is None
