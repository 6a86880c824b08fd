"""What requests carry: bodies, ids and headers."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import Depends, Header, Path, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from migratekit_core.engine.digests.blocks import (
    LARGEST_BLOCK,
    MOST_BLOCKS,
    MOST_BYTES,
    MOST_RANGES,
    SMALLEST_BLOCK,
    cut,
)
from migratekit_core.volumed.daemon.operations import Origin
from migratekit_core.volumed.names import TAG

ID_PATTERN = r"^[A-Za-z0-9-]+$"
LONGEST_ID = 36


def _no_guess(value: object) -> object:
    """Refuse what Python would take for a number: JSON's `false` for a device id is not the root disk's 0."""
    if isinstance(value, bool | str):
        raise ValueError("a whole number is wanted")
    return value


def _with_ours(tags: dict[str, str]) -> dict[str, str]:
    """Refuse a volume that nothing would ever be done to again."""
    if not tags.get(TAG):
        raise ValueError(f"the tag {TAG} is wanted, with the source machine's uuid")
    return tags


_NO_GUESS = BeforeValidator(_no_guess)
_Text = Annotated[str, Field(min_length=1, max_length=255)]
_Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=ID_PATTERN)]
_Bytes = Annotated[int, Field(gt=0, le=2**50), _NO_GUESS]
_Range = tuple[Annotated[int, Field(ge=0, le=2**50), _NO_GUESS], _Bytes]
Size = Annotated[int, Field(gt=0, le=2**50)]
MOST_SIZES = 256
"""Volumes that are asked about at once; a machine of vSphere has fewer disks."""
_Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], Annotated[str, Field(max_length=255)]],
    Field(
        max_length=32,
        description="Tags of the volume in CloudStack; `migratekit` has to be one: it marks it as ours.",
        json_schema_extra={
            "required": [TAG],
            "properties": {TAG: {"type": "string", "minLength": 1, "maxLength": 255}},
        },
    ),
    AfterValidator(_with_ours),
]

VolumeId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, pattern=ID_PATTERN, description="CloudStack's id of the volume.")
]
SnapshotId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, pattern=ID_PATTERN, description="CloudStack's id of the snapshot.")
]
OperationId = Annotated[
    str,
    Path(min_length=1, max_length=LONGEST_ID, pattern=ID_PATTERN, description="Id from the answer to the change."),
]
JobId = Annotated[
    str,
    Path(min_length=1, max_length=LONGEST_ID, pattern=ID_PATTERN, description="Id of the replication job."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[!-~]+$",
        description="The same key with the same request is the same operation; one that failed is run again.",
    ),
]


class Body(BaseModel):
    """A request's body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class CreateVolume(Body):
    """A volume to be."""

    name: _Text = Field(description="What its name in CloudStack is made of.")
    size: _Bytes = Field(description="Bytes; rounded up to whole GiB.")
    tags: _Tags


class AttachVolume(Body):
    """Where to attach."""

    vm_id: _Id | None = Field(None, description="CloudStack's id of the machine; left out: the OMA itself.")
    device_id: Annotated[int, Field(ge=0, le=63), _NO_GUESS] | None = Field(
        None, description="Position on the machine; 0 is the root disk. Left out: the next free one."
    )


class ExportVolume(Body):
    """What the export's name is made of; eight random hex digits are added."""

    vm_name: _Text = Field(description="Name of the source machine.")
    disk: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="Which of its disks.")


class NameSnapshot(Body):
    """A snapshot to be."""

    name: _Text = Field(description="What its name in CloudStack is made of.")


class CloneSnapshot(Body):
    """A volume to be, with a snapshot's content."""

    name: _Text = Field(description="What its name in CloudStack is made of.")
    tags: _Tags


class Checksum(Body):
    """What to hash: the volume's beginning as a whole, or the blocks of ranges one by one."""

    length: _Bytes | None = Field(None, description="Bytes from the beginning; left out: the whole device.")
    block_size: Annotated[int, Field(ge=SMALLEST_BLOCK, le=LARGEST_BLOCK), _NO_GUESS] | None = Field(
        None, description="Bytes; ranges are cut at its multiples, and each piece has a digest of its own."
    )
    ranges: Annotated[list[_Range], Field(min_length=1, max_length=MOST_RANGES)] | None = Field(
        None,
        description=f"[offset, length] of each, ascending; at most {MOST_BLOCKS} blocks, {MOST_BYTES} bytes.",
    )

    @model_validator(mode="after")
    def _fits_one_answer(self) -> Self:
        if self.block_size is None or self.ranges is None:
            if self.block_size is not None or self.ranges is not None:
                raise ValueError("block_size and ranges belong together")
            return self
        if self.length is not None:
            raise ValueError("length is for a digest of the whole, not for ranges")
        position = 0
        for offset, length in self.ranges:
            if offset < position:
                raise ValueError("ranges overlap, or are not in ascending order")
            position = offset + length
        # Bytes first: counting the blocks of an absurd length would take as long as it is absurd.
        total = sum(length for _, length in self.ranges)
        if total > MOST_BYTES or sum(1 for _ in cut(self.ranges, self.block_size)) > MOST_BLOCKS:
            raise ValueError("more than one answer holds")
        return self


def _origin(
    request: Request,
    correlation_id: Annotated[
        str | None,
        Header(
            alias="X-Correlation-Id",
            min_length=1,
            max_length=LONGEST_ID,
            pattern=ID_PATTERN,
            description="What the operation belongs to; kept with it, its joblog and its CloudStack jobs. "
            "Left out: the request's id.",
        ),
    ] = None,
    parent_job_id: Annotated[
        str | None,
        Header(
            alias="X-Parent-Job-Id",
            min_length=1,
            max_length=LONGEST_ID,
            pattern=ID_PATTERN,
            description="The joblog's job that asks.",
        ),
    ] = None,
) -> Origin:
    return Origin(correlation_id or request.state.id, parent_job_id or "")


FromWhere = Annotated[Origin, Depends(_origin)]
