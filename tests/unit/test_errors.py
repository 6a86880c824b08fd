"""Exit codes are an interface: they are what DESIGN.md says, and survive the way between processes."""

from __future__ import annotations

import pytest

from migratekit_core.common import errors
from migratekit_core.common.codes import ErrorCode

CODES = {
    "OperationFailedError": 1,
    "UsageError": 2,
    "PreconditionError": 4,
    "AuthError": 5,
    "UnreachableError": 6,
    "SchemaMismatchError": 7,
    "BusyError": 8,
    "CancelledError": 130,
}


def test_each_class_has_the_exit_code_of_the_design() -> None:
    kinds = errors.MigrateKitError.__subclasses__()
    here = {kind.__name__: kind.exit_code for kind in kinds if kind.__module__ == errors.__name__}
    # A process that was stopped tells no error: 130 comes from nowhere else.
    assert here == {**CODES, "CancelledError": 130}
    assert errors.INTERRUPTED_EXIT_CODE == 130


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_an_error_comes_back_as_its_class(name: str, code: int) -> None:
    error = errors.from_fields({"what": "what", "why": "why", "todo": "todo", "exit_code": code})
    assert type(error).__name__ == name
    assert (error.what, error.why, str(error.todo), error.exit_code) == ("what", "why", "todo", code)


@pytest.mark.parametrize("code", [0, -9, 3, 9, 255])
def test_an_unknown_code_is_a_failure(code: int) -> None:
    assert (
        type(errors.from_fields({"what": "what", "why": "", "todo": "", "exit_code": code}))
        is errors.OperationFailedError
    )


def test_the_text_is_what_and_why() -> None:
    assert str(errors.UsageError("what", "why", "todo", code=ErrorCode.UNKNOWN)) == "what: why"
    assert str(errors.UsageError("what", code=ErrorCode.UNKNOWN)) == "what"
