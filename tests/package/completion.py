"""Shell completion, as the application itself prints it for each shell."""

from __future__ import annotations

from pathlib import Path

from typer._completion_shared import get_completion_script

from tests.commands import NAME

PLACES = {
    "bash": f"usr/share/bash-completion/completions/{NAME}",
    "zsh": f"usr/share/zsh/vendor-completions/_{NAME}",
    "fish": f"usr/share/fish/vendor_completions.d/{NAME}.fish",
}


def write(root: Path) -> list[Path]:
    """Write the scripts to where the shells look for them below `root`; return the files."""
    written = []
    for shell, place in PLACES.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        variable = f"_{NAME.upper()}_COMPLETE"
        path.write_text(get_completion_script(prog_name=NAME, complete_var=variable, shell=shell) + "\n")
        written.append(path)
    return written
