"""The lab's ESXi host, as far as it is read by ssh: a real OpenSSH server that shows the datastores as a host does.

It runs in a mount namespace of its own, so that `/vmfs/volumes` and root's password are there as on a host, and nothing
of this machine changes: sshd's chroot is a tmpfs with the lab's datastores bound into it, read-only.
"""

from __future__ import annotations

import secrets
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common.files import write_private
from tests.lab.parts.process import Part, answers, choose_port, launch, wait_until

CHROOT = "/srv"
"""Any folder that every Debian has, is root's, and is not needed by sshd."""


@dataclass(frozen=True)
class Esxi:
    """The running server."""

    part: Part
    port: int
    known_hosts: Path
    identity: Path
    stranger: Path
    """A key that the host does not know."""
    password: str


def keypair(path: Path) -> str:
    """Make a key pair and return the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def start(run: Path, datastores: Path) -> Esxi:
    """Start the server over the lab's datastores."""
    folder = run / "esxi"
    folder.mkdir(mode=0o700)
    port = choose_port(None)
    host_key = keypair(folder / "host")
    allowed = keypair(folder / "identity")
    keypair(folder / "stranger")
    write_private(folder / "authorized_keys", allowed + "\n")
    write_private(folder / "known_hosts", f"[127.0.0.1]:{port} {host_key}\n")
    password = secrets.token_urlsafe(18)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    ).stdout.strip()
    write_private(folder / "shadow", f"root:{hashed}:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\n")
    write_private(folder / "sshd_config", _config(folder, port))
    volumes = f"{CHROOT}/vmfs/volumes"
    script = f"""set -e
mount -t tmpfs -o mode=755 none {CHROOT}
mkdir -p {volumes} /run/sshd
mount --bind {shlex.quote(str(datastores))} {volumes}
mount -o remount,bind,ro {volumes}
mount --bind {shlex.quote(str(folder / "shadow"))} /etc/shadow
exec /usr/sbin/sshd -D -e -f {shlex.quote(str(folder / "sshd_config"))}
"""
    part = launch("esxi", ["unshare", "--mount", "sh", "-c", script], run)
    wait_until(lambda: answers(port), part)
    return Esxi(part, port, folder / "known_hosts", folder / "identity", folder / "stranger", password)


def _config(folder: Path, port: int) -> str:
    return f"""\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
LogLevel VERBOSE
ChrootDirectory {CHROOT}
ForceCommand internal-sftp -R
Subsystem sftp internal-sftp
"""
