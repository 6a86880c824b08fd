"""Waves on many hosts: Dask distributed runs them, the database says what there is to do and what was done."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """Return this program's version: all parts of a fleet have the same."""
    from importlib.metadata import version as installed

    return installed("migratekit")
