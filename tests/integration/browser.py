"""A real browser without a window: Debian's Chromium, which may ask nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 900), (360, 740)


@dataclass
class Seen:
    """What a page did."""

    errors: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and what went wrong otherwise."""
    requests: list[str] = field(default_factory=list)
    """What it asked for besides itself."""
    width: int = 0
    """What it needs, in pixels."""
    title: str = ""
    wide: list[str] = field(default_factory=list)
    """Elements that reach beyond the right edge."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a running browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def look(
    browser: Browser, file: Path, size: tuple[int, int], picture: Path | None = None, full: bool = True, media: str = ""
) -> Seen:
    """Open a page of a file, take a picture, and return what it did."""
    seen = Seen()
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True)
    page = context.new_page()
    page.on("console", lambda message: seen.errors.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))

    def asked(request: Any) -> None:
        if request.url != file.as_uri():
            seen.requests.append(request.url)

    page.on("request", asked)
    if media:
        page.emulate_media(media=media)  # type: ignore[arg-type]
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    seen.title = page.title()
    seen.width = page.evaluate("document.documentElement.scrollWidth")
    seen.wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > "
        "document.documentElement.clientWidth + 1).map(each => each.outerHTML.slice(0, 80))"
    )
    if picture is not None:
        page.screenshot(path=str(picture), full_page=full)
    context.close()
    return seen
