"""`python -m tests.reference [--check]`: writes docs/cli.md from the application, or checks that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.commands import Command, tree

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HEAD = """\
# Commands

<!-- Made from the application by `python -m tests.reference`; do not edit. -->

Every command and every option. Global options stand before the command. `--output` is described in
[json.md](json.md), exit codes in [exit-codes.md](exit-codes.md). On a terminal: `migratekit COMMAND --help`, and with
the package `man migratekit`; completion: `migratekit --install-completion`.
"""


def render() -> str:
    """Return the page."""
    root = tree()
    return "\n".join([HEAD, *(_section(command) for command in root.walk())]).rstrip() + "\n"


def _section(command: Command) -> str:
    level = "##" if len(command.path) <= 1 else "###"
    lines = [f"{level} {command.name}", "", *command.text.splitlines(), "", "```text", command.usage, "```", ""]
    if command.children:
        lines += ["| Command | |", "|---|---|"]
        lines += [f"| [`{child.name}`](#{_anchor(child)}) | {_cell(child.summary)} |" for child in command.children]
        lines.append("")
    rows = [(f"`{argument.metavar}`", _cell(argument.text)) for argument in command.arguments]
    for option in command.options:
        names = ", ".join(f"`{name}`" for name in option.names)
        value = f" `{option.metavar}`".replace("|", "\\|") if option.metavar else ""
        notes = [f"Default: `{option.default}`."] if option.default else []
        notes += ["Required."] if option.required else []
        rows.append((names + value, " ".join([_cell(option.text), *notes])))
    if rows:
        lines += ["| Argument, option | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def _anchor(command: Command) -> str:
    return command.name.replace(" ", "-")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or return 1 where it is not what the application says."""
    wanted = render()
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    if "--check" in arguments:
        print("docs/cli.md is not what the application says; run: python -m tests.reference", file=sys.stderr)
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
