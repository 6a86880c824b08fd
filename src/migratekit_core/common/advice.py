"""Commands within texts for people: they have to work as they are printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

COMMANDS = (
    "discover", "assess", "networks", "replicate", "verify", "test-failover", "failover", "rollback", "cleanup",
    "doctor", "report", "wave", "jobs", "volumes", "db", "tunnel",
)  # fmt: skip
"""Those that do something else with another vCenter or OMA."""
ELSEWHERE = ("tunnel pki", "tunnel server", "volumes daemon")
"""What is run on the OMA, or where the CA is: their configurations know none of the names that ours has."""
_SHOWN = rf"\bmigratekit (?!(?:{'|'.join(ELSEWHERE)})\b)(?=(?:{'|'.join(COMMANDS)})(?![\w-]))"


def options(given: Mapping[str, object]) -> list[str]:
    """Return options and their values as a command line has them, without those that are not given."""
    return [text for option, value in given.items() if value for text in (option, str(value))]


def with_options(text: str, words: Sequence[str]) -> str:
    """Return a text whose commands have these global options: without them they would be about another machine."""
    if not words:
        return text
    given = shlex.join(words)
    return re.sub(_SHOWN, lambda found: f"{found.group()}{given} ", text)
