"""Logs in to vCenter or ESXi, waits for tasks, and turns vSphere's faults into our errors."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from migratekit_core.config.schema import VCenter
from migratekit_core.errors import (
    AuthError,
    BusyError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.redact import redact

KEEP_ALIVE_SECONDS = 300.0


@contextmanager
def connect(vcenter: VCenter) -> Iterator[Any]:
    """Log in, yield the ServiceInstance, and log out.

    Raises AuthError for a refused login, UnreachableError where nothing answers or the certificate is not trusted,
    and our errors for every vSphere fault that leaves the block.
    """
    password = vcenter.password.read("vcenter.password")
    where = f"vCenter {vcenter.host}:{vcenter.port}"
    try:
        context = ssl.create_default_context(cafile=str(vcenter.ca_file) if vcenter.ca_file else None)
    except OSError as error:
        raise PreconditionError(
            f"vcenter.ca_file {vcenter.ca_file} cannot be read", str(error), "check the path in the configuration"
        ) from error
    try:
        service = SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd=password,
            sslContext=context,
            httpConnectionTimeout=vcenter.timeout,
        )
    except vim.fault.InvalidLogin:
        raise AuthError(
            f"{where} refused the login",
            f"wrong password, or no user {vcenter.user}",
            "check vcenter.user and .password",
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"{where} cannot be trusted",
            error.verify_message,
            "set vcenter.ca_file to the CA that signed its certificate",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"{where} does not answer", redact(str(error)), "check vcenter.host, vcenter.port and the network"
        ) from None
    ended = threading.Event()
    threading.Thread(target=_keep_alive, args=(service, ended), daemon=True, name="vcenter-keep-alive").start()
    try:
        with faults(where):
            yield service
    finally:
        ended.set()
        # The session ends by itself; what happened before is what matters.
        with contextlib.suppress(Exception):
            Disconnect(service)


def _keep_alive(service: Any, ended: threading.Event) -> None:
    """Call now and then: a copy takes hours, and vCenter ends a session that is idle for half an hour."""
    while not ended.wait(KEEP_ALIVE_SECONDS):
        # One that fails is no news: the next real call tells what is wrong, with its own words.
        with contextlib.suppress(Exception):
            service.CurrentTime()


@contextmanager
def faults(subject: str) -> Iterator[None]:
    """Turn the faults of pyVmomi within the block into our errors about `subject`."""
    try:
        yield
    except MigrateKitError:
        raise
    except vim.fault.NoPermission as fault:
        raise AuthError(
            f"{subject}: permission denied",
            f"the account lacks the privilege {fault.privilegeId}",
            "grant it on the machine's folder; docs/permissions.md lists what is needed",
        ) from None
    except vim.fault.NotAuthenticated:
        raise AuthError(f"{subject}: the session ended", "vCenter logged us out", "run the command again") from None
    except (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess) as fault:
        raise BusyError(f"{subject} is busy", fault_text(fault), "wait for the other task and try again") from None
    except vmodl.MethodFault as fault:
        raise OperationFailedError(
            f"{subject}: vSphere refused", fault_text(fault), "look at the machine's recent tasks in vCenter"
        ) from None
    except (http.client.HTTPException, OSError) as error:
        raise UnreachableError(
            f"{subject}: the connection broke",
            redact(str(error) or type(error).__name__),
            "check the network, try again",
        ) from None


def fault_text(fault: Any) -> str:
    """Return what a fault says, in one line: its message where there is one, else its type."""
    detail = [str(message.message) for message in getattr(fault, "faultMessage", None) or [] if message.message]
    text = "; ".join(filter(None, [str(fault.msg or ""), *detail]))
    name = type(fault).__name__.rpartition(".")[2]
    return redact(f"{text} ({name})" if text else name)


def wait(task: Any) -> Any:
    """Wait for a task and return its result; the task's fault is raised as pyVmomi's."""
    WaitForTask(task, raiseOnError=True)
    return task.info.result
