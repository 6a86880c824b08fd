"""Reads a disk through VMware's own library (VDDK) with nbdkit's vddk plugin: any datastore, any chain of snapshots.

Two nbdkits: the inner one holds the library, the outer one gives all connections of engine and hasher the same single
connection to it. So one disk is one session of the ESXi host, whatever reads it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket as socketlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from migratekit_core.adapters.readers.folder import private_folder
from migratekit_core.adapters.readers.layout import ALL
from migratekit_core.adapters.readers.model import Ask, Plugin, Reader
from migratekit_core.adapters.readers.reader import (
    first_connection,
    log_of,
    nbd_uri,
    nbdkit,
    secret_pipe,
    serve,
)
from migratekit_core.common import programs
from migratekit_core.common.childprocess import last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.foreign import Row, classify
from migratekit_core.config.schema import VCenter
from migratekit_core.config.source import Source, Vddk

if TYPE_CHECKING:
    pass

LARGEST_READ = "2M"
"""Through vCenter larger reads fail under load; nbdkit's blocksize filter splits what is larger."""
RETRIES = ("retries=3", "retry-delay=1", "retry-exponential=yes")
"""Of a read that failed, each in a new session: after 1, 2 and 4 seconds."""
PROBE_SECONDS = 30
USUAL_FOLDERS = ("/usr/lib/vmware-vix-disklib", "/opt/vmware-vix-disklib-distrib")
"""Where the library is usually unpacked; it is the operator's own to install."""
OPEN_SECONDS = 180.0
"""What VDDK may take to log in and open a disk."""

SAYS = (
    Row(
        ErrorCode.SOURCE_LOGIN_REFUSED,
        r"user ?name or password|InvalidLogin|cannot complete login|Login failure. Callback error 3014",
        (
            "VixDiskLibVim: Login failure. Callback error 3014 at 2439.",
            "Cannot complete login due to an incorrect user name or password.",
        ),
    ),
    Row(
        ErrorCode.VCENTER_PRIVILEGE_MISSING,
        r"insufficient permission|access rights|no permission|NoPermission|permission denied",
        ("VixDiskLib_Open: [ds] a.vmdk: You do not have access rights to this file",),
    ),
    Row(
        ErrorCode.SOURCE_UNTRUSTED,
        r"thumbprint|certificate",
        ("VixDiskLib_ConnectEx: The host certificate chain is not complete",),
    ),
    Row(
        ErrorCode.SOURCE_UNREACHABLE,
        r"cannot connect|Callback error 18000|failed to connect|could not connect|refused connection"
        r"|connection refused|timed out",
        (
            "VixDiskLib_Open: [ds] a.vmdk: The server refused connection",
            "[NFC ERROR]NfcNewAuthdConnectionEx: Failed to connect to server esx1:902",
        ),
    ),
)
"""What VDDK and nbdkit's vddk plugin say."""
GET = (
    "get VDDK (vSphere Virtual Disk Development Kit; docs/vddk.md says where), unpack it, and set libdir to that folder"
)
_NOISE = re.compile(r"please verify whether the .thumbprint. parameter|initial client flags", re.IGNORECASE)
"""nbdkit's guess after any unknown error, and what it says when somebody looks whether it answers."""


