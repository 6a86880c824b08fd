"""Logs in to vCenter or ESXi, and turns vSphere's faults into our errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.session import Connection
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    BusyError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
)
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import VCenter

KEEP_ALIVE_SECONDS = 300.0
LOG_OUT_SECONDS = 2.0


@contextmanager
def connect(vcenter: VCenter, note: Callable[[str], None] | None = None) -> Iterator[Any]:
    """Log in, yield the ServiceInstance, and log out; `note` is told in a line for people what is waited for.

    Raises AuthError for a refused login, UnreachableError where nothing answers or the certificate is not trusted,
    and our errors for every vSphere fault that leaves the block.
    """
    connection = Connection(vcenter, note)
    service = connection.log_in()
    ended = threading.Event()
    keep = (ended, KEEP_ALIVE_SECONDS)
    threading.Thread(target=connection.keep_alive, args=keep, daemon=True, name="vcenter-keep-alive").start()
    try:
        with faults(connection.where):
            yield service
    finally:
        ended.set()
        connection.end(LOG_OUT_SECONDS)


@contextmanager
def faults(subject: str) -> Iterator[None]:
    """Turn the faults of pyVmomi within the block into our errors about `subject`."""
    try:
        yield
    except MigrateKitError:
        raise
    except vim.fault.NotAuthenticated:  # a NoPermission, too, hence first
        raise AuthError(
            f"{subject}: the session ended",
            "vCenter logged us out",
            "run the command again",
            code=ErrorCode.VCENTER_SESSION_ENDED,
        ) from None
    except vim.fault.NoPermission as fault:
        raise AuthError(
            f"{subject}: permission denied",
            f"the account lacks the privilege {fault.privilegeId}",
            "grant it on the machine's folder; docs/permissions.md lists what is needed",
            code=ErrorCode.VCENTER_PRIVILEGE_MISSING,
            facts={"privilege": fault.privilegeId},
        ) from None
    except vim.fault.QuestionPending as fault:
        text = redact(str(fault.text or fault_text(fault)))[:1000]
        raise PreconditionError(
            f"{subject}: the machine asks something in vCenter, and does nothing until that is answered",
            text,
            "answer it in the vSphere Client (the machine's summary), then run the command again",
            code=ErrorCode.VM_ASKS,
            facts={"question": text},
        ) from None
    except vmodl.fault.ManagedObjectNotFound as fault:
        if not isinstance(fault.obj, vim.VirtualMachine):
            raise _refused(subject, fault) from None
        raise PreconditionError(
            f"{subject}: the machine was deleted",
            fault_text(fault),
            "look in vCenter's events who did it",
            code=ErrorCode.VM_DELETED,
        ) from None
    except (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess) as fault:
        raise BusyError(
            f"{subject} is busy",
            fault_text(fault),
            "wait for the other task and try again",
            code=ErrorCode.VM_BUSY,
            facts={"fault": type(fault).__name__},
        ) from None
    except vmodl.MethodFault as fault:
        raise _refused(subject, fault) from None


def _refused(subject: str, fault: Any) -> OperationFailedError:
    return OperationFailedError(
        f"{subject}: vSphere refused",
        fault_text(fault),
        "look at the machine's recent tasks in vCenter",
        code=ErrorCode.UNKNOWN,
        facts={"fault": type(fault).__name__},
    )


def fault_text(fault: Any) -> str:
    """Return what a fault says, in one line: its message where there is one, else its type."""
    detail = [str(message.message) for message in getattr(fault, "faultMessage", None) or [] if message.message]
    text = "; ".join(filter(None, [str(fault.msg or ""), *detail]))
    name = type(fault).__name__.rpartition(".")[2]
    return redact(f"{text} ({name})" if text else name)
