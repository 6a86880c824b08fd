"""vCenter: reachable, lets us in, and allows what the commands do."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.common.errors import AuthError
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.services.doctor.vcenter import SAMPLE


@check("vcenter.login", "vCenter", lambda config: config.vcenter is not None)
def login(site: Site) -> Iterator[Answer]:
    """Log in."""
    found, settings = site.vcenter(), site.config.vcenter
    assert settings is not None, "applies only then"
    yield ok("vCenter", f"{found.product}, logged in as {settings.user}")


@check("vcenter.privileges", "vSphere privileges", lambda config: config.vcenter is not None)
def privileges(site: Site) -> Iterator[Answer]:
    """Ask vSphere which privileges the account lacks; nothing is tried out."""
    found = site.needs(site.vcenter)
    what = "vSphere privileges"
    if found.problem:
        yield warning(what, f"vSphere did not tell: {found.problem}", "compare by hand: docs/permissions.md")
        return
    if not found.machines:
        yield warning(what, "the account sees no machine", "give it the role on a folder or datacenter, propagated")
        return
    for lacking in found.lacking:
        where = f"{len(lacking.entities)} of {lacking.asked} {lacking.privilege.on}s"
        needed = f"{lacking.privilege.id} is missing on {where}; {', '.join(lacking.commands)} need it"
        todo = f"add it to the account's role ({lacking.privilege.label}); docs/permissions.md"
        yield failed(what, needed, todo, AuthError.exit_code)
    if not found.lacking:
        some = f"the first {SAMPLE} machines" if found.machines >= SAMPLE else f"{found.machines} machines"
        yield ok(what, f"all there, on {some}")
