"""Reads `…-flat.vmdk` from vSphere's datastore browser: no VDDK, only port 443, with the command's own session."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from migratekit_core.adapters.readers.layout import flat_file
from migratekit_core.adapters.readers.model import Ask, Plugin, Reader
from migratekit_core.adapters.readers.process import REFUSED, Said, Serving, serve_disk
from migratekit_core.adapters.vsphere.privilege import Privilege
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    BusyError,
    Fact,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.config.schema import VCenter

if TYPE_CHECKING:
    from migratekit_core.adapters.vsphere.inventory import Disk

MODULE = "migratekit_core.adapters.readers.remote.https"
UNFIT = frozenset({"no-parts", "locked", "missing"})
"""What this file, or this server, does not let us read, and another reader may."""
OTHER_READER = "choose another reader (source.reader): docs/readers.md"
IN_BETWEEN = "check vcenter.host and vcenter.port: does something else answer there, or stand between?"


def flat_url(vcenter: VCenter, datacenter: str, disk: Disk) -> str:
    """Return the URL of the disk's flat file in the datastore browser."""
    return f"https://{vcenter.host}:{vcenter.port}{_target(datacenter, disk)}"


def _target(datacenter: str, disk: Disk) -> str:
    query = urlencode({"dcPath": datacenter, "dsName": disk.datastore})
    return f"/folder/{quote(flat_file(disk))}?{query}"


def open_disk(ask: Ask) -> AbstractContextManager[str]:
    """Serve the disk as long as the block runs, and yield its NBD URI; the password stays here."""
    vcenter, datacenter = ask.vcenter, ask.snapshot.vm.datacenter
    url = flat_url(vcenter, datacenter, ask.disk)
    settings = {
        "host": vcenter.host,
        "port": vcenter.port,
        "target": _target(datacenter, ask.disk),
        "ca_file": str(vcenter.ca_file.absolute()) if vcenter.ca_file else "",
        "size": ask.disk.capacity_bytes,
        "patience": ask.source.patience,
    }
    cookies = _Cookies(ask)
    serving = Serving(
        "https",
        MODULE,
        settings,
        lambda said: explained(ask, url, said),
        {"cookie": cookies.get},
        lambda said: _waits(ask, url, said),
        UNFIT,
    )
    return serve_disk(ask, serving)


class _Cookies:
    """The cookie of the command's session, for the reader that has none of its own."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._given = ""

    def get(self, about: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return it; where the one that was given last has ended, another one. Raises what a login may."""
        with self._ask.snapshot.session() as managed:
            connection = managed._stub
            if about.get("ended") and cookie_of(connection.cookie) == self._given:
                # Any call that needs a session: one that has ended is begun anew by it, as in all that we do.
                _ = managed.runtime.powerState
            self._given = cookie_of(connection.cookie)
        return {"cookie": self._given}


def cookie_of(text: str) -> str:
    """Return what goes back to the server of a cookie that it set."""
    return text.partition(";")[0].strip()


def _waits(ask: Ask, url: str, said: Said) -> str:
    disk, minutes = ask.disk.label, round(ask.source.patience / 60)
    if said.code == "locked":
        held = "as while a backup or another reader holds the file"
        return f"{disk} waits, at most {minutes} min: {url} answers 500, {held}"
    status = f"answers {said.text('status')}" if "status" in said.facts else said.text("text")
    return f"{disk} waits for vCenter, at most {minutes} min: {url}: {status}"


