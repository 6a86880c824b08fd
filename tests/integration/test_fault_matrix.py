"""Each part of a copy is killed at a random moment; `make matrix` does the same fifty times each (FAULTS_COUNT)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.matrix import BOUND, KINDS, VICTIMS, disturb
from tests.faults.stage import Images

COUNT = int(os.environ.get("FAULTS_COUNT", "1"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
OUTCOMES = {"engine": {"failed"}, "parent": {"killed"}}
"""How a disturbed run may end, besides finishing; what comes back is waited for, what stays away is not."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The disks that all runs start from."""
    return Images.make(tmp_path_factory.mktemp("images"))


@pytest.mark.timeout(60 * COUNT + 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_at_a_random_moment(tmp_path: Path, images: Images, victim: str, kind: str) -> None:
    for run in disturb(tmp_path, images, victim, kind, COUNT, SEED).runs:
        # What is killed before the first connection is not waited for.
        assert run.outcome in {"finished", "unreachable", *OUTCOMES.get(victim, {"interrupted"})}, run
        assert run.identical, run
        assert run.again <= BOUND, run
