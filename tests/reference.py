"""`python -m tests.reference [--check]`: writes docs/cli.md and docs/events.md from the code, or checks them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from migratekit_core.joblog import events
from tests.commands import Command, tree

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEAD = """\
# Commands

<!-- Made from the application by `python -m tests.reference`; do not edit. -->

Every command and every option. Global options stand before the command. `--output` is described in
[json.md](json.md), exit codes in [exit-codes.md](exit-codes.md). On a terminal: `migratekit COMMAND --help`, and with
the package `man migratekit`; completion: `migratekit --install-completion`.
"""

EVENTS = """\
# Events

<!-- Made from joblog/events.py by `python -m tests.reference`; do not edit. -->

The kinds of events that [jobs](jobs.md#events) record. The kind is for programs; the text is for people and may change.

| Kind | Text | |
|---|---|---|
"""


def render_events() -> str:
    """Return the page of events."""
    rows = [
        f"| `{kind}` | {_cell(kind.text).replace('{', '*').replace('}', '*')} | {_cell(meaning)} |"
        for kind, meaning in meanings()
    ]
    return EVENTS + "\n".join(rows) + "\n"


def meanings() -> Iterator[tuple[events.EventKind, str]]:
    """Yield each kind of event with what the code says of it below its name."""
    [made] = [node for node in ast.parse(Path(events.__file__).read_text()).body if isinstance(node, ast.ClassDef)]
    for name, text in zip(made.body, made.body[1:], strict=False):
        match name, text:
            case ast.Assign(targets=[ast.Name(id=member)]), ast.Expr(value=ast.Constant(value=str(meaning))):
                yield events.EventKind[member], meaning


def render() -> str:
    """Return the page of commands."""
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
    """Write the pages, or return 1 where one is not what the code says."""
    failed = 0
    for page, wanted in ((DOCS / "cli.md", render()), (DOCS / "events.md", render_events())):
        if page.exists() and page.read_text() == wanted:
            continue
        if "--check" in arguments:
            print(f"docs/{page.name} is not what the code says; run: python -m tests.reference", file=sys.stderr)
            failed = 1
        else:
            page.write_text(wanted)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
