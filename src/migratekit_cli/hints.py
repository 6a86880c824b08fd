"""Commands in what is said: for the same place that this command was run for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

_place = ""
_command = re.compile(r"(?!)")


def speak_of(place: Iterable[str], commands: Iterable[str]) -> None:
    """Have every one of `commands` that is named from now on get the options `place`."""
    global _place, _command
    _place = shlex.join(place)
    _command = re.compile(rf"\bmigratekit (?=(?:{'|'.join(map(re.escape, commands))})\b)")


def placed(text: str) -> str:
    """Return a text whose commands are for the profile, the vCenter and the OMA that this command was run with.

    An operator copies what an error says; without the options it would work on another OMA's machine of that name.
    """
    return _command.sub(lambda found: f"{found[0]}{_place} ", text) if _place else text
