"""Commands within texts for people: they have to work as they are printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

COMMANDS = (
    "discover", "assess", "networks", "replicate", "verify", "test-failover", "failover", "rollback", "cleanup",
    "doctor", "report", "wave", "jobs", "volumes", "db", "tunnel",
)  # fmt: skip
"""Those that do something else with another vCenter or OMA."""
ELSEWHERE = ("tunnel pki", "tunnel server", "volumes daemon")
"""What is run on the OMA, or where the CA is: their configurations know none of the names that ours has."""
_SHOWN = re.compile(rf"\bmigratekit (?!(?:{'|'.join(ELSEWHERE)})\b)(?=(?:{'|'.join(COMMANDS)})(?![\w-]))")


def with_options(text: str, options: Sequence[str]) -> str:
    """Return a text whose commands have these global options: without them they would be about another machine."""
    if not options:
        return text
    given = shlex.join(options)
    return _SHOWN.sub(lambda found: f"{found.group()}{given} ", text)
