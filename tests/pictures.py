"""`python -m tests.pictures`: draws docs/jobs-watch.png and docs/report-*.png anew, of a made-up joblog and by the real
command line in a terminal of 80 columns and a real browser."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from migratekit_core.joblog import Tracker
from tests.integration import browser, sample_joblog
from tests.lab.lab import COMMAND, environment

DOCS = Path(__file__).resolve().parents[1] / "docs"
GIB, MIB = 1 << 30, 1 << 20
PAGE = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0; background: #15191e; }}
pre {{ margin: 0; padding: 14px; font: 13px/1.35 "DejaVu Sans Mono", monospace; color: #e6e9ed; }}</style>
<pre>{}</pre>"""


def terminal(*arguments: str) -> str:
    """Run the command line on a terminal of 80 columns; return what it wrote there."""
    outer, inner = pty.openpty()
    subprocess.run(["stty", "cols", "80", "rows", "30"], stdin=inner, check=True)
    process = subprocess.Popen(
        [COMMAND, *arguments], stdin=inner, stdout=inner, stderr=inner, env={**environment(), "TERM": "xterm-256color"}
    )
    os.close(inner)
    written = b""
    try:
        while chunk := os.read(outer, 65536):
            written += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    process.wait()
    os.close(outer)
    return written.decode()


def drawn(text: str) -> str:
    """Return a terminal's text as HTML."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=80, file=io.StringIO())
    console.print("$ migratekit jobs watch", highlight=False)
    console.print(Text.from_ansi(text.replace("\r", "")))
    return console.export_html(inline_styles=True, code_format="{code}")


def watch(config: Path, tracker: Tracker) -> str:
    """Return `jobs watch` while two machines are copied and one is cut over."""
    with (
        tracker.job("replication", owner="web01") as one,
        one.step("copy"),
        tracker.job("failover", owner="db01") as over,
        over.step("final-sync"),
        tracker.job("replication", owner="db01", parent=over) as inner,
        inner.step("copy"),
        tracker.job("verify", owner="archive") as check,
        check.step("compare"),
        tracker.job("test-failover", owner="mail02") as test,
        test.step("clone-volumes"),
    ):
        one.progress("Hard disk 1", 40 * GIB, 40 * GIB, 0)
        one.progress("Hard disk 2", 74 * GIB, 120 * GIB, 91.4 * MIB)
        inner.progress("Hard disk 1", 380 * MIB, 512 * MIB, 44.0 * MIB)
        check.progress("Hard disk 1", 1433 * GIB, 2048 * GIB, 612 * MIB)
        return terminal("--config", str(config), "jobs", "watch", "--once")


def main() -> int:
    """Draw all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        state, page = Path(folder) / "db", Path(folder) / "page.html"
        config = Path(folder) / "config.toml"
        config.write_text(f'[database]\ndirectory = "{state}"\n[networks.map]\n"Spare Network" = "guest-spare"\n')
        databases = sample_joblog.make(state)
        page.write_text(PAGE.format(drawn(watch(config, Tracker(databases.oma)))))
        databases.dispose()
        with browser.chromium() as opened:
            context = opened.new_context(viewport={"width": 680, "height": 400}, offline=True)
            view = context.new_page()
            view.goto(page.as_uri())
            view.locator("pre").screenshot(path=str(DOCS / "jobs-watch.png"))
            subprocess.run(
                [COMMAND, "--config", config, "report", sample_joblog.VM, "--html", page],
                env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            browser.look(opened, page, (1000, 1250), DOCS / "report-desktop.png", full=False)
            browser.look(opened, page, browser.PHONE, DOCS / "report-phone.png", full=False)
    for name in ("jobs-watch", "report-desktop", "report-phone"):
        print(f"docs/{name}.png: {(DOCS / f'{name}.png').stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
