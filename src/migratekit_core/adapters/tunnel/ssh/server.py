"""What the OMA's SSH server has to be told: who may log in, and what that login may do."""

from __future__ import annotations

from collections.abc import Mapping

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError

USER = "migratekit-tunnel"
DROP_IN = f"""\
# /etc/ssh/sshd_config.d/migratekit.conf: the tunnel's login. It can forward to three addresses, and nothing else.
Match User {USER}
    AuthenticationMethods publickey
    PasswordAuthentication no
    AllowTcpForwarding local
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTTY no
    PermitTunnel no
    GatewayPorts no
    # A VMA that is gone without a word is noticed after 6 to 12 s: sshd looks at every second interval only.
    ClientAliveInterval 2
    ClientAliveCountMax 2
"""
KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "ssh-rsa")
FACTS = "tunnel server facts --output json"
"""What `doctor --remote` runs on the OMA, and the only command that the key may run."""


def authorized_line(public_key: str, services: Mapping[str, str], command: str) -> str:
    """Return the line of authorized_keys that lets a VMA's key reach the three services, and run one command.

    Raises UsageError for a text that is no public key.
    """
    words = public_key.split()
    if len(words) < 2 or words[0] not in KINDS or not public_key.isprintable():
        raise UsageError(
            "that is no public key",
            "it has to be one line, and hold nothing that cannot be printed: KIND BASE64 COMMENT",
            "pass the .pub file",
            code=ErrorCode.FILE_INVALID,
        )
    allowed = ",".join(f'permitopen="{services[name]}"' for name in sorted(services))
    forced = command.replace("\\", "\\\\").replace('"', '\\"')
    return f'restrict,port-forwarding,{allowed},command="{forced}" {" ".join(words)}'
