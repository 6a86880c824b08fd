"""Names as the vSphere Client shows them, and as vSphere's API has them.

The API escapes `/`, `%` and `\\` in the names of machines, folders, datastores, snapshots and distributed port groups
as %2f, %25 and %5c (API reference, ManagedEntity.name); standard and opaque networks carry them as they are (recorded).
Inventory paths are made of the API's names: there a slash is always a separator.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ESCAPE = re.compile("%(2f|25|5c)", re.IGNORECASE)
_MEANT = {"2f": "/", "25": "%", "5c": "\\"}
_ESCAPES = {meant: f"%{code}" for code, meant in _MEANT.items()}
_MEANT_BY = re.compile(r"[/%\\]")


def shown(name: str) -> str:
    """Return a name as the vSphere Client shows it."""
    if "/" in name or "\\" in name:
        return name  # it would not be there if the name were escaped
    return _ESCAPE.sub(lambda found: _MEANT[found[1].lower()], name)


def shown_path(path: str) -> str:
    """Return an inventory path with each of its names as the vSphere Client shows it: a slash may be part of one."""
    return "/".join(map(shown, path.split("/")))


@lru_cache(maxsize=8192)
def forms(given: str) -> frozenset[str]:
    """Return what somebody may mean by a name or path: one as it is shown, or as the API has it."""
    return frozenset({given, shown(given), shown_path(given)})


def spellings(given: str) -> frozenset[str]:
    """Return how a name or path may stand in the database: earlier versions wrote down what the API has."""
    return forms(given) | {_MEANT_BY.sub(lambda found: _ESCAPES[found[0]], given)}
