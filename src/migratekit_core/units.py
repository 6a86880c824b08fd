"""Sizes and rates for people. Inside the program a size is always an int of bytes, a time a float of seconds."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SECTOR = 512
"""Smallest unit a virtual disk is measured in; every VMDK capacity is a multiple of it."""


def human_bytes(size: float) -> str:
    """Return `size` in bytes as a short text with a binary unit, such as `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def human_rate(bytes_per_second: float) -> str:
    """Return a transfer rate in bytes per second as a short text."""
    return f"{human_bytes(bytes_per_second)}/s"


def human_seconds(seconds: float) -> str:
    """Return a duration in seconds as `4.2 s`, `3 min 5 s` or `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def round_up(size: int, unit: int) -> int:
    """Return the smallest multiple of `unit` that holds `size`; both in bytes."""
    return -(-size // unit) * unit
