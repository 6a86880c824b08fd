"""What both ends share: HAProxy is asked whether a configuration is right before it gets to use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from migratekit_core import programs
from migratekit_core.errors import PreconditionError
from migratekit_core.files import write_private
from migratekit_core.redact import redact

COMMON = """\
global
    maxconn 4096
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
    clitcpka-idle 10s
    clitcpka-intvl 2s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 10s
    srvtcpka-intvl 2s
    srvtcpka-cnt 3
"""


def program() -> str:
    """Return HAProxy's path. Raises PreconditionError where it is not installed."""
    return programs.find("haproxy", "haproxy")


def write_config(path: Path, text: str) -> None:
    """Have HAProxy check a configuration, and write it (0600) if it is right.

    Raises PreconditionError with HAProxy's words; a configuration that was there is untouched then.
    """
    new = path.with_name(f"{path.name}.new")
    write_private(new, text)
    check = subprocess.run([program(), "-c", "-f", str(new)], capture_output=True, text=True, timeout=20, check=False)
    if check.returncode != 0:
        words = [line for line in check.stderr.splitlines() if "ALERT" in line] or ["no reason given"]
        new.unlink()
        raise PreconditionError(
            f"HAProxy refuses the configuration {path}", redact(words[0]), "check the [tunnel] table's files"
        )
    new.replace(path)
