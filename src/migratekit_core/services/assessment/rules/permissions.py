"""What the accounts may not do, named one by one."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.services.assessment.commands import CLOUDSTACK, HELPFUL, essential, users
from migratekit_core.services.assessment.rule import Hit, Severity, site_rule
from migratekit_core.services.assessment.site import Site

SHOWN = 5
"""Entities that a message names."""


@site_rule(
    "MK-PERM-001",
    Severity.BLOCKER,
    "vSphere privilege is missing",
    why="The named commands call vSphere methods that need it, and would end with exit 5.",
    remedy="Add it to the account's role; docs/permissions.md has roles to paste.",
    needs=("privileges",),
)
def vsphere_privileges(site: Site) -> Iterator[Hit]:
    """Report each privilege that is missing somewhere."""
    for lacking in site.privileges or ():
        named = ", ".join(lacking.entities[:SHOWN])
        if len(lacking.entities) > SHOWN:
            named += f" and {len(lacking.entities) - SHOWN} more"
        yield Hit(
            f"{', '.join(lacking.commands)} need {lacking.privilege.id}; it is missing on {len(lacking.entities)} of "
            f"{lacking.asked} {lacking.privilege.on}s: {named}",
            f"{lacking.privilege.id} on {lacking.privilege.on}",
        )


@site_rule(
    "MK-PERM-002",
    Severity.BLOCKER,
    "CloudStack API is missing",
    why="The named commands call it, and would end with exit 5. listApis does not offer it to this account.",
    remedy="Allow it in the account's role; docs/permissions.md has the rules to paste.",
    needs=("target.apis",),
)
def cloudstack_apis(site: Site) -> Iterator[Hit]:
    """Report each API that is missing."""
    for api in _missing(site):
        if any(essential(caller, api) for caller in users(api)):
            yield Hit(f"{', '.join(users(api))} call {api}", api)


@site_rule(
    "MK-PERM-003",
    Severity.WARNING,
    "CloudStack API would help",
    why="The named commands work without it, and check less, take longer or leave more behind: docs/permissions.md.",
    remedy="Allow it in the account's role; docs/permissions.md has the rules to paste.",
    needs=("target.apis",),
)
def helpful_apis(site: Site) -> Iterator[Hit]:
    """Report each API that is missing and can be done without."""
    for api in _missing(site):
        if not any(essential(caller, api) for caller in users(api)):
            yield Hit(f"{', '.join(users(api))} call {api}: {HELPFUL[api]}", api)


def _missing(site: Site) -> Iterator[str]:
    """Yield the APIs that some command calls and the account may not."""
    assert site.target is not None and site.target.apis is not None, "the rules that call this need it"
    for api in dict.fromkeys(api for apis in CLOUDSTACK.values() for api in apis):
        if api not in site.target.apis:
            yield api
