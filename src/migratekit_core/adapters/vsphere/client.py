"""Logs in to vCenter or ESXi, waits for tasks, and turns vSphere's faults into our errors."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    BusyError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import VCenter

KEEP_ALIVE_SECONDS = 300.0
LOG_OUT_SECONDS = 2.0

_accounts: weakref.WeakKeyDictionary[Any, VCenter] = weakref.WeakKeyDictionary()
"""Who logged in on a connection, for a second login when vSphere has ended the session."""


@contextmanager
def connect(vcenter: VCenter) -> Iterator[Any]:
    """Log in, yield the ServiceInstance, and log out.

    Raises AuthError for a refused login, UnreachableError where nothing answers or the certificate is not trusted,
    and our errors for every vSphere fault that leaves the block.
    """
    password = vcenter.password.read("vcenter.password")
    where = f"vCenter {vcenter.host}:{vcenter.port}"
    context = trust(vcenter)
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
            code=ErrorCode.VCENTER_LOGIN_REFUSED,
            facts={"user": vcenter.user},
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(where, error) from None
    _accounts[service._stub] = vcenter
    ended = threading.Event()
    threading.Thread(target=_keep_alive, args=(service, ended), daemon=True, name="vcenter-keep-alive").start()
    try:
        with faults(where):
            yield service
    finally:
        ended.set()
        _log_out(service)


def _log_out(service: Any) -> None:
    """End the session, but wait only so long for a vCenter that hangs: sessions end by themselves."""

    def run() -> None:
        with contextlib.suppress(Exception):  # what happened before is what matters
            Disconnect(service)

    thread = threading.Thread(target=run, daemon=True, name="vcenter-log-out")
    thread.start()
    thread.join(LOG_OUT_SECONDS)


def unreachable(where: str, error: Exception) -> UnreachableError:
    """Return the error for a vCenter, named by `where`, that cannot be connected to."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"{where} cannot be trusted",
            error.verify_message,
            "set vcenter.ca_file to the CA that signed its certificate",
            code=ErrorCode.VCENTER_UNTRUSTED,
        )
    return UnreachableError(
        f"{where} does not answer",
        redact(str(error)),
        "check vcenter.host, vcenter.port and the network",
        code=ErrorCode.VCENTER_UNREACHABLE,
    )


def trust(vcenter: VCenter) -> ssl.SSLContext:
    """Return whom we trust to be vCenter. Raises PreconditionError where `ca_file` cannot be read."""
    try:
        return ssl.create_default_context(cafile=str(vcenter.ca_file) if vcenter.ca_file else None)
    except OSError as error:
        raise PreconditionError(
            f"vcenter.ca_file {vcenter.ca_file} cannot be read",
            str(error),
            "check the path in the configuration",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(vcenter.ca_file)},
        ) from error


def log_in_again(service: Any) -> None:
    """Make sure that there is a session, after vSphere has ended one or a connection broke.

    Raises AuthError where the login is refused now; OSError and http.client's errors where nothing answers.
    """
    vcenter = _accounts.get(service._stub)
    sessions = service.RetrieveContent().sessionManager
    if vcenter is None or _has_session(sessions):
        return
    try:
        sessions.Login(vcenter.user, vcenter.password.read("vcenter.password"))
    except vim.fault.InvalidLogin:
        raise AuthError(
            f"vCenter {vcenter.host}:{vcenter.port} ended the session and refused a new login",
            f"the account {vcenter.user} or its password was changed",
            "check vcenter.user and .password",
            code=ErrorCode.VCENTER_LOGIN_REFUSED,
            facts={"user": vcenter.user},
        ) from None


def _has_session(sessions: Any) -> bool:
    """Return whether we are logged in. Without a session vSphere either names none or does not answer."""
    try:
        return sessions.currentSession is not None
    except vim.fault.NotAuthenticated:
        return False


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
    except (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess) as fault:
        raise BusyError(
            f"{subject} is busy",
            fault_text(fault),
            "wait for the other task and try again",
            code=ErrorCode.VM_BUSY,
            facts={"fault": type(fault).__name__},
        ) from None
    except vmodl.MethodFault as fault:
        raise OperationFailedError(
            f"{subject}: vSphere refused",
            fault_text(fault),
            "look at the machine's recent tasks in vCenter",
            code=ErrorCode.UNKNOWN,
            facts={"fault": type(fault).__name__},
        ) from None
    except (http.client.HTTPException, OSError) as error:
        raise UnreachableError(
            f"{subject}: the connection broke",
            redact(str(error) or type(error).__name__),
            "check the network, try again",
            code=ErrorCode.VCENTER_UNREACHABLE,
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
