"""Nothing in the program decides by the text of an error, ours or another program's: codes and facts are there for it.

Ours has a code. What other programs say becomes one in `foreign.classify`, by the table of the adapter that hears it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
TEXTS = frozenset({"what", "why", "todo", "args"})
"""Attributes of an error that hold text."""
DECIDES = frozenset({
    "startswith", "endswith", "find", "index", "count", "partition", "rpartition", "removeprefix", "removesuffix",
    "split", "match", "search", "fullmatch", "findall", "finditer",
})  # fmt: skip


class Finder(ast.NodeVisitor):
    """Finds decisions by the text of what a function has caught, or by its own errors' texts."""

    def __init__(self) -> None:
        self.found: list[int] = []
        self._errors: set[str] = set()
        """Names of what was caught."""
        self._texts: set[str] = set()
        """Names that were given a text of it."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look at a function with names of its own."""
        before = set(self._errors), set(self._texts)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._errors |= {each.arg for each in arguments if each.annotation and "Error" in ast.unparse(each.annotation)}
        self.generic_visit(node)
        self._errors, self._texts = before

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Remember what the error is called."""
        if node.name:
            self._errors.add(node.name)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remember what a text is called."""
        self.generic_visit(node)
        if self._is_text(node.value):
            self._texts |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def visit_Compare(self, node: ast.Compare) -> None:
        """Find `"…" in str(error)`, `error.what == "…"`; whether there is one at all is no decision by it."""
        sides = [node.left, *node.comparators]
        nothing = any(isinstance(side, ast.Constant) and side.value in (None, "") for side in sides)
        if not nothing and any(map(self._is_text, sides)):
            self.found.append(node.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Find `str(error).startswith(…)`, `re.search(…, error.why)`."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in DECIDES:
            # Without arguments it only tidies the spaces.
            bare = node.func.attr == "split" and not node.args
            if not bare and any(map(self._is_text, [node.func.value, *node.args])):
                self.found.append(node.lineno)
        self.generic_visit(node)

    def _is_text(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._texts
        if isinstance(node, ast.Attribute):
            return node.attr in TEXTS and isinstance(node.value, ast.Name) and node.value.id in self._errors
        if isinstance(node, ast.Subscript):
            return self._is_text(node.value)
        if isinstance(node, ast.BoolOp):
            return any(map(self._is_text, node.values))
        if isinstance(node, ast.JoinedStr):
            return any(self._names_error(each.value) for each in node.values if isinstance(each, ast.FormattedValue))
        if isinstance(node, ast.Call):
            # str(error), redact(str(error)), error.why.lower()
            inner = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
            made = isinstance(node.func, ast.Name) and node.func.id in ("str", "repr", "describe")
            known = isinstance(node.func, ast.Name) and node.func.id in ("classify", "isinstance", "type", "getattr")
            return not known and any(self._is_text(each) or (made and self._names_error(each)) for each in inner)
        return False

    def _names_error(self, node: ast.expr) -> bool:
        return self._is_text(node) or (isinstance(node, ast.Name) and node.id in self._errors)


def decisions(source: str) -> list[int]:
    """Return the lines of a module that decide by an error's text."""
    finder = Finder()
    finder.visit(ast.parse(source))
    return finder.found


def test_nothing_decides_by_the_text_of_an_error() -> None:
    files = sorted(SOURCES.rglob("*.py"))
    assert not [f"{file.relative_to(SOURCES)}:{line}" for file in files for line in decisions(file.read_text())]


PLANTED = [
    'if "closed" in str(error): pass',
    'if error.what == "the OMA closed the connection": pass',
    'if error.why.startswith("no"): pass',
    'if re.search("x", str(error)): pass',
    'reason = error.why or "x"\n        if "full" in reason: pass',
    'reason = redact(str(error))\n        if reason.lower() in ("a", "b"): pass',
    'if f"{error}".endswith("x"): pass',
    'if error.args[0] == "x": pass',
]
HARMLESS = [
    "if error.why: pass",
    'if error.why == "": pass',
    "if error.code is ErrorCode.GONE: pass",
    "if classify(SAYS, str(error)) is ErrorCode.GONE: pass",
    'said = f"{error.what}: {error.why}"',
]


@pytest.mark.parametrize("line", PLANTED)
@pytest.mark.parametrize("begin", ["try:\n        pass\n    except OSError as error:", "if True:"])
def test_what_is_planted_is_found(line: str, begin: str) -> None:
    assert decisions(f"def made(error: MigrateKitError) -> None:\n    {begin}\n        {line}\n")


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_harmless_is_not(line: str) -> None:
    assert not decisions(f"def made(error: MigrateKitError) -> None:\n    {line}\n")
