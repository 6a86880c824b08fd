"""What both ends share: HAProxy is asked whether a configuration is right before it gets to use it."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import tempfile
from pathlib import Path

from migratekit_core.common import programs
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.common.files import write_private
from migratekit_core.common.redact import child_environment, redact

COMMON = """\
global
    maxconn 4096
    # Four TLS records at a time: a fifth less CPU than with one. More does not help.
    tune.bufsize 65536
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode tcp
    timeout connect 10s
    # Whoever connects tries again by itself, and is told sooner.
    retries 1
    # An idle database or NBD connection is not a dead one; keepalive tells the two apart.
    timeout client 24h
    timeout server 24h
    option clitcpka
    clitcpka-idle 4s
    clitcpka-intvl 1s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 4s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
"""
UNANSWERED = "6500ms"
"""How long bytes may go unacknowledged (TCP_USER_TIMEOUT); see tunnel.KEEPALIVE, which says the same elsewhere."""


def quoted(text: Path | str) -> str:
    """Return a word of the configuration: HAProxy has the shell's quotes. Raises UsageError for a name with characters
    that print nothing: a line break would be a line of the configuration, quotes or not."""
    word = str(text)
    if not word.isprintable():
        raise UsageError(
            f"{word!r} cannot stand in HAProxy's configuration",
            "it holds characters that print nothing",
            "give the file or address another name",
            code=ErrorCode.CONFIG_INVALID,
            facts={"name": word},
        )
    return shlex.quote(word)


def stamp(*files: Path | None) -> str:
    """Return a comment that changes with the files' content: HAProxy reads them at its start only."""
    digest = hashlib.sha256()
    for file in files:
        if file is not None and file.is_file():
            digest.update(file.read_bytes())
    return f"# files: {digest.hexdigest()[:32]}"


def program() -> str:
    """Return HAProxy's path. Raises PreconditionError where it is not installed."""
    return programs.find("haproxy", "haproxy")


def check(text: str) -> str:
    """Return why HAProxy would refuse a configuration; "" where it takes it. Raises PreconditionError without it."""
    with tempfile.NamedTemporaryFile("w", prefix="migratekit-", suffix=".cfg") as file:
        file.write(text)
        file.flush()
        return _complaint(Path(file.name))


def write_config(path: Path, text: str) -> None:
    """Have HAProxy check a configuration, and write it (0600) if it is right.

    Raises PreconditionError with HAProxy's words; a configuration that was there is untouched then.
    """
    new = path.with_name(f"{path.name}.new")
    write_private(new, text)
    problem = _complaint(new)
    if problem:
        new.unlink()
        raise PreconditionError(
            f"HAProxy refuses the configuration {path}",
            problem,
            "check the files and addresses that it names",
            code=ErrorCode.TUNNEL_UNFIT,
            facts={"path": str(path)},
        )
    new.replace(path)


def _complaint(file: Path) -> str:
    command = [program(), "-c", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=child_environment(), check=False)
    if done.returncode == 0:
        return ""
    words = [line for line in done.stderr.splitlines() if "ALERT" in line] or ["no reason given"]
    return redact(words[0])
