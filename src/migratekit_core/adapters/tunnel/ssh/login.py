"""Logs in to the OMA by SSH: its host key is pinned, ours is a file's or the agent's, and a dead line is noticed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import paramiko

from migratekit_core.adapters.tunnel import KEEPALIVE, SERVICES, kinds
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.files import write_private
from migratekit_core.common.foreign import Row, classify
from migratekit_core.common.hints import hint, on_oma
from migratekit_core.common.redact import child_environment, redact
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import Services, Tunnel

CONNECT_SECONDS = 10.0
SSH_PORT = 22
ALIVE_SECONDS = 4
"""Between messages that keep firewalls from forgetting the connection."""
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
"""None without authentication of its own before the others: one pass over the data instead of two."""


class Login(NamedTuple):
    """Where to log in, as whom, and to whom alone."""

    host: str
    port: int
    user: str
    host_key: str
    key_file: str | None


def login_of(tunnel: Tunnel) -> Login:
    """Return what the settings say. Raises PreconditionError where there is no [tunnel.ssh]."""
    ssh = tunnel.ssh
    if ssh is None or not (ssh.host or tunnel.host):
        raise PreconditionError(
            "no SSH login to the OMA is configured", "there is no [tunnel.ssh] table with a host_key",
            "write one: docs/tunnel.md", code=ErrorCode.CONFIG_MISSING, facts={"setting": "tunnel.ssh"})  # fmt: skip
    port = ssh.port or (tunnel.port if kinds.of(tunnel).speaks_ssh else SSH_PORT)
    return Login(ssh.host or tunnel.host, port, ssh.user, ssh.host_key, str(ssh.key_file) if ssh.key_file else None)


def passphrase_of(tunnel: Tunnel) -> str | None:
    """Return the passphrase of the key file, where one is configured."""
    source = tunnel.ssh.passphrase if tunnel.ssh else None
    return source.read("tunnel.ssh.passphrase") if source else None


def settings(tunnel: Tunnel) -> str:
    """Return what the forwarding process is started with, as JSON; there is no secret in it."""
    sockets = {name: [str(socket_path(tunnel, name)), address] for name, address in _addresses(tunnel)}
    return json.dumps({"login": login_of(tunnel)._asdict(), "services": sockets}, indent=1) + "\n"


def write_settings(path: Path, text: str) -> None:
    """Write the settings down, after a look at the key. Raises PreconditionError or AuthError for one of no use."""
    check_key_file(Login(**json.loads(text)["login"]))
    write_private(path, text)


def launch(tunnel: Tunnel, config: Path, log: int) -> int:
    """Start the forwarding process in the background, its words going to the descriptor `log`; return its id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "migratekit_core.adapters.tunnel.ssh", str(config)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=child_environment(),
        cwd="/",
    )
    assert process.stdin is not None
    # By its standard input: neither in its arguments nor in its environment.
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write((passphrase_of(tunnel) or "").encode())
    return process.pid


def check_key_file(login: Login) -> None:
    """Raise PreconditionError or AuthError where the key file cannot be used, or where there is no agent instead."""
    if login.key_file is None:
        if not os.environ.get("SSH_AUTH_SOCK"):
            raise PreconditionError(
                "there is no key for the OMA",
                "no tunnel.ssh.key_file, and no agent ($SSH_AUTH_SOCK)",
                "set key_file",
                code=ErrorCode.SSH_KEY_UNUSABLE,
            )
        return
    try:
        mode = Path(login.key_file).stat().st_mode
    except OSError as error:
        raise PreconditionError(
            f"{login.key_file} cannot be read",
            error.strerror or str(error),
            "check tunnel.ssh.key_file",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(login.key_file)},
        ) from None
    if mode & 0o077:
        raise AuthError(
            f"{login.key_file} may be read by others",
            f"its mode is {mode & 0o777:o}",
            f"chmod 600 {login.key_file}",
            code=ErrorCode.FILE_NOT_PRIVATE,
            facts={"path": str(login.key_file)},
        )


def connect(login: Login, passphrase: str | None = None) -> paramiko.Transport:
    """Return a login to the OMA. Raises AuthError for a host or a key that is refused, UnreachableError, …"""
    check_key_file(login)
    keys = _keys(login, passphrase)
    try:
        plain = socket.create_connection((login.host, login.port), CONNECT_SECONDS)
    except OSError as error:
        raise _unreachable(login, error) from None
    for option, value in KEEPALIVE:
        plain.setsockopt(socket.IPPROTO_TCP, option, value)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(plain)
    try:
        _shake_hands(transport, login)
        _authenticate(transport, login, keys)
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(ALIVE_SECONDS)
    return transport


