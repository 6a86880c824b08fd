"""The [source] table: how the disks of the source are read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from migratekit_core.common.units import parse_share
from migratekit_core.config.base import Duration, FilePath, Port, Table
from migratekit_core.config.secret import SecretSource


class Ssh(Table):
    """How ESXi hosts are reached by ssh."""

    known_hosts: FilePath
    """The hosts' public keys; a host that is not in it, or has another key, is refused."""
    user: str = "root"
    port: Port = 22
    identity: FilePath | None = None
    """Private key without a passphrase; without it the ssh agent's and the user's own keys are tried."""
    password: SecretSource | None = None
    hosts: dict[str, str] = {}
    """Address by the name that vCenter has of a host, where that name does not lead to it."""


class Vddk(Table):
    """VMware's Virtual Disk Development Kit, which nobody else may pass on."""

    libdir: FilePath
    """Where it was unpacked: the folder that holds lib64/libvixDiskLib.so.N."""
    plugin: str = "vddk"
    """nbdkit's plugin: its name, or the path of nbdkit-vddk-plugin.so."""
    transports: str = "nbdssl"
    """VDDK's transport modes in the order to try, separated by colons."""
    sessions: Annotated[int, Field(ge=1, le=64)] = 8
    """Disks that are read from one ESXi host at once, by all commands on this machine."""


class Nfc(Table):
    """VMware's disk protocol on port 902 of ESXi hosts."""

    depth: Annotated[int, Field(ge=1, le=32)] = 16
    """Requests of 1 MiB that one disk has on their way at most; all disks of a host together have 32."""
    sessions: Annotated[int, Field(ge=1, le=32)] = 8
    """Disks that are read from one ESXi host at once, by all commands on this machine."""
    compression: Literal["none", "zlib", "skipz"] = "skipz"
    """How a host sends data: `skipz` leaves zeros out, and costs it almost nothing."""


READER_NEEDS: dict[str, str] = {"https": "", "nfc": "", "ssh": "known_hosts", "vddk": "libdir"}
"""What each reader cannot do without in its table [source.NAME]; "" for one without such a table. What a reader does:
adapters.readers."""


def _share(text: str) -> str:
    parse_share(text)
    return text


class Source(Table):
    """How the disks of the source are read."""

    reader: Literal["auto", "nfc", "https", "ssh", "vddk"] = "auto"
    """`auto`: over https what can be read so, the rest through VDDK where it is configured."""
    nfc: Nfc = Nfc()
    ssh: Ssh | None = None
    vddk: Vddk | None = None
    min_free: Annotated[str, AfterValidator(_share)] = "10%"
    """Of each datastore that a machine's disks are on, per cent of it or bytes (`50G`): a job whose snapshot is open
    stops where less is free. `0`: never."""
    space_interval: Annotated[Duration, Field(gt=0)] = 60.0
    """Seconds between two looks at what is free."""
    patience: Duration = 600.0
    """Seconds that a reader waits for a disk's file that another tool holds, and for a source that does not answer."""
    removal_wait: Duration = 900.0
    """Seconds that a job waits for vSphere to remove its snapshot, and for disks that are locked; then the removal is
    pending, and the next job finishes it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed, own = READER_NEEDS.get(self.reader), getattr(self, self.reader, None)
        if needed and own is None:
            raise ValueError(f'reader = "{self.reader}" also needs: source.{self.reader}.{needed}')
        return self
