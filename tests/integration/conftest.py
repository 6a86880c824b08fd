"""The lab that most tests share, and its state put back after each of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest

from tests.integration import machines
from tests.integration.estate_fixture import source
from tests.integration.support import settle
from tests.lab.lab import Lab, running

__all__ = ["keeper", "lab", "shared_lab", "source"]


class Keeper:
    """Keeps one lab for the tests of a worker, and gives the next file another one after a test has failed."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._running = ExitStack()
        self._lab: Lab | None = None
        self.doubtful = False
        """Whether a test that had the lab has failed."""

    def lab(self) -> Lab:
        """Return a lab that no test has failed in."""
        if self._lab is None or self.doubtful:
            self.close()
            run = self._folders.mktemp("lab") / "run"
            self._lab = self._running.enter_context(running(run, preferred_ports=False, inventory=machines.shared))
        return self._lab

    def close(self) -> None:
        """Stop the lab."""
        self._running.close()
        self._lab, self.doubtful = None, False


_KEEPER = pytest.StashKey[Keeper]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test with the shared lab has failed: what it left there must not fail others."""
    report = yield
    if (
        report.failed
        and "shared_lab" in getattr(item, "fixturenames", ())
        and (keeper := item.session.stash.get(_KEEPER, None))
    ):
        keeper.doubtful = True
    return report


@pytest.fixture(scope="session")
def keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """Who keeps the lab of this worker."""
    made = request.session.stash[_KEEPER] = Keeper(tmp_path_factory)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_lab(keeper: Keeper) -> Lab:
    """One lab for every test that puts back what it breaks."""
    return keeper.lab()


@pytest.fixture
def lab(keeper: Keeper, shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab, without faults and with room before and after the test."""
    if keeper.doubtful:
        settle(shared_lab)
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
