"""The OMA as it sees itself, over SSH: only with --remote."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.common.errors import OperationFailedError, UnreachableError
from migratekit_core.common.units import human_bytes
from migratekit_core.services.doctor.checks.clock import judged
from migratekit_core.services.doctor.checks.disk import ENOUGH, LEAST
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site


@check("remote.facts", "the OMA from inside")
def facts(site: Site) -> Iterator[Answer]:
    """Ask the OMA about its services, room, clock and recent errors."""
    from migratekit_core.adapters.tunnel.remote import remote_facts

    found = remote_facts(site.config)
    yield ok("the OMA from inside", f"{found.host}: " + ", ".join(f"{k} {v}" for k, v in found.versions.items()))
    for service in found.services:
        what, unit = f"OMA's {service.name}", f" (unit {service.unit}: {service.state})" if service.unit else ""
        if service.answers:
            yield ok(what, f"answers at {service.address}{unit}")
        else:
            todo = f"on the OMA: systemctl status {service.unit or 'migratekit-volumed'}"
            yield failed(what, f"nothing answers at {service.address}{unit}", todo, UnreachableError.exit_code)
    for disk in found.disks:
        text = f"{human_bytes(disk.free)} free of {human_bytes(disk.total)}"
        what = f"OMA's room at {disk.path}"
        if disk.free < LEAST:
            yield failed(what, text, "free space there", OperationFailedError.exit_code)
        elif disk.free < ENOUGH:
            yield warning(what, text, "free space there")
        else:
            yield ok(what, text)
    yield judged("OMA's clock", found.clock_skew, found.clock_error)
    for line in found.expiring:
        yield warning("OMA's certificates", line, "renew them: docs/tunnel.md")
    if found.errors:
        last = found.errors[-1]
        seen = f"{len(found.errors)} in a day; the last: {last.at} {last.unit}: {last.text}"
        yield warning("OMA's recent errors", seen, "on the OMA: journalctl -p err --since -1d")
    elif found.errors_known:
        yield ok("OMA's recent errors", "none in a day")