def fingerprint(key: str) -> str:
    """Return a public key's fingerprint as OpenSSH prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split(" ")[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _addresses(tunnel: Tunnel) -> list[tuple[str, tuple[str, int]]]:
    services: Services = tunnel.services
    found = []
    for name in SERVICES:
        host, _, port = services.addresses[name].rpartition(":")
        found.append((name, (host.strip("[]"), int(port))))
    return found


LOCKED = ErrorCode.SSH_KEY_UNUSABLE
SAYS = (
    Row(ErrorCode.HOST_KEY_MISMATCH, r"host key", ("Incompatible ssh peer (no acceptable host key)",)),
    Row(
        LOCKED,
        r"passw",
        (
            "Password was not given but private key is encrypted",
            "Key is password-protected, but password was not provided.",
        ),
    ),
)
"""What paramiko and cryptography say of a server without a key of the wanted kind, and of a key with a passphrase."""


def _shake_hands(transport: paramiko.Transport, login: Login) -> None:
    options = transport.get_security_options()
    options.ciphers = tuple(name for name in CIPHERS if name in options.ciphers)
    kind = login.host_key.split(" ")[0]
    # The server has a key of each kind: ask for the one that is pinned. RSA keys sign in newer ways than that.
    wanted = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}.get(kind, (kind,))
    options.key_types = tuple(name for name in wanted if name in options.key_types) or options.key_types
    try:
        transport.start_client(timeout=CONNECT_SECONDS)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if classify(SAYS, str(error)) is ErrorCode.HOST_KEY_MISMATCH:
            raise _another_host(login, f"the OMA has no key of the kind {kind}") from None
        raise UnreachableError(
            f"no SSH with {login.host}:{login.port}",
            redact(str(error) or type(error).__name__),
            "check tunnel.host and tunnel.port: does SSH listen there?",
            code=ErrorCode.WRONG_SERVICE,
            facts={"host": login.host, "port": login.port},
        ) from None
    key = transport.get_remote_server_key()
    shown = f"{key.get_name()} {key.get_base64()}"
    if shown != login.host_key:
        raise _another_host(login, f"it shows {fingerprint(shown)}, pinned is {fingerprint(login.host_key)}")


def _another_host(login: Login, why: str) -> MigrateKitError:
    return AuthError(
        f"{login.host}:{login.port} is not the OMA that is pinned",
        why,
        "ask the OMA's administrator whether its host key changed; only then change tunnel.ssh.host_key",
        code=ErrorCode.HOST_KEY_MISMATCH,
        facts={"host": login.host, "port": login.port},
    )


def _keys(login: Login, passphrase: str | None) -> Sequence[paramiko.PKey]:
    if login.key_file is None:
        keys = paramiko.Agent().get_keys()
        if not keys:
            raise AuthError(
                "the SSH agent holds no key",
                "tunnel.ssh.key_file is not set",
                "ssh-add a key, or set it",
                code=ErrorCode.SSH_KEY_UNUSABLE,
            )
        return keys
    try:
        # paramiko 5 says text in its annotation, and cryptography takes bytes only.
        password: Any = passphrase.encode() if passphrase else None
        return [paramiko.PKey.from_path(login.key_file, password)]
    except (paramiko.SSHException, ValueError, TypeError, OSError) as error:
        # Which of them a locked key is depends on its format.
        locked = isinstance(error, paramiko.PasswordRequiredException) or classify(SAYS, str(error)) is LOCKED
        if passphrase is None and locked:
            raise AuthError(
                f"{login.key_file} has a passphrase",
                "none is configured",
                "set tunnel.ssh.passphrase",
                code=ErrorCode.SSH_KEY_UNUSABLE,
                facts={"path": str(login.key_file)},
            ) from None
        why = redact(str(error)) or type(error).__name__ if passphrase is None else "the passphrase does not open it"
        raise AuthError(
            f"{login.key_file} cannot be used",
            why,
            "check tunnel.ssh.key_file and passphrase",
            code=ErrorCode.SSH_KEY_UNUSABLE,
            facts={"path": str(login.key_file)},
        ) from None


def _authenticate(transport: paramiko.Transport, login: Login, keys: Sequence[paramiko.PKey]) -> None:
    for key in keys:
        try:
            transport.auth_publickey(login.user, key)
            return
        except paramiko.AuthenticationException:
            continue
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"{login.host}:{login.port} ended the login",
                redact(str(error)) or "no reason given",
                "see sshd's log",
                code=ErrorCode.CONNECTION_CLOSED,
                facts={"host": login.host, "port": login.port},
            ) from None
    shown = "the key" if login.key_file else f"none of the agent's {len(keys)} keys"
    raise AuthError(
        f"the OMA refuses {login.user}'s key",
        f"{shown} {'is not' if login.key_file else 'is'} in that user's authorized_keys",
        hint("on the OMA: ", on_oma("tunnel", "server", "authorize", "KEY.pub")),
        code=ErrorCode.SSH_KEY_REFUSED,
        facts={"user": login.user},
    )


def _unreachable(login: Login, error: OSError) -> MigrateKitError:
    why = "nothing answers" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return UnreachableError(
        f"{login.host}:{login.port} does not answer",
        why,
        "check tunnel.host and the network",
        code=ErrorCode.OMA_UNREACHABLE,
        facts={"host": login.host, "port": login.port},
    )
