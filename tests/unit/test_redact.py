"""Nothing that is written down holds a secret, whatever it looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.redact import MASK, redact, redact_fields, remember

SECRET = "Zq7-opaque-value"


def test_a_known_secret_is_masked_everywhere_in_a_text() -> None:
    secret = remember("known-by-heart")
    assert redact(f"a {secret} b/{secret}") == f"a {MASK} b/{MASK}"


def test_a_secret_within_another_leaves_nothing_of_the_longer_one() -> None:
    remember("inner-part")
    remember("outer-inner-part-outer")
    assert redact("<outer-inner-part-outer>") == f"<{MASK}>"


def test_a_short_secret_does_not_make_texts_unreadable() -> None:
    remember("a")
    remember("")
    assert redact("a banana") == "a banana"


@pytest.mark.parametrize(
    "text",
    [
        f"GET /client/api?command=listVolumes&apiKey={SECRET}&response=json",
        f"GET /client/api?signature={SECRET}",
        f"https://x/?a=1&SECRETKEY={SECRET}&b=2",
        f"secret_key = {SECRET}",
        f"vcenter_password={SECRET}",
        f"password: {SECRET}",
        f"password='{SECRET} with spaces'",
        f'token="{SECRET}"',
        f"Authorization: Bearer {SECRET}",
        f"authorization: basic {SECRET}",
        json.dumps({"user": "u", "password": SECRET}),
        str({"user": "u", "api_key": SECRET}),
    ],
)
def test_what_looks_like_a_secret_is_masked_in_a_text(text: str) -> None:
    masked = redact(text)
    assert SECRET not in masked
    assert "with spaces" not in masked
    assert MASK in masked


def test_the_rest_of_a_query_stays_readable() -> None:
    masked = redact(f"https://x/api?command=listVolumes&apiKey={SECRET}&response=json")
    assert masked == f"https://x/api?command=listVolumes&apiKey={MASK}&response=json"


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWORD", "vcenter_password", "passwd", "passphrase", "secret_key", "api_key", "apiKey", "token",
     "access_token", "signature", "credential", "private_key", "privateKey"],
)  # fmt: skip
def test_a_value_under_a_telling_key_is_masked(key: str) -> None:
    assert redact_fields({key: SECRET, "volume": "v"}) == {key: MASK, "volume": "v"}


@pytest.mark.parametrize("held", [[SECRET], {"value": SECRET}, SECRET.encode(), ({"x": [SECRET]},)])
def test_a_structure_under_a_telling_key_holds_no_secret_either(held: object) -> None:
    assert SECRET not in json.dumps(redact_fields({"credentials": held}))


def test_nested_fields_are_masked_by_key_and_by_text() -> None:
    known = remember("deeply-hidden")
    fields = {"call": {"headers": [{"token": SECRET}, f"x {known}"], "ok": True}, "n": 3}
    assert redact_fields(fields) == {"call": {"headers": [{"token": MASK}, f"x {MASK}"], "ok": True}, "n": 3}


def test_a_key_that_holds_a_known_secret_is_masked() -> None:
    known = remember("used-as-a-key")
    assert redact_fields({f"by {known}": 1}) == {f"by {MASK}": 1}


def test_figures_stay_figures() -> None:
    fields = {"bytes": 12, "seconds": 0.5, "done": False, "none": None, "tokens": 4}
    assert redact_fields(fields) == fields


class Odd:
    """A value whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.builds(Odd)
    | st.sets(st.integers()) | st.builds(object),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=12,
)  # fmt: skip


@given(VALUES)
def test_any_value_becomes_one_that_json_can_hold(value: Any) -> None:
    json.dumps(redact_fields(value))


@given(st.text(), st.text())
def test_no_text_around_it_saves_a_known_secret(before: str, after: str) -> None:
    secret = remember("\U0001f511 between <texts>")
    assert secret not in redact(before + secret + after)