def explained(ask: Ask, url: str, said: Said) -> MigrateKitError:
    """Return the error for what the reader process says of the file at `url`."""
    subject = f"{ask.subject} cannot be read over https"
    facts: dict[str, Fact] = {"url": url, **said.facts}
    status, text = said.text("status"), said.text("text")
    answered = f"{url} answered {status}"
    match said.code:
        case "locked":
            return BusyError(
                subject,
                f"{answered} for {said.text('waited')} s: another tool holds the file, or vCenter does not serve it",
                f"look for a backup of this machine, or another reader; then run it again. Else {OTHER_READER}",
                code=ErrorCode.SOURCE_LOCKED,
                facts=facts,
            )
        case "forbidden":
            return AuthError(
                subject,
                f"{answered}: the account may not read files of this datastore",
                "grant Datastore.Browse and Datastore.FileManagement on datacenter and datastore: docs/permissions.md",
                code=ErrorCode.VCENTER_PRIVILEGE_MISSING,
                facts=facts,
            )
        case "login":
            return AuthError(
                subject,
                f"{answered}: it does not take the session of {ask.vcenter.user}",
                f"look in vCenter's log why; or {OTHER_READER}",
                code=ErrorCode.SOURCE_LOGIN_REFUSED,
                facts=facts,
            )
        case "missing":
            return OperationFailedError(
                subject,
                f"{answered}: the datastore browser has no such file",
                "look for that file in the datastore browser: was the disk moved or renamed meanwhile? Run it again",
                code=ErrorCode.SOURCE_FILE_MISSING,
                facts=facts,
            )
        case "no-parts":
            return PreconditionError(
                subject,
                f"{answered}, the whole file: this server gives no parts of files",
                OTHER_READER,
                code=ErrorCode.READER_UNFIT,
                facts={"reader": "https", **facts},
            )
        case "size":
            return OperationFailedError(
                subject,
                f"{url} has {said.text('size')} bytes, the disk {ask.disk.capacity_bytes}",
                "run it again; a disk that was resized meanwhile has its new size then",
                code=ErrorCode.SIZE_MISMATCH,
                facts={**facts, "wanted": ask.disk.capacity_bytes},
            )
        case "untrusted":
            return UnreachableError(
                f"{ask.subject}: vCenter {ask.vcenter.host}:{ask.vcenter.port} cannot be trusted",
                text,
                "set vcenter.ca_file to the CA that signed its certificate",
                code=ErrorCode.VCENTER_UNTRUSTED,
                facts=facts,
            )
        case "unreachable" | "unavailable" | "torn" | "slow":
            why = answered if status else text or "its answers take too long"
            return UnreachableError(
                subject,
                f"{why}, again and again, for {said.text('waited')} s",
                "look whether vCenter's services run, and check the network; then run it again",
                code=ErrorCode.VCENTER_UNREACHABLE,
                facts=facts,
            )
    return _no_datastore(subject, url, said, facts)


def _no_datastore(subject: str, url: str, said: Said, facts: Mapping[str, Fact]) -> MigrateKitError:
    """Return the error for an answer that no datastore browser gives."""
    texts = {
        REFUSED: "the command has no session for it",
        "closed": "the reader was closed",
        "redirect": f"{said.text('status')}, and points to {said.text('location') or 'another place'}",
        "page": f"{said.text('status')}, a page for a browser",
        "encoded": f"a body that is encoded ({said.text('encoding')}), though it was asked for none",
        "range": f"other bytes than those that were asked for (Content-Range: {said.text('range') or 'none'})",
        "length": "a body of another length than its Content-Range says",
        "no-http": f"what is no HTTP: {said.text('text')}",
    }
    what = texts.get(said.code, said.text("status") or said.code)
    return OperationFailedError(
        subject,
        f"{url} answered {what}",
        f"{IN_BETWEEN} Else {OTHER_READER}",
        code=ErrorCode.BAD_ANSWER,
        facts=facts,
    )


def _privileges(on: str) -> tuple[Privilege, ...]:
    call = "reading /folder/…-flat.vmdk"
    return (
        Privilege("Datastore.Browse", on, call, "Datastore > Browse datastore"),
        Privilege("Datastore.FileManagement", on, call, "Datastore > Low level file operations"),
    )


READER = Reader(
    "https",
    how="over https",
    reads=frozenset(),
    open=open_disk,
    plugins=(Plugin("python", "run: apt-get install nbdkit-plugin-python"),),
    privileges=(*_privileges("datastore"), *_privileges("datacenter")),
)
