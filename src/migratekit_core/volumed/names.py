"""Names and tags by which CloudStack's resources are known to be ours, also where our records are lost."""

from __future__ import annotations

import re
import secrets

TAG = "migratekit"
"""Key of the tag on everything that we make; its value is the source machine's uuid."""
PROBE, PROBE_TAG = "probe", f"{TAG}-probe"
"""That value on the volume of a `doctor --probe`, and the key of the tag that holds the id of the probe's job."""
FAILOVER_TAG, KIND_TAG = f"{TAG}-failover", f"{TAG}-kind"
"""Keys of the tags on what a failover makes: its id, and whether it is a live one or a rehearsal."""
ROOT_TAG = f"{TAG}-root"
"""Key of the tag on the root disk that a failover's machine has from its template; its value is the failover's id."""
TRIAL_TAG = f"{TAG}-trial"
"""Key of the tag on the empty volume that tries, before a source is shut down, whether it can be a root disk; its value
is the failover's id."""
EXPORT = re.compile(r"migration-[A-Za-z0-9-]{1,40}-[A-Za-z0-9-]{1,16}-[0-9a-f]{8}")
"""The only names of exports (`export_name`). What a row or a folder has otherwise is not served, and names no file."""
VOLUME_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
"""What may be the id of a volume in CloudStack; they are UUIDs."""
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
