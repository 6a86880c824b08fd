"""Why a handshake with the OMA failed, in words that say which side refused what, and what to do about it.

In TLS 1.3 the OMA's verdict on our certificate comes as an alert after our own handshake is done, so whoever wants to
know has to read once. HAProxy's log on the OMA gives the same reason from its side.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.hints import Hint, at_ca, hint, on_oma
from migratekit_core.common.redact import redact

NEW_OMA = hint(
    "rotate it: ", at_ca("tunnel", "pki", "rotate", "oma"), ", put the new oma.pem on the OMA, tunnel server install"
)
_NEW_VMA = hint(at_ca("tunnel", "pki", "rotate", "vma"), ", and put the new file in place of tunnel.cert_file")
NEW_VMA = hint("rotate it: ", _NEW_VMA)
SAME_CA = "both hosts need files of one CA: compare ca.pem on both (sha256sum), or issue the certificate anew"


class Words(NamedTuple):
    """What an error says."""

    code: ErrorCode
    what: str
    why: str
    todo: Hint | str

    def error(self, kind: type[MigrateKitError], whose: str = "") -> MigrateKitError:
        """Return the error; `whose` certificate it is about: the `oma`'s, or this host's (`vma`)."""
        facts = {"whose": whose} if whose else None
        return kind(self.what, self.why, self.todo, code=self.code, facts=facts)


THEIRS: dict[int, Words] = {
    9: Words(
        ErrorCode.CERTIFICATE_EARLY,
        "the OMA's certificate is not valid yet",
        "it begins in the future",
        "compare the clocks of both hosts",
    ),
    10: Words(
        ErrorCode.CERTIFICATE_EXPIRED,
        "the OMA's certificate has expired",
        "it is past its end, or this host's clock is",
        NEW_OMA,
    ),
    12: Words(
        ErrorCode.CRL_UNUSABLE,
        "the list of revoked certificates has run out",
        "tunnel.crl_file is past its end",
        "copy a new crl.pem here",
    ),
    3: Words(
        ErrorCode.CRL_UNUSABLE,
        "the list of revoked certificates is another CA's",
        "tunnel.crl_file has none of the CA that issued the OMA's certificate",
        "copy ca.pem and crl.pem of one folder here",
    ),
    23: Words(ErrorCode.CERTIFICATE_REVOKED, "the OMA's certificate is revoked", "tunnel.crl_file lists it", NEW_OMA),
    26: Words(
        ErrorCode.CERTIFICATE_UNFIT,
        "the OMA shows a client's certificate",
        "it was not issued for a server",
        "put oma.pem, not vma.pem, on the OMA",
    ),
    62: Words(
        ErrorCode.CERTIFICATE_UNFIT,
        "the OMA's certificate is for another name",
        "it names none of the tunnel's services",
        "issue one that does (tunnel pki issue NAME --server), or check tunnel.host: is that the OMA?",
    ),
}
"""By OpenSSL's X509_V_ERR numbers (x509_vfy.h)."""
FOREIGN = Words(
    ErrorCode.CERTIFICATE_FOREIGN, "the OMA's certificate is of another CA", "tunnel.ca_file did not sign it", SAME_CA
)
FOREIGN_CODES = (2, 7, 18, 19, 20, 21)

OURS: dict[str, Words] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Words(
        ErrorCode.CERTIFICATE_REFUSED,
        "the OMA wants a certificate of this host",
        "none was shown",
        "set tunnel.cert_file",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Words(
        ErrorCode.CERTIFICATE_EXPIRED,
        "this host's certificate has expired",
        "the OMA refuses it: it is past its end, or the OMA's clock is",
        NEW_VMA,
    ),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": Words(
        ErrorCode.CERTIFICATE_REVOKED,
        "this host's certificate is revoked",
        "the OMA refuses it: the list of revoked certificates names it",
        hint("if that was not meant, issue a new one: ", _NEW_VMA),
    ),
    "TLSV1_ALERT_UNKNOWN_CA": Words(
        ErrorCode.CERTIFICATE_FOREIGN,
        "this host's certificate is of another CA",
        "the OMA refuses it: its CA did not sign it",
        SAME_CA,
    ),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": Words(
        ErrorCode.CERTIFICATE_UNFIT,
        "this host shows a server's certificate",
        "the OMA refuses it: it was not issued for a client",
        "put vma.pem, not oma.pem, in place of tunnel.cert_file",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": Words(
        ErrorCode.CERTIFICATE_REFUSED,
        "this host's certificate is refused",
        "the OMA finds it damaged, or not valid yet",
        "compare the clocks; rotate it",
    ),
}
"""By the alert that the OMA sent."""
OLD_TLS = Words(
    ErrorCode.TLS_VERSION,
    "the two ends have no TLS version in common",
    "the tunnel is TLS 1.3 alone, and one end offers an older one only",
    "is the OMA's port behind something that ends TLS itself? it must be passed through",
)
NO_TLS = Words(
    ErrorCode.WRONG_SERVICE,
    "what answers is no TLS",
    "another service listens on that port",
    "check tunnel.host and tunnel.port; SSH there? kind",
)
OLD_TLS_REASONS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
NO_TLS_REASONS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


