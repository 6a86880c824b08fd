"""Who may take part in a fleet: TLS 1.3 on every connection, certificates of our CA that name a part in it.

Whoever is let in may have any code run on every worker, so it is not enough that a certificate is our CA's: a tunnel's
is refused, and each end takes the parts only that it has to do with. Where the handshake fails, `probe` says why.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from distributed import Security

from migratekit_core.adapters.tunnel import refusal
from migratekit_core.adapters.tunnel.certificates import fleet_role
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.hints import Command, Hint, at_ca, hint
from migratekit_core.config.fleet import Fleet

PROBE_SECONDS = 5.0
SCHEDULER, WORKER, CLIENT = "scheduler", "worker", "client"
CALLED_BY = {SCHEDULER: (SCHEDULER, WORKER, CLIENT), WORKER: (SCHEDULER,), CLIENT: ()}
"""Whom each part answers. The scheduler is a client of itself: it drives the waves."""
CALLS = {SCHEDULER: (SCHEDULER, WORKER), WORKER: (SCHEDULER,), CLIENT: (SCHEDULER,)}


def _issue(part: str) -> Command:
    return at_ca("tunnel", "pki", "issue", "NAME", "--fleet", part)


class NoPartError(ssl.SSLCertVerificationError):
    """The other end's certificate names none of the parts of a fleet that it may have."""


class _Socket(ssl.SSLSocket):
    """A connection whose other end has to have one of some parts."""

    parts: tuple[str, ...] = ()

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        shown: Any = self.getpeercert() or {}
        names = [str(name) for _, name in shown.get("subjectAltName", ())]
        if fleet_role(names) not in self.parts:
            self.close()
            raise NoPartError(1, f"the certificate of {names or 'nobody'} has no such part in a fleet")


class FleetSecurity(Security):  # type: ignore[misc]
    """Dask's Security with our rules: what a connection is made with, and what is listened with."""

    def __init__(self, fleet: Fleet, part: str) -> None:
        """`part`: this process's, and what its certificate has to name."""
        # Named, although the contexts are ours: without them Dask would listen without TLS.
        files = {f"tls_{role}_cert": str(fleet.cert_file) for role in CALLS}
        super().__init__(require_encryption=True, tls_ca_file=str(fleet.ca_file), **files)
        self._fleet = fleet
        self._part = part

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return what a connection is made with."""
        return {"ssl_context": context(self._fleet, CALLS[self._part]), "require_encryption": True}

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return what is listened with."""
        return {
            "ssl_context": context(self._fleet, CALLED_BY[self._part], listening=True),
            "require_encryption": True,
        }

    def __reduce__(self) -> Any:
        raise TypeError("what opens the fleet stays in its process")


def security(fleet: Fleet, part: str) -> FleetSecurity:
    """Return what a process of this part connects and listens with.

    Raises PreconditionError for files that cannot be used, AuthError for a certificate that names another part.
    """
    context(fleet, ())  # refuses files that cannot be used, before anything is begun with them
    mine = _own_part(fleet)
    if mine != part and not (part == CLIENT and mine == SCHEDULER):
        raise AuthError(
            f"this host's certificate is none for a fleet's {part}",
            f"fleet.cert_file ({fleet.cert_file}) names {f'a {mine}' if mine else 'no part in a fleet'}",
            hint("issue one: ", _issue(part)),
            code=ErrorCode.CERTIFICATE_UNFIT,
            facts={"path": str(fleet.cert_file), "part": part},
        )
    return FleetSecurity(fleet, part)


def context(fleet: Fleet, parts: tuple[str, ...], *, listening: bool = False) -> ssl.SSLContext:
    """Return a context that takes the given parts only. Raises PreconditionError for files that cannot be used."""
    assert fleet.ca_file and fleet.cert_file, "the schema asks for them"
    made = refusal.context(fleet.ca_file, fleet.cert_file, fleet.crl_file, listening=listening)
    # By the name that a certificate gives its holder's part, not by a host's: workers have addresses that nobody knows.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.sslsocket_class = type("FleetSocket", (_Socket,), {"parts": parts})
    return made


def probe(fleet: Fleet) -> MigrateKitError | None:
    """Return why the scheduler does not take us, or cannot be reached; None where it does."""
    assert fleet.scheduler is not None, "the caller has looked"
    host, _, port = fleet.scheduler.rpartition(":")
    try:
        trust = context(fleet, (SCHEDULER,))
        with (
            socket.create_connection((host, int(port)), PROBE_SECONDS) as plain,
            trust.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.settimeout(PROBE_SECONDS)
            # Dask's scheduler speaks first. What it refuses is told by what comes back.
            if not secured.recv(1):
                raise refusal.ClosedError("the scheduler closed the connection")
    except OSError as error:
        return _explained(error, fleet.scheduler)
    except MigrateKitError as error:
        return error
    return None


def check(fleet: Fleet) -> None:
    """Raise what `probe` found."""
    problem = probe(fleet)
    if problem is not None:
        raise problem


_WORDS = (("the OMA's certificate", "the scheduler's certificate"), ("the OMA", "the scheduler"),
          ("The OMA", "The scheduler"), ("tunnel.cert_file", "fleet.cert_file"), ("tunnel.ca_file", "fleet.ca_file"),
          ("tunnel.crl_file", "fleet.crl_file"), ("tunnel.host and tunnel.port", "fleet.scheduler"),
          ("tunnel.host", "fleet.scheduler"))  # fmt: skip


def _explained(error: OSError, where: str) -> MigrateKitError:
    if isinstance(error, NoPartError):
        return AuthError(
            f"what answers on {where} is no scheduler of a fleet",
            "its certificate was not issued for one",
            hint("check fleet.scheduler; for the scheduler's host: ", _issue(SCHEDULER)),
            code=ErrorCode.CERTIFICATE_UNFIT,
            facts={"address": where},
        )
    if isinstance(error, refusal.ClosedError | ConnectionResetError):
        return AuthError(
            "the scheduler refuses this host's certificate",
            f"{where} closed the connection after the handshake",
            hint("is it of the same CA, not revoked, and for a fleet? issue one: ", _issue(WORKER)),
            code=ErrorCode.CERTIFICATE_REFUSED,
            facts={"address": where},
        )
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(
            "no scheduler runs",
            f"nothing listens on {where}",
            "start it: systemctl start migratekit-fleet-scheduler",
            code=ErrorCode.SCHEDULER_UNREACHABLE,
            facts={"address": where},
        )
    found = refusal.explained(error, where)
    return type(found)(
        _of_a_fleet(found.what),
        _of_a_fleet(found.why),
        hint(_todo(found)).mapped(_of_a_fleet),
        code=found.code,
        facts=found.facts,
    )


def _of_a_fleet(text: str) -> str:
    for old, new in _WORDS:
        text = text.replace(old, new)
    return text


def _todo(found: MigrateKitError) -> Hint | str:
    if isinstance(found, AuthError):
        return hint("compare ca.pem and crl.pem on both hosts; if need be issue one: ", _issue("PART"))
    if isinstance(found, PreconditionError):
        return found.todo.mapped(lambda text: text.replace("[tunnel]", "[fleet]"))
    return "check fleet.scheduler, the network, and the scheduler's log: journalctl -u migratekit-fleet-scheduler"


def _own_part(fleet: Fleet) -> str:
    from cryptography import x509

    from migratekit_core.adapters.tunnel.certificates import names_of

    assert fleet.cert_file is not None, "the schema asks for it"
    with contextlib.suppress(OSError, ValueError):
        return fleet_role(names_of(x509.load_pem_x509_certificate(fleet.cert_file.read_bytes())))
    return ""
