"""A vSphere privilege, as the permissions of commands and readers name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Privilege:
    """A vSphere privilege."""

    id: str
    on: str
    """machine, datacenter or datastore: where the role has to be."""
    call: str
    label: str
    """Its name in the vSphere Client."""