def require(settings: Vddk) -> None:
    """Raise PreconditionError, saying what to install, unless nbdkit has the plugin and that loads the library."""
    nbdkit_program = programs.find("nbdkit", "nbdkit")
    if not settings.libdir.is_dir():
        raise PreconditionError(
            f"source.vddk.libdir {settings.libdir} cannot be read",
            "there is no such folder",
            GET,
            code=ErrorCode.NOT_INSTALLED,
            facts={"path": str(settings.libdir)},
        )
    if not _libraries(settings.libdir):
        raise PreconditionError(
            f"source.vddk.libdir {settings.libdir} holds no VDDK",
            "there is no lib64/libvixDiskLib.so.N in it",
            GET,
            code=ErrorCode.NOT_INSTALLED,
            facts={"path": str(settings.libdir)},
        )
    found = _dump(nbdkit_program, settings.plugin, settings.libdir)
    if "name=vddk" not in found.splitlines():
        raise PreconditionError(
            f"nbdkit has no plugin {settings.plugin}",
            last_line("\n".join(line for line in found.splitlines() if "--help" not in line)),
            "Debian's nbdkit has none: build it from nbdkit's source (docs/readers.md#vddk), set source.vddk.plugin",
            code=ErrorCode.NOT_INSTALLED,
            facts={"plugin": str(settings.plugin)},
        )
    if "vddk_library_version=" not in found:
        raise PreconditionError(
            f"the VDDK in {settings.libdir} cannot be loaded",
            "nbdkit's plugin finds it, and it does not load: a file of it is missing, or it is for another system",
            f"unpack it anew; to see why: LD_LIBRARY_PATH={_library_path(settings.libdir)} ldd "
            f"{_libraries(settings.libdir)[0]}",
            code=ErrorCode.NOT_INSTALLED,
            facts={"path": str(settings.libdir)},
        )


@contextmanager
def open_disk(ask: Ask) -> Iterator[str]:
    """Serve the disk, as it is in the snapshot, as long as the block runs, and yield its NBD URI.

    Raises AuthError, UnreachableError or OperationFailedError, with the library's words, where it does not open.
    """
    settings, vcenter, disk, subject = _settings(ask.source), ask.vcenter, ask.disk, ask.subject
    secret = vcenter.password.read("vcenter.password")
    thumbprint = thumbprint_of(vcenter)
    with private_folder("vddk") as folder, secret_pipe(secret) as password:
        inner, outer = folder / "vddk.sock", folder / "disk.sock"
        command = [
            *nbdkit(inner),
            "--filter=blocksize",
            "--filter=noextents",
            "--filter=retry",
            settings.plugin,
            f"maxdata={LARGEST_READ}",
            *RETRIES,
            f"libdir={settings.libdir.resolve()}",
            f"server={vcenter.host}",
            f"user={vcenter.user}",
            f"password=-{password}",
            f"thumbprint={thumbprint}",
            f"vm=moref={ask.snapshot.vm.moref}",
            f"snapshot={ask.snapshot.moref}",
            f"transports={settings.transports}",
            f"file={disk.path}",
        ]
        if vcenter.port != 443:
            command.append(f"port={vcenter.port}")
        with (
            serve(command, inner, subject, pass_fds=[password], env=_environment(settings.libdir)),
            ExitStack() as sharing,
        ):
            try:
                # It connects as it starts, and ends where it cannot.
                share = [*nbdkit(outer), "nbd", f"socket={inner}", "shared=true"]
                sharing.enter_context(serve(share, outer, subject, seconds=OPEN_SECONDS))
                size, trouble = first_connection(nbd_uri(outer))
            except OperationFailedError as error:
                size, trouble = -1, error.why
            if size < 0:
                raise _explained(subject, vcenter, log_of(inner) or trouble)
            if size != disk.capacity_bytes:
                raise OperationFailedError(
                    f"{subject} cannot be read through vddk",
                    f"VDDK says it has {size} bytes, vSphere {disk.capacity_bytes}",
                    "run it again; a disk that was resized meanwhile has its new size then",
                    code=ErrorCode.SIZE_MISMATCH,
                    facts={"size": size, "wanted": disk.capacity_bytes},
                )
            yield nbd_uri(outer)


def thumbprint_of(vcenter: VCenter) -> str:
    """Return the SHA-1 fingerprint of vCenter's certificate, which is checked against the CA first.

    SHA-1 is what VDDK asks for. Raises UnreachableError where nothing answers or the certificate is not trusted.
    """
    from migratekit_core.adapters.vsphere.session import trust
    from migratekit_core.adapters.vsphere.unreachable import unreachable

    where = f"vCenter {vcenter.host}:{vcenter.port}"
    try:
        with (
            socketlib.create_connection((vcenter.host, vcenter.port), vcenter.timeout) as plain,
            trust(vcenter).wrap_socket(plain, server_hostname=vcenter.host) as secured,
        ):
            certificate = secured.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise unreachable(where, error) from None
    return hashlib.sha1(certificate, usedforsecurity=False).digest().hex(":").upper()


