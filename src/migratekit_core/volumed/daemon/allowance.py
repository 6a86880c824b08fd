"""What keeps CloudStack from making volumes of some sizes, found out before the first of them is made.

Not known here: storage.max.volume.size and the limits of domains, which CloudStack shows to administrators only, and
room on the storage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migratekit_core.adapters.cloudstack.quota import Need, shortfalls
from migratekit_core.adapters.cloudstack.refusals import number
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError
from migratekit_core.common.units import GIB, round_up
from migratekit_core.volumed.daemon.storage import MAKE, Storage

Row = Mapping[str, Any]


def refusal(storage: Storage, sizes: Sequence[int]) -> MigrateKitError | None:
    """Return why volumes of these sizes (bytes) cannot all be made, or None where nothing is known to stand against it.

    Asks for the role's commands, the disk offering, the cloud's limits of sizes and the account's quotas; what the
    role may not read is not looked at. Raises what a call that fails otherwise raises.
    """
    if not sizes:
        return None
    if storage.commands().isdisjoint({MAKE, ""}):
        return AuthError(
            "the volume daemon may make no volumes",
            f"the role of its account lacks {MAKE}",
            "add it to the account's role, docs/permissions.md",
            code=ErrorCode.NOT_ALLOWED,
            facts={"command": MAKE},
        )
    try:
        storage.offering_id()
    except (AuthError, PreconditionError) as error:
        return error
    return _unfit_size(storage.capabilities(), sizes) or _beyond_quota(storage.account(), sizes)


def _unfit_size(capabilities: Row, sizes: Sequence[int]) -> MigrateKitError | None:
    least = number(capabilities.get("customdiskofferingminsize"), 0)
    most = number(capabilities.get("customdiskofferingmaxsize"), 0)
    wrong = sorted({gib for gib in map(_gib, sizes) if gib < least or (most and gib > most)})
    if not wrong:
        return None
    told = ", ".join(f"{gib} GiB" for gib in wrong)
    return PreconditionError(
        f"CloudStack makes no volumes of {told}",
        f"custom disk offerings go from {least} to {most} GiB"
        if most
        else f"custom disk offerings begin at {least} GiB",
        "change custom.diskoffering.size.min and .max in CloudStack's global settings, or the disk in vSphere",
        code=ErrorCode.OFFERING_UNFIT,
        facts={"least_gib": least, "most_gib": most, "size_gib": wrong[-1]},
    )


def _beyond_quota(account: Row, sizes: Sequence[int]) -> MigrateKitError | None:
    short = list(shortfalls(account, Need(volumes=len(sizes), primary_storage=sum(map(_gib, sizes)))))
    if not short:
        return None
    return PreconditionError(
        "the account's limits leave no room for the volumes",
        "; ".join(map(str, short)),
        "raise the account's limits in CloudStack, or free what counts against them",
        code=ErrorCode.QUOTA,
        facts={"needed": short[0].needed, "left": short[0].left, "limit": short[0].limit},
    )


def _gib(size: int) -> int:
    """Return what a volume of so many bytes takes: CloudStack counts in whole GiB."""
    return round_up(size, GIB) // GIB
