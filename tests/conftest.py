"""Settings for all tests, and the check of every request that reaches a CloudStack double."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import forked
from tests.lab.cloudstack import violations

LONGEST = Path(__file__).parent / "longest.json"
"""Names of the files that take longest, longest first."""
MANY = 100
_seconds = Counter[str]()
"""How long each file has taken so far; it sums up what workers did."""

_SEEN = pytest.StashKey[int]()
"""How much of the file has been looked at."""

# The same examples in every run, so that a failure is a change's fault; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let files, and the tests of each, be run in another order."""
    parser.addoption(
        "--shuffle", metavar="SEED", help="run files, and the tests of each, in an order made of SEED; `now` makes one"
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Tell the seed of the order."""
    seed = _seed(config)
    return [f"shuffled: --shuffle {seed}"] if seed else []


def _seed(config: pytest.Config) -> str:
    """Return the seed of the order, the same for all workers; "" for the order of the files."""
    given: str = config.getoption("--shuffle") or ""
    return os.environ.setdefault("TEST_SHUFFLE_SEED", str(int(time.time()))) if given == "now" else given


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is left over at the end for one worker alone.

    With `--shuffle` in any order, but for the tests of a file that tells a story (`@pytest.mark.story`).
    """
    order = {name: place for place, name in enumerate(json.loads(LONGEST.read_text()))}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    if seed := _seed(config):
        place = {
            item: _any(seed, item.path.name, "" if item.get_closest_marker("story") else item.nodeid) for item in items
        }
        items.sort(key=place.__getitem__)


def _any(seed: str, file: str, test: str) -> tuple[float, float]:
    return random.Random(f"{seed} {file}").random(), random.Random(f"{seed} {test}").random()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each file takes."""
    _seconds[Path(report.location[0]).name] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down how long each file took, where it was all of them: `longest.json` is made from that."""
    if "PYTEST_XDIST_WORKER" not in os.environ and len(_seconds) > MANY:
        path = session.config.rootpath / ".bench" / "test-files.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({name: round(taken, 1) for name, taken in _seconds.most_common()}, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Have every CloudStack double that a test starts, by whatever way, tell in one file what no client may send."""
    forked.install()
    _seed(config)
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
