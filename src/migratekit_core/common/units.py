"""Sizes and rates for people. Inside the program a size is always an int of bytes, a time a float of seconds."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

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


SLOWEST = 64 * KIB
"""Lowest bandwidth limit in bytes per second: below it one request would take longer than links wait for an answer."""
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)(bit)?", re.IGNORECASE)


def parse_rate(text: str) -> int | None:
    """Return bytes per second: `50M` is 50 MiB/s, `400Mbit` is 400 million bits per second, `none` is None (no limit).

    Raises ValueError, saying what is allowed, for anything else and for less than SLOWEST.
    """
    if text.strip().lower() == "none":
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no rate: 50M (MiB per second), 400Mbit (bits per second) or none")
    number, prefix, bits = found.groups()
    power = " kmg".index(prefix.lower() or " ")
    rate = int(float(number) * (1000**power / 8 if bits else 1024**power))
    if rate < SLOWEST:
        raise ValueError(f"{text!r} is less than {SLOWEST // KIB}k, the lowest limit")
    return rate


_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return bytes: `500G` and `500 GiB` are 500 times 2 to the 30th. Raises ValueError, saying what is allowed."""
    found = _SIZE.fullmatch("".join(text.split()))
    if found is None:
        raise ValueError(f"{text!r} is no size: 500G, 2T or 1.5TiB")
    number, prefix = found.groups()
    return int(float(number) * 1024 ** " kmgt".index(prefix.lower() or " "))


def parse_share(text: str) -> tuple[float, int]:
    """Return what `10%` or `50G` asks for: a fraction of the whole, and bytes; one of both is 0.

    Raises ValueError, saying what is allowed, for anything else.
    """
    plain = text.strip()
    if not plain.endswith("%"):
        return 0.0, parse_size(plain)
    try:
        percent = float(plain[:-1])
    except ValueError:
        percent = -1.0
    if not 0 <= percent < 100:
        raise ValueError(f"{text!r} is no share: 10% or 50G")
    return percent / 100, 0


_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.IGNORECASE)
_UNITS = (7 * 86400, 86400, 3600, 60, 1)


def parse_duration(text: str) -> float:
    """Return seconds: `90`, `90s`, `5m`, `1h30m`, `7d`, `4w`. Raises ValueError, saying what is allowed, for anything
    else."""
    found = _DURATION.fullmatch("".join(text.split()))
    parts = (int(part or 0) for part in found.groups()) if found is not None else ()
    total = sum(size * part for size, part in zip(_UNITS, parts, strict=False))
    if not total:
        raise ValueError(f"{text!r} is no duration: 90s, 5m, 1h30m or 7d")
    return float(total)


def human_age(seconds: float) -> str:
    """Return a duration in seconds in one unit, for narrow columns: `45s`, `12m`, `3h`, `5d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def round_up(size: int, unit: int) -> int:
    """Return the smallest multiple of `unit` that holds `size`; both in bytes."""
    return -(-size // unit) * unit
