"""What a client of the volume daemon says while it waits."""

from __future__ import annotations

from typing import Any

import pytest

from migratekit_core.common.errors import ErrorCode, OperationFailedError, UnreachableError
from migratekit_core.volumed import client
from migratekit_core.volumed.client import Endpoint, VolumeClient
from tests.lab.parts.process import choose_port


def nobody() -> Endpoint:
    """Return a loopback port where nobody listens."""
    return Endpoint(None, "127.0.0.1", choose_port(None))


def test_it_says_once_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 4.0)
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.3)
    said: list[str] = []
    where = nobody()
    with pytest.raises(UnreachableError):
        VolumeClient(where, "token", note=said.append).volumes()
    assert len(said) == 1, said
    assert said[0].startswith(f"waiting, up to 4 s: the volume daemon does not answer (127.0.0.1:{where.port}) (")


def test_a_daemon_that_is_away_for_a_moment_is_nobodys_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.5)
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
    refused = OperationFailedError("refused")
    answers.append(refused)
    with pytest.raises(OperationFailedError) as caught:
        asked.volumes()
    assert caught.value is refused, "nothing else is asked again"
