"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from migratekit_core.common.units import parse_duration, parse_rate

T = TypeVar("T")


class Output(StrEnum):
    """Form of a command's result on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the result on stdout.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, change nothing.")]


def _parsed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a parser of an option whose ValueError is told as typer tells wrong options."""

    def parser(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def _since_text(text: str) -> datetime:
    from migratekit_core.joblog.search import parse_since

    return parse_since(text)


def _status_text(text: str) -> str:
    from migratekit_core.joblog.search import check_status

    return check_status(text)


def _type_text(text: str) -> str:
    # The one command whose jobs have another name.
    return "replication" if text == "replicate" else text


_rate = _parsed(lambda text: parse_rate(text) or 0)
_seconds = _parsed(parse_duration)
_since = _parsed(_since_text)
_status = _parsed(_status_text)

BandwidthOption = Annotated[
    int | None,
    typer.Option(
        "--bandwidth",
        parser=_rate,
        metavar="RATE",
        help="Most that all disks together may take: 50M is 50 MiB/s, 400Mbit bits per second, none no limit.",
    ),
]
DiskBandwidthOption = Annotated[
    int | None,
    typer.Option(
        "--disk-bandwidth",
        parser=_rate,
        metavar="RATE",
        help="Most that each disk may take.",
    ),
]
"""Both: None where the option was not given, 0 for no limit."""
ConvertOption = Annotated[
    bool | None,
    typer.Option(
        "--convert/--no-convert",
        help="Convert the guest (virt-v2v-in-place), or not, whatever the rules say.",
        show_default=False,
    ),
]
OwnersOption = Annotated[
    list[str] | None, typer.Option("--vm", metavar="NAME", help="Only jobs about this machine (or volume); repeatable.")
]
KindsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        parser=_type_text,
        metavar="TYPE",
        help="Only replication, failover, verify, volume-attach …; repeatable.",
    ),
]
StatusesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        parser=_status,
        metavar="STATUS",
        help="Only running, completed, failed, interrupted or cancelled; repeatable.",
    ),
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=_since,
        metavar="TIME",
        help="Only jobs that ran since then: 90m, 2h, 7d, 2026-11-24 or 2026-11-24T08:30.",
    ),
]
OlderOption = Annotated[
    float | None,
    typer.Option("--older-than", parser=_seconds, metavar="AGE", help="Such as 90d; without it joblog.keep."),
]
"""Seconds."""
WaitOption = Annotated[
    float,
    typer.Option("--wait", parser=_seconds, metavar="TIME", help="How long to wait for the job's end."),
]
"""Seconds."""
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
VolumeArgument = Annotated[
    str, typer.Argument(metavar="VOLUME", help="CloudStack's id of the volume, or the exact name of one of ours.")
]
VmArgument = Annotated[
    str, typer.Argument(metavar="VM", help="Name, inventory path, instanceUuid or managed object id.")
]
