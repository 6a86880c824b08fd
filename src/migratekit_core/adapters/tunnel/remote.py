"""Asks the OMA about itself over SSH (`[tunnel.ssh]`), for `doctor --remote`.

The key that logs in can run one command there, `migratekit tunnel server facts`, whatever is asked for.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import paramiko

from migratekit_core.adapters.tunnel.expiry import warnings
from migratekit_core.adapters.tunnel.facts import RemoteFacts, facts_here, from_dict
from migratekit_core.adapters.tunnel.ssh.login import connect, login_of, passphrase_of
from migratekit_core.adapters.tunnel.ssh.server import FACTS
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.hints import hint, on_oma
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import Config

ANSWER_SECONDS = 60.0
LARGEST = 4 * 1024 * 1024
PINGS = 5


def remote_facts(config: Config) -> RemoteFacts:
    """Return what the OMA says of itself; where this host is the OMA (`tunnel.kind = "none"`), what is so here.

    Raises PreconditionError where no SSH login is configured or the OMA has another version's command, AuthError,
    UnreachableError, and OperationFailedError for an answer that is none.
    """
    tunnel = config.tunnel
    if tunnel.ssh is None and not tunnel.leads_away:
        return facts_here(config, warnings(config))
    transport = connect(login_of(tunnel), passphrase_of(tunnel))
    try:
        round_trip = min(_ping(transport) for _ in range(PINGS))
        said, complaint, code, before, after = _run(transport, f"migratekit {FACTS}")
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            "the OMA stopped answering",
            redact(str(error)) or type(error).__name__,
            "run it again",
            code=ErrorCode.OMA_UNREACHABLE,
        ) from None
    finally:
        transport.close()
    try:
        fields = json.loads(said)
        facts = from_dict(fields)
    except ValueError:
        raise _no_facts(code, complaint or said) from None
    # The clock was read somewhere between the question and the answer's arrival, and told at once.
    skew = facts.clock - (after - round_trip / 2)
    error_margin = min(round_trip / 2 + 0.1, after - before)
    return replace(facts, clock_skew=skew, clock_error=error_margin, round_trip=round_trip)


def _run(transport: paramiko.Transport, command: str) -> tuple[str, str, int, float, float]:
    """Run a command; return its output, its complaints, its exit code, and when it was asked and had answered."""
    channel = transport.open_session(timeout=ANSWER_SECONDS)
    channel.settimeout(ANSWER_SECONDS)
    before = time.time()
    channel.exec_command(command)
    said = bytearray()
    while len(said) < LARGEST and (data := channel.recv(65536)):
        said += data
    after = time.time()
    complaint = channel.recv_stderr(65536).decode(errors="replace") if channel.recv_stderr_ready() else ""
    return said.decode(errors="replace"), complaint, channel.recv_exit_status(), before, after


def _ping(transport: paramiko.Transport) -> float:
    began = time.monotonic()
    # OpenSSH answers what it does not know, too.
    transport.global_request("keepalive@openssh.com", wait=True)
    return time.monotonic() - began


def _no_facts(code: int, text: str) -> OperationFailedError | PreconditionError:
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
    if code == 127:
        return PreconditionError(
            "the OMA has no migratekit command",
            redact(last),
            "install it there, and write its path into authorized_keys",
            code=ErrorCode.NOT_INSTALLED,
        )
    return OperationFailedError(
        "the OMA's answer holds no facts",
        f"exit {code}: {redact(last)}",
        hint("on the OMA: ", on_oma("tunnel", "server", "facts")),
        code=ErrorCode.BAD_ANSWER,
    )
