"""Errors of ours, as tests expect them: by class, code and facts, and not by their wording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import Fact, MigrateKitError


@contextmanager
def raises(
    kind: type[MigrateKitError], code: ErrorCode, **facts: Fact
) -> Iterator[pytest.ExceptionInfo[MigrateKitError]]:
    """Expect an error of this class and code, and at least these facts, within the block."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code is code, caught.value
    assert {name: caught.value.facts.get(name) for name in facts} == facts
