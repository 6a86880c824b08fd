"""What an operator is told when CloudStack refuses a call, by kind; the reason is CloudStack's own text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.cloudstack.refusals import INTERNAL, NO_EXCEPTION, classify, number, whose_limit
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.common.redact import redact


@dataclass(frozen=True)
class _Told:
    """What an operator is told of a kind of refusal; `{where}`, `{command}` and `{likely}` are filled in."""

    kind: type[MigrateKitError]
    what: str
    todo: Hint | str


_LOG = "look for the call in the management server's log (/var/log/cloudstack/management/management-server.log)"
_TOLD: Mapping[ErrorCode, _Told] = {
    ErrorCode.BAD_CREDENTIALS: _Told(
        AuthError,
        "{where} refused the call: wrong keys, or an unknown command",
        "check ossea.api_key, ossea.secret_key and this host's clock; if they are right, the server has no {command}",
    ),
    ErrorCode.NOT_ALLOWED: _Told(
        AuthError,
        "{where} does not offer {command} to this account",
        "add it to the account's role, docs/permissions.md; in a project, make the account a member of it",
    ),
    ErrorCode.NOT_PERMITTED: _Told(
        AuthError,
        "{where} refused {command}: the resource belongs to another account, domain or project",
        hint("use the keys of a user of the account that owns the OMA; ", migratekit("doctor"), " compares them"),
    ),
    ErrorCode.DIFFERENT_ACCOUNTS: _Told(
        PreconditionError,
        "{where} refused {command}: volume and virtual machine belong to different accounts",
        hint("use the keys of a user of the account that owns the OMA; ", migratekit("doctor"), " compares them"),
    ),
    ErrorCode.QUOTA: _Told(
        PreconditionError,
        "{where} refused {command}: {limit} is reached",
        "raise the limit that the line above names, or free what counts against it, then run again",
    ),
    ErrorCode.NO_CAPACITY: _Told(
        PreconditionError,
        "{where} has no host or storage that fits",
        "free capacity; UEFI, affinity groups, host tags and the template's hypervisor narrow the choice of hosts",
    ),
    ErrorCode.THROTTLED: _Told(
        OperationFailedError,
        "{where} limits how often this account may call it",
        "raise api.throttling.max in CloudStack, or run fewer commands at a time",
    ),
    ErrorCode.EXPUNGE_NOT_ALLOWED: _Told(
        AuthError,
        "{where} does not let this account expunge virtual machines",
        "set allow.user.expunge.recover.vm to true and add expungeVirtualMachine to the role; docs/permissions.md",
    ),
    ErrorCode.VM_FULL: _Told(
        PreconditionError,
        "{where} attaches no more disks to this virtual machine",
        hint(
            "detach what it does not need (",
            migratekit("volumes", "list"),
            "); a UEFI machine takes few disks while it runs",
        ),
    ),
    ErrorCode.VM_HAS_SNAPSHOTS: _Told(
        PreconditionError,
        "{where} attaches and detaches nothing while the virtual machine has VM snapshots",
        "delete the VM snapshots of that virtual machine in CloudStack, then run again",
    ),
    ErrorCode.VM_HAS_BACKUP_OFFERING: _Told(
        PreconditionError,
        "{where} attaches and detaches nothing while the virtual machine has a backup offering",
        "remove it from its backup offering, or set backup.enable.attach.detach.of.volumes to true, then run again",
    ),
    ErrorCode.ATTACHED_ELSEWHERE: _Told(
        PreconditionError,
        "{where} refused {command}: the volume is attached to a virtual machine",
        hint("see which: ", migratekit("volumes", "list"), "; detach it there first"),
    ),
    ErrorCode.WRONG_STATE: _Told(
        OperationFailedError,
        "{where} refused {command}: the resource is busy, or in another state",
        "wait until its other jobs have ended (events of that resource in CloudStack), then run again",
    ),
    ErrorCode.NAME_TAKEN: _Told(
        PreconditionError,
        "{where} has a virtual machine of this name in this network already",
        "rename that one, or expunge it if it is destroyed: a destroyed one keeps its name",
    ),
    ErrorCode.ADDRESS_REFUSED: _Told(
        PreconditionError,
        "{where} does not give the address that was asked for",
        "free the address, choose another network, or keep none: failover.keep_ip, failover.keep_mac",
    ),
    ErrorCode.HIDDEN: _Told(
        OperationFailedError,
        "{where} refused {command} and does not tell an ordinary account why{likely}",
        _LOG,
    ),
    ErrorCode.INTERRUPTED: _Told(
        OperationFailedError,
        "{where} was restarted while it worked on {command}",
        "run again: what became of it is looked for first",
    ),
}
_UNKNOWN = _Told(OperationFailedError, "{where} refused a call", "look at the events of that resource in CloudStack")

LIKELY: Mapping[str, str] = {
    "deployVirtualMachine": "an address that was asked for is taken, or outside of the network's IP range",
    "updateVirtualMachine": "a setting that cannot be changed any more",
    "createSnapshot": "kvm.snapshot.enabled is false and the virtual machine runs",
    "deleteVolume": "another job works on the volume",
}
"""Why CloudStack most likely refuses a call when it says nothing but "Internal error" (its log, recorded)."""


def refusal(where: str, command: str, error: Any, *, in_job: bool = False) -> MigrateKitError:
    """Return the error for a refusal of CloudStack's: `error` has errorcode, errortext and maybe cserrorcode."""
    fields = error if isinstance(error, Mapping) else {"errortext": str(error)}
    status = number(fields.get("errorcode"), INTERNAL)
    text = redact(str(fields.get("errortext") or "no reason given"))
    code = classify(command, status, text, in_job=in_job)
    told = _TOLD.get(code, _UNKNOWN)
    likely = LIKELY.get(command, "")
    words = {
        "where": where,
        "command": command,
        "limit": whose_limit(text),
        "likely": f"; most likely {likely}" if likely else "",
    }
    exception = number(fields.get("cserrorcode"), NO_EXCEPTION)
    detail = f", exception {exception}" if exception not in (NO_EXCEPTION, 0) else ""
    why = f"{command}: {text}{detail} (error {status})"
    return told.kind(told.what.format(**words), why, told.todo, code=code)
