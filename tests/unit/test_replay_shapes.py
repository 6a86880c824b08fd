"""What the replay of recorded answers compares (tests/integration/replay/shapes.py) tells answers apart."""

from __future__ import annotations

import pytest

from tests.integration.replay.shapes import differences, plain, shape

ROW = {"id": "a", "size": 1, "tags": [{"key": "k"}]}


def compared(recorded: object, answered: object) -> list[str]:
    return list(differences(shape(recorded), shape(answered)))


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        (ROW, []),
        ({"id": "b", "size": 7, "tags": [{"key": "x"}, {"key": "y"}]}, []),
        ({"id": "a", "tags": [{"key": "k"}]}, ["missing rows.size"]),
        (ROW | {"path": "p"}, ["too much rows.path"]),
        (ROW | {"size": "1"}, ["rows.size: int was recorded, the double has str"]),
        (ROW | {"size": True}, ["rows.size: int was recorded, the double has bool"]),
        (ROW | {"tags": []}, ["rows.tags: rows was recorded, the double has nothing"]),
        (ROW | {"tags": [{"key": "k", "value": "v"}]}, ["too much rows.tags.value"]),
    ],
)
def test_fields_and_types_are_compared(answered: object, found: list[str]) -> None:
    assert compared({"rows": [ROW]}, {"rows": [answered]}) == found


def test_the_rows_of_a_list_are_compared_together() -> None:
    assert compared({"rows": [{"a": 1}, {"b": 2}]}, {"rows": [{"a": 1, "b": 2}]}) == []
    assert compared({"rows": [{"a": 1}, {"b": 2}]}, {"rows": [{"a": 1}]}) == ["missing rows.b"]
    assert compared({"count": 1, "rows": [ROW]}, {}) == ["missing count", "missing rows"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("VM i-4-3-VM/d59ba11f-aaf6-4446-8d8f-89e2329353d8 is full (6)", "VM i-2-17-VM/" + "0" * 8 + "-0000" * 3 + "-"
         + "0" * 12 + " is full (32)", True),
        ('vol Volume {"id":195,"name":"dv0"} on vm', 'vol Volume {"id": 1, "name": "x", "a": {"b": 1}} on vm', True),
        ('Account [{"accountName":"mig","id":4}]; please', 'Account [{"accountName":"admin","id":1}]; please', True),
        ("Root volume detach can happen only when", "A root volume can be detached only when", False),
        ("needs a size of 1 GB", "needs a size of 1 TB", False),
    ],
)  # fmt: skip
def test_texts_are_compared_without_numbers_ids_and_entities(one: str, other: str, same: bool) -> None:
    assert (plain(one) == plain(other)) is same
