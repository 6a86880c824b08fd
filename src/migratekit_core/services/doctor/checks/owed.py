"""What nobody has taken back at the source: machines that are off, and snapshots that grow."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.services.failover.owed import owed


@check("owed.source", "left at the source", lambda config: config.vcenter is not None)
def source(site: Site) -> Iterator[Answer]:
    """Look for failovers that ended half-way, and for snapshots that no running job holds."""
    found = owed(site.needs(site.databases).oma)
    for one in found:
        answer = failed if one.source_off else warning
        yield answer(one.vm_name, one.what, one.todo)
    if not found:
        yield ok("left at the source", "nothing: no machine is off, no snapshot of ours is left")
