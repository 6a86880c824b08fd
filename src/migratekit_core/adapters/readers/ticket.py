"""Tickets for NFC: one call on the session that the command has; each serves one connection, for reading alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyVmomi import VmomiSupport, vim, vmodl

from migratekit_core.adapters.readers.model import Ask, UnfitError
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.redact import redact, remember

PORT = 902
SINCE = "vim.version.version1"
USUAL, OF_A_HOST = "nfcService", "ha-nfc-service"
"""Ids of the service, where vSphere does not tell it."""
_ID = re.compile(rb"<nfcService[^>]*>([A-Za-z0-9_-]{1,80})</nfcService>")

# pyVmomi leaves both out of what it knows.
VmomiSupport.CreateManagedType(
    "vim.NfcService",
    "NfcService",
    "vmodl.ManagedObject",
    SINCE,
    None,
    [
        (
            "getVmFiles",
            "NfcGetVmFiles",
            SINCE,
            (("vm", "vim.VirtualMachine", SINCE, 0, None),),
            (0, "vim.HostServiceTicket", "vim.HostServiceTicket"),
            None,
            None,
        )
    ],
)
VmomiSupport.CreateManagedType(
    "vim.InternalServiceInstance",
    "InternalServiceInstance",
    "vmodl.ManagedObject",
    SINCE,
    None,
    [("retrieveInternalContent", "RetrieveInternalContent", SINCE, (), (0, "void", "void"), None, None)],
)


def ticket(ask: Ask) -> Mapping[str, Any]:
    """Return a ticket for the disks of the ask's machine: where to connect, and what to say there.

    Raises UnfitError where vSphere has no such service or this user may not use it; MigrateKitError.
    """
    with ask.snapshot.session() as managed:
        try:
            link = managed._stub
            service = VmomiSupport.GetVmodlType("vim.NfcService")(_service(link), link)
            found = service.NfcGetVmFiles(managed)
        except vmodl.MethodFault as fault:
            raise _refused(ask, fault) from None
    thumbprint = str(found.sslThumbprint or "")
    return {
        "host": str(found.host or ask.vcenter.host),
        "port": int(found.port or PORT),
        "thumbprint": thumbprint,
        "service": str(found.service),
        "session": remember(str(found.sessionId)),
    }


def _service(link: Any) -> str:
    """Return the id of vSphere's NFC service."""
    instance = vim.ServiceInstance("ServiceInstance", link)
    info = VmomiSupport.GetVmodlType("vim.InternalServiceInstance")._GetMethodInfo("RetrieveInternalContent")
    try:
        told = _ID.search(link.text_by(instance, info))
    except vmodl.MethodFault:
        told = None
    if told is not None:
        return told.group(1).decode()
    return USUAL if instance.RetrieveContent().about.apiType == "VirtualCenter" else OF_A_HOST


def _refused(ask: Ask, fault: Any) -> MigrateKitError | UnfitError:
    said = redact(str(fault.msg or type(fault).__name__))[:300]
    if isinstance(fault, vim.fault.NoPermission):
        return UnfitError(
            AuthError(
                f"{ask.subject}: {ask.vcenter.user} may not read it over NFC",
                f"the account lacks the privilege {fault.privilegeId}",
                "grant Virtual machine > Provisioning > Allow virtual machine download and Allow read-only disk access",
                code=ErrorCode.VCENTER_PRIVILEGE_MISSING,
                facts={"privilege": str(fault.privilegeId)},
            )
        )
    missing = (vmodl.fault.MethodNotFound, vmodl.fault.ManagedObjectNotFound, vmodl.fault.NotSupported)
    if isinstance(fault, (*missing, vmodl.fault.InvalidRequest)):
        return UnfitError(
            PreconditionError(
                f"{ask.subject} cannot be read over NFC",
                f"{ask.vcenter.host} gives no tickets: {said}",
                "choose another reader (source.reader): docs/readers.md",
                code=ErrorCode.READER_UNFIT,
                facts={"reader": "nfc", "fault": type(fault).__name__},
            )
        )
    return OperationFailedError(
        f"{ask.subject}: vSphere gives no ticket to read it over NFC",
        said,
        "look at the machine's tasks and events in vCenter",
        code=ErrorCode.UNKNOWN,
        facts={"fault": type(fault).__name__},
    )
