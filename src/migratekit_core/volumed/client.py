"""How everybody reaches volumes: a client of the daemon, through the tunnel's socket or on loopback."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from migratekit_core.common import errors, hints
from migratekit_core.common import failpoints as points
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OmaUnreachableError,
    OperationFailedError,
    PreconditionError,
)
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.patience import patiently
from migratekit_core.engine.digests import blocks
from migratekit_core.engine.digests.blocks import Range
from migratekit_core.volumed.patience import Patience

REQUEST_SECONDS = 60.0
POLL_SECONDS = 25.0
"""How long one request waits for an operation: below the timeouts of whatever stands between."""
OPERATION_SECONDS = 7200.0
"""Until an operation counts as lost; a volume made from a snapshot on secondary storage takes long."""


@dataclass(frozen=True)
class Endpoint:
    """Where the daemon is: behind a unix socket (the tunnel's), or on a loopback port."""

    socket: Path | None
    host: str
    port: int


class VolumeClient:
    """The daemon's API. A call returns when its operation has completed, and raises the operation's error otherwise."""

    def __init__(
        self,
        endpoint: Endpoint,
        token: str,
        correlation_id: str = "",
        job_id: str = "",
        patience: float = 0.0,
        note: Callable[[str], None] | None = None,
    ) -> None:
        """`patience`: how many seconds a change waits for a volume that another operation works on. A command that
        takes up what a killed one began needs it: the daemon goes on with what that one has asked for. `note` is told
        when the daemon, or CloudStack behind it, does not answer and is waited for."""
        transport = httpx.HTTPTransport(uds=str(endpoint.socket)) if endpoint.socket else None
        self._patience = Patience(busy=patience)
        self._note = note
        self.until: float | None = None
        """When whoever asks gives up waiting for an operation's end (monotonic); None: after OPERATION_SECONDS."""
        self._where = str(endpoint.socket) if endpoint.socket else f"{endpoint.host}:{endpoint.port}"
        headers = {"Authorization": f"Bearer {token}"}
        if correlation_id:
            headers["X-Correlation-Id"] = correlation_id
        if job_id:
            headers["X-Parent-Job-Id"] = job_id
        self._http = httpx.Client(
            transport=transport,
            base_url=f"http://{'volumes' if endpoint.socket else endpoint.host}:{endpoint.port}",
            headers=headers,
            timeout=REQUEST_SECONDS,
            # No proxy and no certificates of the environment: it is a socket of this machine.
            trust_env=False,
            # Nor is it TLS: to read the public authorities for nobody takes longer than most answers.
            verify=False,  # noqa: S501
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Return the daemon's own state. Raises UnreachableError at once where it does not answer."""
        return self._once("GET", "/health")

    def volumes(self) -> list[dict[str, Any]]:
        """Return every volume that MigrateKit made."""
        found: list[dict[str, Any]] = self.listing()["volumes"]
        return found

    def oma(self, sizes: Sequence[int] = ()) -> dict[str, Any]:
        """Return what CloudStack says of the OMA: name, account, data_disks, max_disks …, and whether volumes of
        `sizes` (bytes) can be made; empty from an earlier version."""
        asked = {"oma": "true", "sizes": list(sizes)}
        found: dict[str, Any] = self._send("GET", "/api/v1/volumes", params=asked).get("oma") or {}
        return found

    def listing(self) -> dict[str, Any]:
        """Return every volume that MigrateKit made (`volumes`), and what the daemon's last periodic comparison found
        (`reconcile`)."""
        return self._send("GET", "/api/v1/volumes")

    def snapshots(self) -> list[dict[str, Any]]:
        """Return every snapshot that MigrateKit took, also of volumes that are deleted."""
        found: list[dict[str, Any]] = self._send("GET", "/api/v1/volumes", params={"snapshots": "true"})["snapshots"]
        return found

    def root_of(self, vm_id: str) -> dict[str, Any] | None:
        """Return the root volume of a virtual machine."""
        found: list[dict[str, Any]] = self._send("GET", "/api/v1/volumes", params={"vm_id": vm_id})["volumes"]
        return found[0] if found else None

    def get(self, volume_id: str) -> dict[str, Any] | None:
        """Return a volume with its snapshots, or None where CloudStack has none with this id."""
        try:
            return self._send("GET", f"/api/v1/volumes/{volume_id}")
        except NotFoundError:
            return None

    def operations(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return operations, the newest first."""
        found: list[dict[str, Any]] = self._send("GET", "/api/v1/operations", params={"limit": limit})["operations"]
        return found

    def operation(self, operation_id: str) -> dict[str, Any]:
        """Return an operation. Raises NotFoundError where there is none with this id."""
        return self._send("GET", f"/api/v1/operations/{quote(operation_id, safe='')}")

    def create(self, name: str, size: int, tags: dict[str, str], key: str) -> dict[str, Any]:
        """Create a volume of at least `size` bytes; the same `key` never makes a second one."""
        return self._change("POST", "/api/v1/volumes", {"name": name, "size": size, "tags": tags}, key)

    def delete(self, volume_id: str) -> dict[str, Any]:
        """Delete a detached volume."""
        return self._change("DELETE", f"/api/v1/volumes/{volume_id}")

    def attach(self, volume_id: str, vm_id: str | None = None, device_id: int | None = None) -> dict[str, Any]:
        """Attach a volume to the OMA, or to the virtual machine named."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/attach", {"vm_id": vm_id, "device_id": device_id})

    def detach(self, volume_id: str) -> dict[str, Any]:
        """Detach a volume that is not exported."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/detach")

    def export(self, volume_id: str, vm_name: str, disk: str) -> dict[str, Any]:
        """Export a volume that is attached to the OMA; the answer has its export_name and port."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/export", {"vm_name": vm_name, "disk": disk})

    def unexport(self, volume_id: str) -> dict[str, Any]:
        """Take an export back."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/unexport")

    def snapshot(self, volume_id: str, name: str, key: str) -> dict[str, Any]:
        """Take a snapshot; the answer has its snapshot_id."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/snapshot", {"name": name}, key)

    def clone(self, snapshot_id: str, name: str, tags: dict[str, str], key: str) -> dict[str, Any]:
        """Create a volume from a snapshot."""
        return self._change("POST", f"/api/v1/snapshots/{snapshot_id}/volume", {"name": name, "tags": tags}, key)

    def delete_snapshot(self, snapshot_id: str) -> dict[str, Any]:
        """Delete a snapshot."""
        return self._change("DELETE", f"/api/v1/snapshots/{snapshot_id}")

    def checksum(self, volume_id: str, length: int) -> dict[str, Any]:
        """Hash the first `length` bytes of a volume that is attached to the OMA, there."""
        return self._change("POST", f"/api/v1/volumes/{volume_id}/checksum", {"length": length})

    def block_digests(self, volume_id: str, block_size: int, ranges: Sequence[Range]) -> list[bytes]:
        """Hash ranges of a volume that is attached to the OMA, there; return a digest for each block (digest.blocks).

        Raises OperationFailedError for an answer that does not hold as many digests as there are blocks.
        """
        body = {"block_size": block_size, "ranges": ranges}
        answer = self._change("POST", f"/api/v1/volumes/{volume_id}/checksum", body)
        try:
            return blocks.unpack(answer["digests"], sum(1 for _ in blocks.cut(ranges, block_size)))
        except (KeyError, ValueError) as error:
            raise OperationFailedError(
                f"the digests of volume {volume_id} make no sense",
                str(error),
                "are daemon and command of one version?",
                code=ErrorCode.BAD_ANSWER,
                facts={"volume_id": volume_id},
            ) from None

    def _change(self, method: str, path: str, body: dict[str, Any] | None = None, key: str = "") -> dict[str, Any]:
        """Submit an operation and wait for its end; a key makes sending it twice harmless."""
        called = f"daemon-{_called(method, path)}"
        with points.call(called):
            headers = {"Idempotency-Key": key or str(uuid.uuid4())}
            operation = self._send(method, path, json=body, headers=headers)
            points.during(called)
            began = time.monotonic()
            deadline = began + OPERATION_SECONDS if self.until is None else self.until
            while operation["status"] in ("pending", "running"):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise OperationFailedError(
                        f"volume operation {operation['id']} does not end",
                        f"{operation['type']} is {operation['status']} after {time.monotonic() - began:.0f} s",
                        hint("look with: ", migratekit("volumes", "operations")),
                        code=ErrorCode.OPERATION_STUCK,
                        facts={"operation_id": operation["id"]},
                    )
                wait = {"wait": min(POLL_SECONDS, left)}
                operation = self._send("GET", f"/api/v1/operations/{operation['id']}", params=wait)
        if operation["error"]:
            raise _as_error(operation["error"])
        response: dict[str, Any] = operation["response"]
        return response

    def _send(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Make a request, and again as the policy allows; not longer than until whoever asks gives up."""
        allowed = self._patience
        if self.until is not None:
            allowed = replace(allowed, outage=min(allowed.outage, max(0.0, self.until - time.monotonic())))
        return patiently(allowed, path, lambda: self._once(method, path, **arguments), self._note)

    def _once(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise OmaUnreachableError(
                f"the volume daemon does not answer ({self._where})",
                str(error) or type(error).__name__,
                hint("check that it runs on the OMA and that the tunnel is up (", migratekit("tunnel", "status"), ")"),
                code=ErrorCode.DAEMON_UNREACHABLE,
            ) from None
        if answer.is_success:
            found: dict[str, Any] = answer.json()
            return found
        raise _refusal(answer)


def oma_problem(oma: dict[str, Any]) -> MigrateKitError | None:
    """Return why the OMA takes no disk now, by what `VolumeClient.oma` said, or None."""
    said = oma.get("problem")
    return _as_error(said) if said else None


def making_refused(oma: dict[str, Any]) -> MigrateKitError | None:
    """Return why the volumes whose sizes `VolumeClient.oma` was asked about cannot all be made, or None."""
    said = oma.get("refusal")
    return _as_error(said) if said else None


def _called(method: str, path: str) -> str:
    """Return what to call a request: `post-attach`, `delete-volumes`."""
    parts = path.split("/")[3:]
    return f"{method.lower()}-{parts[-1] if method == 'POST' else parts[0]}"


class NotFoundError(PreconditionError):
    """The daemon knows no such thing."""


def _refusal(answer: httpx.Response) -> MigrateKitError:
    try:
        fields = answer.json()
    except ValueError:
        fields = {}
    if "exit_code" not in fields:
        return OperationFailedError(
            "the volume daemon failed",
            f"HTTP {answer.status_code} without an explanation",
            "look at its journal on the OMA",
            code=ErrorCode.BAD_ANSWER,
            facts={"status": answer.status_code},
        )
    if answer.status_code == 401:
        return AuthError(
            "the volume daemon refused the token",
            fields["why"],
            "check volumes.token",
            code=ErrorCode.DAEMON_TOKEN_REFUSED,
        )
    if answer.status_code == 404:
        return NotFoundError(fields["what"], fields["why"], hints.from_fields(fields), code=ErrorCode.GONE)
    return _as_error(fields)


def _as_error(fields: dict[str, Any]) -> MigrateKitError:
    return errors.from_fields(fields)
