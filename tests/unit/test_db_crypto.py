"""Stored secrets: back with the key they were stored with, and with no other."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.errors import AuthError, UsageError
from migratekit_core.db.crypto import decrypt, encrypt


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


KEY = new_key()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_secret_comes_back(secret: str) -> None:
    assert decrypt(encrypt(secret, KEY), KEY) == secret


def test_what_is_stored_does_not_show_the_secret() -> None:
    stored = encrypt("the-api-key", KEY)
    assert "the-api-key" not in stored
    assert b"the-api-key" not in base64.urlsafe_b64decode(stored)
    assert encrypt("the-api-key", KEY) != stored


def test_another_key_is_refused() -> None:
    with pytest.raises(AuthError) as caught:
        decrypt(encrypt("x", KEY), new_key())
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "damaged", ["", "plain text", encrypt("x", KEY)[:-6] + "AAAA=="], ids=["empty", "plain", "cut"]
)
def test_what_was_changed_is_refused(damaged: str) -> None:
    with pytest.raises(AuthError):
        decrypt(damaged, KEY)


@pytest.mark.parametrize("key", ["", "short", KEY[:-4], "é" * 44, "!" * 44], ids=range(5))
def test_what_is_no_key_is_refused_without_repeating_it(key: str) -> None:
    for use in (lambda: encrypt("x", key), lambda: decrypt("x", key)):
        with pytest.raises(UsageError) as caught:
            use()
        assert not key or key not in str(caught.value) + str(caught.value.todo)
