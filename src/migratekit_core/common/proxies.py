"""The environment's proxy variables: no connection of ours goes by them.

They are set on many hosts for apt and pip. What is migrated, and the passwords for it, go to hosts of one's own
network; that such a variable sends some of it to a proxy would be noticed by nobody. CloudStack's API may be reached
through a proxy that is named in the configuration (ossea.proxy).
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
"""In lower case; programs read them in both."""


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without them."""
    return {name: value for name, value in environment.items() if name.lower() not in NAMES}


def named(environment: Mapping[str, str]) -> list[str]:
    """Return which of them are set and not empty, sorted."""
    return sorted(name for name, value in environment.items() if name.lower() in NAMES - {"no_proxy"} and value)
