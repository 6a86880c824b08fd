"""Every command that a document shows exists, with every option; the error classes are in the runbook."""

from __future__ import annotations

import pytest

from migratekit_core.common.errors import MigrateKitError
from tests import reference
from tests.docs.hooks import DOCS, MORE, SECTIONS, navigation
from tests.docs.shell import Shown, commands, pages, problem

SHOWN = [shown for page in pages() for shown in commands(page)]


def test_the_documents_show_commands() -> None:
    assert len({shown.text for shown in SHOWN}) > 80
    assert {"README.md", "docs/tutorial.md", "docs/setup-oma.md", "docs/exit-codes.md"} <= {s.page for s in SHOWN}


def test_every_command_in_the_documents_exists() -> None:
    wrong = [f"{shown.page}:{shown.line}: {shown.text}: {said}" for shown in SHOWN if (said := problem(shown))]
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("teleport web01", "has no command teleport"),
        ("replicate web01 --fast", "has no option --fast"),
        ("verify", "needs VM"),
        ("replicate web01 db01", "takes 1 arguments"),
        ("jobs list --limit", "needs a value"),
        ("jobs", "needs a command"),
        ("discover --power sideways", "does not take sideways"),
        ("--profile dr jobs list --vm web01 --output=json", ""),
        ("replicate VM --bandwidth 50M", ""),
        ("replicate --all-due --quiet", ""),
        ("assess web01 web02", ""),
    ],
)
def test_what_does_not_exist_is_found(words: str, says: str) -> None:
    said = problem(Shown("x", 1, tuple(words.split()), whole=True))
    assert says in said if says else said == ""


def test_the_reference_of_commands_and_events_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0, "run: python -m tests.reference"


def every_class(kind: type[MigrateKitError]) -> list[type[MigrateKitError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in every_class(below))]


def test_the_runbook_has_an_entry_for_every_kind_of_error() -> None:
    import migratekit_core.adapters.cloudstack.client
    import migratekit_core.context  # noqa: F401 (both define kinds of their own)

    headings = {line[3:] for line in (DOCS / "runbook.md").read_text().splitlines() if line.startswith("## ")}
    # A kind of a kind may share its entry; a kind of its own may not.
    without = [
        kind for kind in every_class(MigrateKitError)[1:] if not headings & {each.__name__ for each in kind.__mro__}
    ]
    assert without == []
    assert {"Assessment found blockers", "Interrupted"} <= headings


def test_navigation_holds_every_page_once_and_new_ones_under_more() -> None:
    nav = navigation({"index.md", "cli.md", "brand-new.md"})
    assert nav == [{"Home": "index.md"}, {"Reference": [{"Commands": "cli.md"}]}, {MORE: ["brand-new.md"]}]
    placed = [page for entries in SECTIONS.values() for page in entries]
    assert len(placed) == len(set(placed))