def _libraries(libdir: Path) -> list[Path]:
    return sorted([*libdir.glob("lib64/libvixDiskLib.so.[0-9]*"), *libdir.glob("libvixDiskLib.so.[0-9]*")])


def _library_path(libdir: Path) -> str:
    return str(_libraries(libdir.resolve())[0].parent)


def _environment(libdir: Path) -> dict[str, str]:
    """Return what has the library find its own parts; else the plugin runs nbdkit anew, and the password goes through
    a file."""
    before = os.environ.get("LD_LIBRARY_PATH")
    path = _library_path(libdir)
    return {"LD_LIBRARY_PATH": f"{path}:{before}" if before else path}


@functools.lru_cache
def _dump(program: str, plugin: str, libdir: Path) -> str:
    """Return what nbdkit says of its plugin and the library."""
    try:
        done = subprocess.run(
            [program, "--dump-plugin", plugin, f"libdir={libdir.resolve()}"],
            env={**os.environ, **_environment(libdir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it said nothing for {PROBE_SECONDS} s"
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def _explained(subject: str, vcenter: VCenter, said: str) -> MigrateKitError:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.search(line)]
    text = "\n".join(lines)
    # The first line is what went wrong; those behind it are what that led to.
    words = re.sub(r"^nbdkit: (vddk\S*: )?(error: )?", "", lines[0]) if lines else "the library said nothing"
    where = f"vCenter {vcenter.host}:{vcenter.port}"
    code = classify(SAYS, text)
    if code is ErrorCode.SOURCE_LOGIN_REFUSED:
        return AuthError(
            f"{subject}: VDDK could not log in to {where}",
            words,
            "check vcenter.user and vcenter.password",
            code=code,
        )
    if code is ErrorCode.VCENTER_PRIVILEGE_MISSING:
        return AuthError(
            f"{subject}: VDDK may not read the disk",
            words,
            "grant what docs/permissions.md lists for VDDK; the ESXi host must be reachable on port 902, too",
            code=code,
        )
    if code is ErrorCode.SOURCE_UNTRUSTED:
        return AuthError(
            f"{subject}: VDDK does not trust {where}",
            words,
            "was its certificate changed this moment? run the command again",
            code=code,
        )
    if code is ErrorCode.SOURCE_UNREACHABLE:
        return UnreachableError(
            f"{subject}: VDDK does not reach vCenter or the ESXi host",
            words,
            f"open ports {vcenter.port} of {vcenter.host} and 902 of the ESXi host for this machine",
            code=code,
        )
    return OperationFailedError(
        f"{subject} cannot be read through vddk", words, "docs/readers.md#vddk says what VDDK needs", code=code
    )


def _settings(source: Source) -> Vddk:
    assert source.vddk is not None, "named, or configured"
    return source.vddk


def _unset(source: Source) -> str:
    return "no VDDK is configured (source.vddk.libdir)" if source.vddk is None else ""


def _proven(source: Source) -> str:
    if source.vddk is None:
        return ""
    require(source.vddk)
    return f"{source.vddk.plugin}, VDDK library in {source.vddk.libdir}"


def _library() -> str:
    for folder in USUAL_FOLDERS:
        found = sorted(Path(folder).glob("lib64/libvixDiskLib.so.*"))
        if found:
            return f"; VDDK library {found[0]}"
    return f"; no VDDK library in {' or '.join(USUAL_FOLDERS)}"


READER = Reader(
    "vddk",
    how="through vddk",
    reads=ALL,
    open=open_disk,
    unset=_unset,
    require=lambda source, vm: require(_settings(source)),
    plugins=(Plugin("vddk", "Debian packages none: docs/vddk.md", _proven, _library),),
    sessions=lambda source: source.vddk.sessions if source.vddk else None,
)
