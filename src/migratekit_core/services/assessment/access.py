"""What the accounts lack, command by command: the other way round than the rules MK-PERM, which go by privilege."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.services.assessment.commands import CLOUDSTACK, VSPHERE
from migratekit_core.services.assessment.site import Site

CAPABILITY = "allowuserexpungerecovervm"
"""Field of listCapabilities: whether the caller may expunge, as far as the setting goes."""
EXPUNGE, SETTING = "expungeVirtualMachine", "allow.user.expunge.recover.vm (a setting)"


@dataclass(frozen=True)
class Access:
    """Whether the accounts may do what a command does. None: the command does not go there, or nobody asked."""

    command: str
    vsphere: tuple[str, ...] | None
    """Missing privileges: `VirtualMachine.State.CreateSnapshot (2 of 5 machines)`."""
    cloudstack: tuple[str, ...] | None
    """Missing APIs, and the setting that keeps the account from expunging (SETTING)."""
    not_checked: tuple[str, ...]
    """Why a side that the command goes to was not asked."""


def by_command(site: Site) -> tuple[Access, ...]:
    """Return what each command lacks."""
    return tuple(_access(command, site) for command in dict.fromkeys([*VSPHERE, *CLOUDSTACK]))


def _access(command: str, site: Site) -> Access:
    unknown = []
    vsphere = cloudstack = None
    if command in VSPHERE:
        unknown += [reason] if (reason := site.lacks("privileges")) else []
        if site.privileges is not None:
            vsphere = tuple(
                f"{each.privilege.id} ({len(each.entities)} of {each.asked} {each.privilege.on}s)"
                for each in site.privileges
                if command in each.commands
            )
    if command in CLOUDSTACK:
        unknown += [reason] if (reason := site.lacks("target.apis")) else []
        if site.target is not None and site.target.apis is not None:
            cloudstack = tuple(api for api in CLOUDSTACK[command] if api not in site.target.apis)
            if EXPUNGE in CLOUDSTACK[command] and (site.target.capabilities or {}).get(CAPABILITY) is False:
                cloudstack += (SETTING,)
    return Access(command, vsphere, cloudstack, tuple(unknown))
