"""`python -m tests.troubleshooting [--check]`: writes the codes of errors into docs/troubleshooting.md, or checks them.

What a code means is said in common/codes.py; with which exit codes it comes, the places that raise it say.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from migratekit_core.adapters.cloudstack import errors as cloudstack
from migratekit_core.adapters.cloudstack import refusals
from migratekit_core.adapters.tunnel import refusal as tunnel
from migratekit_core.common import codes, errors
from migratekit_core.common.codes import ErrorCode

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src"
PAGE = ROOT / "docs" / "troubleshooting.md"
BEGIN = "<!-- Made from common/codes.py by `python -m tests.troubleshooting`; do not edit. -->"
END = "<!-- Until here. -->"


class Explained(NamedTuple):
    """A code as its module explains it."""

    section: str
    code: ErrorCode
    meaning: str
    remedy: str


def explained() -> Iterator[Explained]:
    """Yield every code, in the order of the module. Raises AssertionError for one without its two texts."""
    source = Path(codes.__file__).read_text()
    lines = source.splitlines()
    [made] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    section = ""
    for name, text in zip(made.body, made.body[1:], strict=False):
        match name, text:
            case ast.Assign(targets=[ast.Name(id=member)]), ast.Expr(value=ast.Constant(value=str(words))):
                above = "\n".join(lines[: name.lineno - 1]).rstrip().rpartition("\n")[2]
                section = above.removeprefix("    # ") if above.startswith("    # ") else section
                meaning, _, remedy = (" ".join(part.split()) for part in words.partition("\n"))
                assert meaning and remedy, f"{member} lacks what it means, or what to do about it"
                yield Explained(section, ErrorCode[member], meaning, remedy)


def raised() -> dict[ErrorCode, set[int]]:
    """Return with which exit codes each code is raised; a code that nobody raises is not there."""
    found: dict[ErrorCode, set[int]] = defaultdict(set)
    kinds = _kinds()
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in kinds:
                # It hands its code to the class that it derives.
                for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
                    for code in (each.value for each in call.keywords if each.arg == "code"):
                        found |= {named: {*found[named], kinds[node.name]} for named in _named(code)}
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = next((keyword.value for keyword in node.keywords if keyword.arg == "code"), None)
            if name in kinds and given is not None:
                for code in _named(given):
                    found[code].add(kinds[name])
    for row in refusals.ROWS:
        told = cloudstack._TOLD.get(row.code, cloudstack._UNKNOWN)
        found[row.code].add(told.kind.exit_code)
    for words in (*tunnel.THEIRS.values(), *tunnel.OURS.values(), tunnel.FOREIGN):
        found[words.code].add(errors.AuthError.exit_code)
    for node in ast.walk(ast.parse(Path(tunnel.__file__).read_text())):
        # What is in none of its tables: an end that does not answer.
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Words":
            for code in _named(node.args[0]):
                found[code] = found[code] or {errors.UnreachableError.exit_code}
    return found


def _kinds() -> dict[str, int]:
    """Return our error classes by name, with their exit codes: those of a module, and those that others derive."""
    known = {kind.__name__: kind.exit_code for kind in errors._BY_EXIT_CODE.values()}
    derived = re.compile(r"^class (\w+)\((\w+)\):", re.MULTILINE)
    text = "\n".join(file.read_text() for file in SOURCES.rglob("*.py"))
    for _ in range(3):
        known |= {name: known[base] for name, base in derived.findall(text) if base in known}
    return known


def _named(value: ast.expr) -> Iterator[ErrorCode]:
    for node in ast.walk(value):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ErrorCode":
            yield ErrorCode[node.attr]


def render() -> str:
    """Return the part of the page that is made."""
    exits, section, lines = raised(), "", [BEGIN, ""]
    for each in explained():
        if each.section != section:
            lines += [""] * bool(section)
            section = each.section
            lines += [f"### {section}", "", "| Code | Exit | What it means | What to do |", "|---|---|---|---|"]
        numbers = ", ".join(map(str, sorted(exits.get(each.code, ()))))
        cells = (f"`{each.code}`", numbers, each.meaning.replace("|", "\\|"), each.remedy.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", END])


def page(text: str) -> str:
    """Return the page with the part that is made put into its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{render()}{rest.partition(END)[2]}"


def main() -> None:
    """Write the page; with --check only say whether it would change, by the exit code."""
    there = PAGE.read_text()
    wanted = page(there)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if there == wanted else "docs/troubleshooting.md is out of date: python -m tests.troubleshooting")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
