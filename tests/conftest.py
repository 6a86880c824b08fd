"""Settings for all tests, and the check of every request that reaches a CloudStack double."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import forked
from tests.lab.cloudstack import violations

_SEEN = pytest.StashKey[int]()
"""How much of the file has been looked at."""

# The same examples in every run, so that a failure is a change's fault; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_configure(config: pytest.Config) -> None:
    """Have every CloudStack double that a test starts, by whatever way, tell in one file what no client may send."""
    forked.install()
    folder = Path(tempfile.mkdtemp(prefix="mk-violations-"))
    os.environ[violations.VARIABLE] = str(folder / violations.FILE)
    config.stash[_SEEN] = 0
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell the doubles which test runs: what one has asked listApis, another one has not."""
    forked.started_really = item.get_closest_marker("real_start") is not None
    Path(os.environ[violations.VARIABLE]).with_suffix(violations.TEST).write_text(item.nodeid)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fail a test that had CloudStack asked what no client may ask; one that does so on purpose is marked."""
    yield
    path, seen = Path(os.environ[violations.VARIABLE]), item.config.stash[_SEEN]
    found = violations.read(path, seen)
    if found:
        item.config.stash[_SEEN] = path.stat().st_size
    if found and item.get_closest_marker("bad_requests") is None:
        pytest.fail("requests that no client may send to CloudStack:\n" + "\n".join(found), pytrace=False)
