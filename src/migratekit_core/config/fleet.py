"""[fleet]: the hosts that waves run on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from migratekit_core.config.base import Duration, FilePath, Port, Table


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address; write HOST:PORT")
    return text


def _lease(seconds: float) -> float:
    if seconds < 3:
        raise ValueError("is too short: a worker has to give a sign of life four times within it; at least 3s")
    return seconds


Address = Annotated[str, AfterValidator(_address)]


class Fleet(Table):
    """Where waves run. Without a scheduler `wave run` runs them itself, on this host."""

    scheduler: Address | None = None
    """Where workers and clients reach the scheduler, such as vma1.example.com:8786."""
    listen: Address = "0.0.0.0:8786"
    """Address and port of the scheduler, on its host; TLS with client certificates."""
    ca_file: FilePath | None = None
    """The CA that issued the certificates of the fleet."""
    cert_file: FilePath | None = None
    """This host's certificate and its key in one PEM file, mode 0600: `tunnel pki issue NAME --fleet ROLE`."""
    crl_file: FilePath | None = None
    """The CA's list of revoked certificates, read when a command starts."""
    dashboard_port: Port = 8787
    """Of Dask's dashboard on the scheduler's host, on loopback."""
    worker_listen: Address = "0.0.0.0:0"
    """Address and port of a worker, where the scheduler calls it; port 0: any free one."""
    slots: Annotated[int, Field(ge=1, le=256)] = 4
    """Machines that this host works on at a time."""
    lease: Annotated[Duration, AfterValidator(_lease)] = 20.0
    """Seconds after which a worker that gave no sign of life has lost its machines to others; the same on all hosts."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in ("ca_file", "cert_file") if self.scheduler and not getattr(self, name)]
        if missing:
            raise ValueError(f"scheduler is set, which also needs: {', '.join(missing)}")
        return self
