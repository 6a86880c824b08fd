"""Request throttling: an account may make so many calls in so many seconds, and polls of jobs count.

The window opens with the first call and is not moved by later ones. Root administrators are not counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .errors import ApiError
from .model import Account
from .settings import Config

THROTTLED = 429


@dataclass(frozen=True)
class Window:
    """The calls of one account since `began` (monotonic seconds)."""

    began: float
    calls: int = 0


def count(windows: dict[str, Window], config: Config, account: Account) -> None:
    """Count a call. Raises ApiError where the account has had all of its calls; those do not open a new window."""
    if config.throttle_calls <= 0 or account.is_admin:
        return
    window = current(windows, config, account)
    windows[account.name] = Window(window.began, window.calls + 1)
    if window.calls >= config.throttle_calls:
        wait = left(window, config)
        text = f"The given user has reached his/her account api limit, please retry after [{wait}] ms."
        raise ApiError(THROTTLED, 9999, text)


def current(windows: dict[str, Window], config: Config, account: Account) -> Window:
    """Return the account's open window, or a new one."""
    now = time.monotonic()
    window = windows.get(account.name)
    return window if window and now - window.began < config.throttle_seconds else Window(now)


def left(window: Window, config: Config) -> int:
    """Return in how many milliseconds a window closes."""
    return max(0, round(1000 * (window.began + config.throttle_seconds - time.monotonic())))
