"""Names and tags by which CloudStack's resources are known to be ours, also where our records are lost."""

from __future__ import annotations

import re
import secrets

TAG = "migratekit"
"""Key of the tag on everything that we make; its value is the source machine's uuid."""
PROBE, PROBE_TAG = "probe", f"{TAG}-probe"
"""That value on the volume of a `doctor --probe`, and the key of the tag that holds the id of the probe's job."""
SAFE = re.compile(r"[^A-Za-z0-9-]+")


def host_name(name: str, suffix: str = "") -> str:
    """Return a name that CloudStack takes for a machine: letters, digits and dashes, at most 63, a letter first."""
    base = safe(name, 63 - len(suffix))
    if not base[0].isalpha():
        base = safe(f"vm-{base}", 63 - len(suffix))
    return base + suffix


def safe(name: str, longest: int = 40) -> str:
    """Return a name cut to letters, digits and dashes, as host names, exports and volumes all allow."""
    return SAFE.sub("-", name).strip("-")[:longest].strip("-") or "vm"


def export_name(vm_name: str, disk: str) -> str:
    """Return a new export name; its last eight hex digits are random: it cannot be guessed from the machine's."""
    return f"migration-{safe(vm_name)}-{safe(disk, 16)}-{secrets.token_hex(4)}"
