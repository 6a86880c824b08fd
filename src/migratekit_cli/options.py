"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    """Form of a command's result on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the result on stdout.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
VmArgument = Annotated[
    str, typer.Argument(metavar="VM", help="Name, inventory path, instanceUuid or managed object id.")
]
