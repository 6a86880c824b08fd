"""What is told of volumes that are moved to the new machine."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.services.failover.moving import move


class Volumes:
    """The daemon, as far as it attaches and detaches."""

    def __init__(self, **moved: str) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._moved = moved
        self.holder: dict[str, str | None] = {"a": "oma", "b": "oma", "c": "new"}

    def get(self, volume_id: str) -> dict[str, Any]:
        return {"vm_id": self.holder[volume_id]}

    def unexport(self, volume_id: str) -> None:
        self.calls.append(("unexport", volume_id))

    def detach(self, volume_id: str) -> None:
        self.calls.append(("detach", volume_id))

    def attach(self, volume_id: str, vm_id: str, device_id: int) -> dict[str, str]:
        if device_id == 1 and "fails" in self._moved:
            raise OperationFailedError("no", "it fails", "", code=ErrorCode.UNKNOWN)
        self.calls.append(("attach", volume_id, vm_id, str(device_id)))
        return self._moved


def moved(volumes: Any) -> list[tuple[str, dict[str, Any]]]:
    told: list[tuple[str, dict[str, Any]]] = []
    step = SimpleNamespace(log=lambda kind, **fields: told.append((str(kind.value), fields)))
    job: Any = SimpleNamespace(step=lambda name: nullcontext(step), stop_if_cancelled=lambda: None)
    move(volumes, job, "new", ["a", "b", "c"])
    return told


def test_each_is_moved_in_order_and_what_is_there_stays() -> None:
    volumes = Volumes()
    moved(volumes)
    attached = [call for call in volumes.calls if call[0] == "attach"]
    assert attached == [("attach", "a", "new", "0"), ("attach", "b", "new", "1")]
    assert [call[1] for call in volumes.calls if call[0] == "detach"] == ["a", "b"]


def test_a_volume_that_is_on_another_pool_then_is_told() -> None:
    told = moved(Volumes(moved_from="pool-1", moved_to="pool-2"))
    pools = [fields for kind, fields in told if kind == "volume-moved-pool"]
    assert [(one["volume_id"], one["before"], one["after"]) for one in pools] == [
        ("a", "pool-1", "pool-2"),
        ("b", "pool-1", "pool-2"),
    ]


def test_an_attach_that_fails_beside_a_detach_is_raised() -> None:
    with pytest.raises(OperationFailedError):
        moved(Volumes(fails="yes"))
