"""The folder of a CA: options, and what is told about its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.options import Output
from migratekit_cli.ui import render

DEFAULT_FOLDER = Path("/root/migratekit-pki")
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder of the CA, as made by init.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Host's name, as shown by show.")]
CA = "ca"


def written(output: Output, path: Path, text: str) -> None:
    """Tell which file was written."""
    render.result(output, "migratekit.pki-file/1", {"file": str(path)}, text=text)
