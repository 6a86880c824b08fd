"""The errors for a vCenter that cannot be reached, does not answer, or is none."""

from __future__ import annotations

import ssl
from typing import Any

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.common.redact import redact

BROKEN_OFF = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError)
"""What a connection ends with that the other end had taken."""


def unreachable(
    where: str, error: Exception, kind: type[UnreachableError] = UnreachableError, connected: bool = False
) -> UnreachableError:
    """Return the error for a vCenter, named by `where`, that cannot be connected to, or does not answer.

    `connected`: whether it was reached, and broke the connection off or kept silent.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"{where} cannot be trusted",
            error.verify_message,
            "set vcenter.ca_file to the CA that signed its certificate",
            code=ErrorCode.VCENTER_UNTRUSTED,
        )
    return kind(
        f"{where} does not answer",
        redact(str(error) or type(error).__name__),
        "check vcenter.host, vcenter.port and the network",
        code=ErrorCode.VCENTER_UNREACHABLE,
        facts={"connected": connected or isinstance(error, BROKEN_OFF)},
    )


def bad_status(where: str, status: int, reason: str, kind: type[UnreachableError]) -> UnreachableError:
    """Return the error for an HTTP status that is no answer of vSphere's."""
    return kind(
        f"{where} does not answer as vSphere does",
        redact(f"HTTP {status} {reason}"[:200]),
        "look whether vCenter's services run, and check vcenter.host and vcenter.port",
        code=ErrorCode.VCENTER_UNREACHABLE,
        facts={"status": status},
    )


def no_vsphere(where: str, why: str, kind: type[UnreachableError] = UnreachableError) -> UnreachableError:
    """Return the error for a server, named by `where`, that answers something else than vSphere's API."""
    return kind(
        f"{where} does not answer as vSphere does",
        why,
        "check vcenter.host and vcenter.port: is a vCenter or an ESXi host there?",
        code=ErrorCode.VCENTER_UNREACHABLE,
    )


def not_ready(where: str, fault: Any) -> UnreachableError:
    """Return the error for a vCenter that is up, but can do nothing yet, or no more."""
    return UnreachableError(
        f"{where} cannot answer",
        redact(str(fault.msg or type(fault).__name__)),
        "look whether vCenter's services run, and its hosts are connected",
        code=ErrorCode.VCENTER_UNREACHABLE,
        facts={"fault": type(fault).__name__},
    )
