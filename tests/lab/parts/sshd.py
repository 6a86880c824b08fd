"""A real OpenSSH server of the lab's own, as an OMA that offers nothing but SSH, set up as docs/tunnel.md says."""

from __future__ import annotations

import getpass
import subprocess
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.adapters.tunnel.ssh.server import DROP_IN, authorized_line
from tests.lab.parts.process import Part, answers, launch, wait_until


@dataclass(frozen=True)
class Sshd:
    """The running server, and what a client needs to know."""

    part: Part
    port: int
    user: str
    host_key: str
    key_file: Path
    authorized: Path


def keypair(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a key pair; return the public one's line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path.with_name(f"{path.name}.pub").read_text().strip()


def config(folder: Path, address: str, port: int) -> Path:
    """Write the server's configuration: that of the documentation for everybody, and keys of its own."""
    lines = [
        f"ListenAddress {address}",
        f"Port {port}",
        f"HostKey {folder / 'ssh_host_ed25519_key'}",
        f"PidFile {folder / 'sshd.pid'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        # The lab's folders are below /tmp, which others may write.
        "StrictModes no",
        "UsePAM no",
        "LogLevel VERBOSE",
        *(line.strip() for line in DROP_IN.splitlines() if line.startswith("    ")),
    ]
    path = folder / "sshd_config"
    path.write_text("\n".join(lines) + "\n")
    return path


def start(folder: Path, port: int, services: dict[str, str], *, address: str = "127.0.0.1", command: str = "") -> Sshd:
    """Start the server; its one authorized key may reach the services, and run `command`."""
    folder.mkdir(parents=True, exist_ok=True)
    # It wants a folder that root alone may write; where there is no service manager nobody has made it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host_key = folder / "ssh_host_ed25519_key"
    if not host_key.exists():
        keypair(host_key)
        keypair(folder / "vma_key")
    public = (folder / "vma_key.pub").read_text().strip()
    authorized = folder / "authorized_keys"
    authorized.write_text(authorized_line(public, services, command) + "\n")
    authorized.chmod(0o600)
    part = launch("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(config(folder, address, port))], folder)
    wait_until(lambda: answers(port, address), part)
    shown = " ".join(host_key.with_name(f"{host_key.name}.pub").read_text().split()[:2])
    return Sshd(part, port, getpass.getuser(), shown, folder / "vma_key", authorized)
