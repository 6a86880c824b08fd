"""The report of a wave as people see it: in a real browser, on a desktop, a phone and paper."""

from __future__ import annotations

import subprocess
from pathlib import Path

from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases
from migratekit_core.db.migrate import upgrade_both
from tests.integration import browser
from tests.lab.lab import COMMAND, environment
from tests.unit import sample_wave


def test_a_report_is_one_page_that_fits_and_asks_nobody(tmp_path: Path) -> None:
    databases = open_databases(Database(directory=tmp_path / "db"))
    upgrade_both(databases)
    sample_wave.make(databases.oma)
    databases.dispose()
    config, page = tmp_path / "config.toml", tmp_path / "wave.html"
    config.write_text(f'[database]\ndirectory = "{tmp_path / "db"}"\n')
    done = subprocess.run(
        [COMMAND, "--config", str(config), "wave", "report", "shop-1", "--html", str(page)],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with browser.chromium() as opened:
        for name, size, media in (
            ("desktop", browser.DESKTOP, ""),
            ("phone", browser.PHONE, ""),
            ("paper", (794, 1123), "print"),
        ):
            seen = browser.look(opened, page, size, tmp_path / f"{name}.png", media=media)
            assert (seen.errors, seen.requests, seen.wide) == ([], [], []), name
            assert seen.width <= size[0], name
            # What an error said is text, not a part of the page.
            assert seen.title == "Wave shop-1: report"