class ClosedError(OSError):
    """The OMA took the connection, and closed it without a word."""


def exactly(line: Any, size: int, otherwise: str) -> bytes:
    """Return the next `size` bytes of a connection. Raises ClosedError, saying `otherwise`, where it ends before."""
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more:
            raise ClosedError(otherwise)
        data += more
    return data


def context(ca_file: Path, cert_file: Path, crl_file: Path | None, *, listening: bool = False) -> ssl.SSLContext:
    """Return what a handshake with the OMA needs: TLS 1.3 alone, our CA alone, our certificate, revoked ones refused.

    `listening`: for the end that is called. Raises PreconditionError for files that cannot be used.
    """
    file = ca_file
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if listening else ssl.Purpose.SERVER_AUTH
        made = ssl.create_default_context(purpose, cafile=str(file))
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        if crl_file is not None:
            file = crl_file
            made.load_verify_locations(str(file))
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        file = cert_file
        made.load_cert_chain(str(file))
    except (OSError, ValueError) as error:
        raise _unusable(file, error) from None
    return made


def explained(error: OSError, where: str) -> MigrateKitError:
    """Return our error for what a connection to the OMA's port, or a handshake there, ended with."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = FOREIGN if error.verify_code in FOREIGN_CODES else THEIRS.get(error.verify_code)
        other = Words(ErrorCode.UNKNOWN, "the OMA's certificate is not trusted", error.verify_message, SAME_CA)
        return (words or other).error(AuthError, "oma")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        reason = error.reason or ""
        if reason in OURS:
            return OURS[reason].error(AuthError, "vma")
        if reason in OLD_TLS_REASONS:
            return OLD_TLS.error(UnreachableError)
        if reason in NO_TLS_REASONS:
            return NO_TLS._replace(why=f"another service listens on {where}").error(UnreachableError)
        return UnreachableError(
            "the TLS handshake with the OMA failed",
            reason or str(error),
            "see HAProxy's log there",
            code=ErrorCode.UNKNOWN,
        )
    return _unanswered(error, where).error(UnreachableError)


def _unanswered(error: OSError, where: str) -> Words:
    if isinstance(error, ClosedError | ssl.SSLError):
        return Words(
            ErrorCode.CONNECTION_CLOSED,
            "the OMA closed the connection",
            str(error),
            hint("check the service on the OMA: ", on_oma("tunnel", "server", "check")),
        )
    if isinstance(error, socket.gaierror):
        return Words(
            ErrorCode.OMA_UNREACHABLE,
            "the OMA's name is not known",
            f"{where}: {error.strerror}",
            "check tunnel.host and the resolver",
        )
    if isinstance(error, ConnectionRefusedError):
        return Words(
            ErrorCode.OMA_NOT_LISTENING,
            "nothing listens on the OMA's port",
            f"{where} refused",
            "start it on the OMA: systemctl start migratekit-tunnel",
        )
    if isinstance(error, TimeoutError):
        return Words(
            ErrorCode.OMA_UNREACHABLE,
            "the OMA does not answer",
            f"nothing came from {where}",
            "check the network and the OMA's firewall",
        )
    return Words(
        ErrorCode.OMA_UNREACHABLE,
        "the OMA does not answer",
        f"{where}: {redact(str(error) or type(error).__name__)}",
        "check the network",
    )


def _unusable(file: Path, error: OSError | ValueError) -> MigrateKitError:
    openssl = getattr(error, "reason", None)
    reason = openssl or getattr(error, "strerror", None) or str(error)
    if openssl == "KEY_VALUES_MISMATCH":
        reason = "its certificate and its key are not of one pair"
    if isinstance(error, PermissionError):
        return AuthError(
            f"{file} may not be read",
            "another user's file",
            "run as the user who may, or change its owner",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(file)},
        )
    return PreconditionError(
        f"{file} cannot be used",
        str(reason),
        "check the files of the [tunnel] table",
        code=ErrorCode.CERTIFICATE_UNUSABLE,
        facts={"path": str(file)},
    )
