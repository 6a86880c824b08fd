"""Service offerings: which fit, what they have to be told, and which is taken where none is named."""

from __future__ import annotations

from typing import Any

import pytest

from migratekit_core.adapters.cloudstack.offerings import Choice, Size, fit, smallest
from tests.lab.cloudstack.catalogue import SERVICE_OFFERINGS

BY_NAME = {row["name"]: row for row in SERVICE_OFFERINGS}


def made(name: str, cpus: int | None = None, memory: int | None = None, **more: Any) -> dict[str, Any]:
    row = {"id": f"id-{name}", "name": name, "cpunumber": cpus, "memory": memory, "cpuspeed": 2000, **more}
    return {key: value for key, value in row.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "need", "cpus", "memory", "details"),
    [
        ("Medium Instance", Size(2, 2048), 2, 4096, {}),
        ("Custom Instance", Size(3, 3000), 3, 3000, {"cpuNumber": "3", "memory": "3000"}),
        ("Custom Bounded", Size(2, 512), 2, 1024, {"cpuNumber": "2", "memory": "1024"}),
        ("Custom Free", Size(2, 512), 2, 512, {"cpuNumber": "2", "memory": "512", "cpuSpeed": "1500"}),
    ],
)
def test_an_offering_fits(name: str, need: Size, cpus: int, memory: int, details: dict[str, str]) -> None:
    found = fit(BY_NAME[name], need, 1500)
    assert isinstance(found, Choice)
    assert (found.cpus, found.memory, found.details) == (cpus, memory, details)


@pytest.mark.parametrize(
    ("name", "need", "why"),
    [
        ("Small Instance", Size(2, 2048), "has 1 CPUs, the machine 2 and has 1024 MiB, the machine 2048"),
        ("Medium Instance", Size(4, 1024), "has 2 CPUs, the machine 4"),
        ("Custom Bounded", Size(5, 1024), "goes up to 4 CPUs, the machine has 5"),
        ("Custom Bounded", Size(2, 9000), "goes up to 8192 MiB, the machine has 9000"),
        ("Custom Instance", Size(1, 16), "gives none less than 32"),
    ],
)
def test_an_offering_does_not_fit_and_says_why(name: str, need: Size, why: str) -> None:
    found = fit(BY_NAME[name], need, 1000)
    assert isinstance(found, str)
    assert why in found


def test_what_a_custom_offering_fixes_is_not_given() -> None:
    found = fit(made("half", cpus=4, iscustomized=True), Size(2, 700), 1000)
    assert isinstance(found, Choice)
    assert (found.cpus, found.details) == (4, {"memory": "700"})


def test_the_smallest_that_fits_is_taken() -> None:
    fixed = [made("large", 8, 16384), made("medium", 4, 8192), made("small", 1, 1024)]
    assert smallest(fixed, Size(2, 2048), 1000) == fit(fixed[1], Size(2, 2048), 1000)
    # A custom one gives exactly what is needed; a fixed one that does so, too, is simpler.
    custom = made("custom", iscustomized=True)
    exact = made("exact", 2, 2048)
    assert smallest([*fixed, custom], Size(2, 2048), 1000) == fit(custom, Size(2, 2048), 1000)
    assert smallest([*fixed, custom, exact], Size(2, 2048), 1000) == fit(exact, Size(2, 2048), 1000)


@pytest.mark.parametrize(
    "more",
    [{"hosttags": "gpu"}, {"storagetype": "local"}, {"state": "Inactive"}, {"issystem": True}, {"isvolatile": True}],
)
def test_what_is_set_aside_is_not_taken_by_itself(more: dict[str, Any]) -> None:
    assert smallest([made("special", 2, 2048, **more)], Size(2, 2048), 1000) is None
    assert smallest([], Size(2, 2048), 1000) is None
