"""The lab that most tests share, and its state put back after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import machines
from tests.integration.estate_fixture import source
from tests.lab.lab import Lab, running

__all__ = ["lab", "shared_lab", "source"]


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for every test that puts back what it breaks."""
    with running(tmp_path_factory.mktemp("lab") / "run", preferred_ports=False, inventory=machines.shared) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab, without faults and with room before and after the test."""
    yield shared_lab
    shared_lab.vcenter.clear_faults()
    shared_lab.cloud.clear_faults()
    shared_lab.cloud.room(None)
    shared_lab.cloud.default_settings()
    shared_lab.cloud.account()


@pytest.fixture(params=[0, 2], ids=["loop", "carriers"])
def carriers(request: pytest.FixtureRequest) -> int:
    """Both ways in which the engine moves data: how many threads carry pieces from the start."""
    count: int = request.param
    return count
