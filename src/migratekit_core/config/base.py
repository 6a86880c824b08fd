"""What the tables of the configuration are made of: the kinds of values, and the rules that several of them share."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from migratekit_core.common.units import SLOWEST, parse_duration, parse_rate

Port = Annotated[int, Field(ge=1, le=65535)]


def _expanded(path: Path) -> Path:
    return Path(os.path.expandvars(path)).expanduser()


def _rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


Rate = Annotated[Annotated[int, Field(ge=SLOWEST)] | None, BeforeValidator(_rate)]
"""Bytes per second; as text `50M`, `400Mbit` or `none`."""


def seconds(value: object) -> object:
    """Return a duration that is a text as seconds, and anything else as it is."""
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[Annotated[float, Field(ge=0)], BeforeValidator(seconds)]
"""Seconds; as text `90s`, `15m`, `2h`, `7d`."""

FilePath = Annotated[Path, AfterValidator(_expanded)]


def is_loopback(host: str) -> bool:
    """Return whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def protected_url(url: str) -> str:
    """Return a URL. Raises ValueError for one that others could read on the way, or that holds a password."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(f"{parts.scheme}://{parts.hostname or ''} is not https")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or password would end up in logs; keys have settings of their own")
    return url


def proxy_url(url: str) -> str:
    """Return the URL of an HTTP proxy. Raises ValueError where it is none, or holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("a proxy is http://HOST:PORT")
    if parts.username or parts.password:
        raise ValueError(
            "a URL with a user or password would end up in logs, and a proxy that wants one is not supported"
        )
    return url


class Table(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
