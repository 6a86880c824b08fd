"""docs/troubleshooting.md names every code of an error, as the code itself explains it."""

from __future__ import annotations

import re

from migratekit_core.common.codes import ErrorCode
from tests import troubleshooting
from tests.troubleshooting import PAGE, explained, page, raised

MOST = 165
"""Codes: who has more tells apart what no operator would."""


def test_every_code_is_explained_once() -> None:
    told = list(explained())
    assert [each.code for each in told] == list(ErrorCode)
    assert len({each.meaning for each in told}) == len(told) < MOST
    assert all(each.section for each in told)


def test_every_code_is_raised_somewhere() -> None:
    exits = raised()
    assert not [code for code in ErrorCode if not exits.get(code)]
    assert exits[ErrorCode.PREFLIGHT_FAILED] == {4}, "by a class that hands its code on"
    assert exits[ErrorCode.VM_FULL] == {4}, "by the table of CloudStack's refusals"
    assert exits[ErrorCode.CERTIFICATE_EXPIRED] == {5}, "by the table of a handshake's"


def test_codes_are_words_with_dashes() -> None:
    for code in ErrorCode:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert code.name == code.value.replace("-", "_").upper()


def test_the_page_is_what_the_code_says() -> None:
    there = PAGE.read_text()
    assert page(there) == there, "python -m tests.troubleshooting"
    assert all(f"| `{code}` |" in there for code in ErrorCode)


def test_a_page_that_was_edited_is_put_right() -> None:
    there = PAGE.read_text()
    assert page(there.replace("| `gone` |", "| `lost-and-found` |")) == there
    assert troubleshooting.BEGIN in there and troubleshooting.END in there
