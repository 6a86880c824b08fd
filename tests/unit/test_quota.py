"""What an account's limits leave, as listAccounts tells it."""

from __future__ import annotations

from typing import Any

import pytest

from migratekit_core.adapters.cloudstack.quota import Need, shortfalls


@pytest.mark.parametrize(
    ("account", "short"),
    [
        ({"volumelimit": "20", "volumeavailable": "2"}, []),
        ({"volumelimit": "20", "volumeavailable": "1"}, ["volumes: 2 needed, 1 left of 20"]),
        # A limit that was lowered under what is in use; -1 is then a number like others.
        ({"volumelimit": "3", "volumeavailable": "-1"}, ["volumes: 2 needed, 0 left of 3"]),
        ({"volumelimit": "0", "volumeavailable": "-4"}, ["volumes: 2 needed, 0 left of 0"]),
        ({"volumelimit": "Unlimited", "volumeavailable": "Unlimited"}, []),
        ({"volumelimit": "-1", "volumeavailable": "-1"}, []),
        ({}, []),
    ],
)
def test_what_is_left(account: dict[str, Any], short: list[str]) -> None:
    assert [str(each) for each in shortfalls(account, Need(volumes=2))] == short
