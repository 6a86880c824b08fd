"""Events are logged with a kind, every kind is logged, and nobody goes by what an event says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from migratekit_core.joblog.events import EventKind
from tests.reference import meanings

SRC = Path(__file__).resolve().parents[2] / "src"
CODE = {str(file.relative_to(SRC)): file.read_text() for file in sorted(SRC.rglob("*.py"))}
NO_LOGS = frozenset({"_log", "math"})
"""Who else has a `log`: Python's logging, logarithms."""
COMPARING = frozenset(
    {"startswith", "endswith", "find", "index", "count", "match", "search", "fullmatch", "like", "ilike", "contains"}
    | {"in_", "partition", "rpartition", "split", "removeprefix", "removesuffix", "get"}
)
"""Calls by which a text decides something."""


def recordings(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.AST]]:
    """Yield every call that records an event, with the function that it is in."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and _records(node):
                    yield node, scope


def _records(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "_event_row"
    if not isinstance(call.func, ast.Attribute):
        return False
    receiver = call.func.value
    name = receiver.id if isinstance(receiver, ast.Name) else getattr(receiver, "attr", "")
    return (call.func.attr == "log" and name not in NO_LOGS) or (call.func.attr == "note" and name == "tracker")


def kinds(expression: ast.AST, scope: ast.AST) -> set[str] | None:
    """Return names of the kinds that an expression may be; None where it may be something else."""
    if isinstance(expression, ast.IfExp):
        found = [kinds(expression.body, scope), kinds(expression.orelse, scope)]
        return None if None in found else set().union(*(each for each in found if each))
    if isinstance(expression, ast.Attribute) and ast.unparse(expression.value) == "EventKind":
        return {expression.attr}
    if not isinstance(expression, ast.Name):
        return None
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and node.arg == expression.id:
            return set() if node.annotation is not None and ast.unparse(node.annotation) == "EventKind" else None
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [expression.id]:
            return kinds(node.value, scope)
    return None


def without_a_kind(code: dict[str, str]) -> list[str]:
    """Return the calls that record an event without a kind, or one whose kind has no text without giving one."""
    found = []
    for file, text in code.items():
        for call, scope in recordings(ast.parse(text)):
            named = [kinds(argument, scope) for argument in call.args]
            known = next((each for each in named if each is not None), None)
            given = {keyword.arg for keyword in call.keywords}
            silent = [name for name in known or () if not EventKind[name].text]
            lacking = [
                field
                for name in known or ()
                for field in re.findall(r"{(\w+)}", EventKind[name].text)
                if field not in given and None not in given
            ]
            if known is None or (silent and "text" not in given) or lacking:
                found.append(f"{file}: {ast.unparse(call)}")
    return found


def never_logged(code: dict[str, str], all_kinds: Iterable[str]) -> set[str]:
    """Return the kinds that no call records."""
    logged: set[str] = set()
    for text in code.values():
        for call, scope in recordings(ast.parse(text)):
            for argument in call.args:
                logged |= kinds(argument, scope) or set()
    return set(all_kinds) - logged


def goes_by_a_message(code: dict[str, str]) -> list[str]:
    """Return where something is decided by an event's message."""
    found = []
    for file, text in code.items():
        for node in ast.walk(ast.parse(text)):
            parts: list[ast.AST] = []
            if isinstance(node, ast.Compare) and not all(isinstance(each, ast.Is | ast.IsNot) for each in node.ops):
                parts = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COMPARING:
                # `"message".get(…)` is a field of some document; `texts.get(event.message)` is a decision.
                parts = [*node.args] if node.func.attr == "get" else [node.func.value, *node.args]
            elif isinstance(node, ast.Subscript):
                parts = [node.slice]
            elif isinstance(node, ast.Match):
                parts = [node.subject]
            if any(_is_message(part) for part in parts):
                found.append(f"{file}: {ast.unparse(node)}")
    return found


def _is_message(node: ast.AST) -> bool:
    """Return whether an expression is a message: `event.message`, `col(JoblogEvent.message)`, `event["message"]`, or
    one of them in other letters."""
    if isinstance(node, ast.Attribute):
        return node.attr == "message"
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == "message"
    if isinstance(node, ast.Call):
        inner = node.func.value if isinstance(node.func, ast.Attribute) else None
        return any(_is_message(each) for each in (*node.args, *([inner] if inner is not None else [])))
    return False


def test_every_event_is_logged_with_a_kind_and_what_its_text_needs() -> None:
    assert len([call for text in CODE.values() for call, _ in recordings(ast.parse(text))]) > 75
    assert without_a_kind(CODE) == []


def test_every_kind_is_logged() -> None:
    assert never_logged(CODE, EventKind.__members__) == set()


def test_nobody_goes_by_what_an_event_says() -> None:
    assert goes_by_a_message(CODE) == []


@pytest.mark.parametrize(
    "planted",
    [
        'step.log("disk copied", disk=1)',
        'run.step.log(f"{n} copied")',
        "job.log(text)",
        'job.log(EventKind.HASHED if done else "not hashed")',
        'runtime.tracker.note(job, "asked to stop", {})',
        "step.log(EventKind.TOOL_OUTPUT, tool=1)",
        "step.log(EventKind.SOURCE_BACK, vm=1)",
    ],
)
def test_an_event_without_a_kind_is_found(planted: str) -> None:
    assert without_a_kind({"x.py": f"def f(step, job, run, n, text):\n    {planted}"})


@pytest.mark.parametrize("way", ["step.log(EventKind.{0})", "k = EventKind.{0}\n    step.log(k)", "x = EventKind.{0}"])
def test_a_kind_that_is_never_logged_is_found(way: str) -> None:
    others = "".join(f"    step.log(EventKind.{name})\n" for name in EventKind.__members__ if name != "HASHED")
    code = {"x.py": f"def f(step):\n{others}    {way.format('HASHED')}\n"}
    assert never_logged(code, EventKind.__members__) == (set() if "step" in way else {"HASHED"})


@pytest.mark.parametrize(
    "planted",
    [
        'if event.message == "plan": pass',
        "query.where(JoblogEvent.message == ASKED)",
        'found = "converted" in event.message',
        'if event.message.lower().startswith("drift"): pass',
        'query.where(col(JoblogEvent.message).like("drift%"))',
        "made = MADE_BY.get(event.message)",
        "made = MADE_BY[event.message]",
        're.search("drift", event.message)',
        'if event["message"] == "plan": pass',
        'match event.message:\n    case "plan": pass',
    ],
)
def test_going_by_a_message_is_found(planted: str) -> None:
    assert goes_by_a_message({"x.py": planted})


def test_a_kind_is_named_as_it_is_spelt_and_says_what_it_means() -> None:
    for kind in EventKind:
        assert kind.value == kind.name.lower().replace("_", "-")
    described = {kind.name for kind, _ in meanings()}
    assert described == set(EventKind.__members__)
