"""How doctor runs its checks: at the same time, for a bounded time, and nothing that one does spoils another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, PreconditionError
from migratekit_core.common.redact import remember
from migratekit_core.config.schema import Config, Database
from migratekit_core.services.doctor.model import CHECKS, Answer, Check, Status, always, failed, ok, warning
from migratekit_core.services.doctor.run import examine, run, topics
from migratekit_core.services.doctor.site import Site

NOTHING = Config()


def made(name: str, *answers: Answer | Exception, hang: threading.Event | None = None) -> Check:
    def check(site: Site) -> Iterator[Answer]:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer
        if hang is not None:
            hang.wait(60)

    return Check(name, name, always, check)


def test_lines_stand_in_the_order_of_the_checks_and_the_first_failure_decides() -> None:
    checks = [
        made("a.one", ok("one", "fine")),
        made("b.two", AuthError("no", "wrong key", "look", code=ErrorCode.UNKNOWN)),
        made("c.three", failed("three", "gone", "bring it back", 6)),
        made("d.four", warning("four", "soon", "hurry")),
    ]
    found = run(checks, NOTHING, 30)
    assert [(line.what, line.status, line.exit_code) for line in found.lines] == [
        ("one", Status.OK, 0), ("b.two", Status.FAILED, 5), ("three", Status.FAILED, 6), ("four", Status.WARNING, 0)
    ]  # fmt: skip
    assert (found.exit_code, found.verdict) == (5, Status.FAILED)


def test_a_check_that_hangs_keeps_what_it_said_and_holds_nobody_up() -> None:
    release = threading.Event()
    found = run([made("a.hangs", ok("first", "fine"), hang=release), made("b.two", ok("two", "fine"))], NOTHING, 1)
    assert not release.is_set(), "it hangs on"
    release.set()
    assert [(line.what, line.status, line.exit_code) for line in found.lines] == [
        ("first", Status.OK, 0), ("a.hangs", Status.FAILED, 6), ("two", Status.OK, 0)
    ]  # fmt: skip


def test_checks_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)

    def meets(site: Site) -> Iterator[Answer]:
        both.wait()
        yield ok("met", "yes")

    found = run([Check("a.x", "x", always, meets), Check("b.y", "y", always, meets)], NOTHING, 40)
    assert {line.status for line in found.lines} == {Status.OK}


def test_a_check_that_is_wrong_itself_is_a_line_without_a_secret() -> None:
    secret = remember("planted-in-a-check")
    found = run([made("a.bug", ZeroDivisionError(f"with {secret}")), made("b.two", ok("two", "fine"))], NOTHING, 30)
    assert found.lines[0].status is Status.FAILED
    assert "the check itself failed: ZeroDivisionError" in found.lines[0].found
    assert secret not in found.lines[0].found
    assert found.exit_code == 1


def test_what_several_need_is_asked_for_once_and_its_failure_skips_the_others() -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise PreconditionError("the thing is not there", code=ErrorCode.UNKNOWN)

    def first(site: Site) -> Iterator[Answer]:
        site.once("thing", ask)
        yield ok("first", "never")

    def second(site: Site) -> Iterator[Answer]:
        site.needs(lambda: site.once("thing", ask))
        yield ok("second", "never")

    found = run([Check("a.x", "x", always, first), Check("b.y", "y", always, second)], NOTHING, 30)
    assert [line.status for line in found.lines] == [Status.FAILED, Status.SKIPPED]
    assert found.lines[1].found == "not looked at: the thing is not there"
    assert len(asked) == 1
    alone = run([Check("b.y", "y", always, second)], NOTHING, 30)
    assert [(line.status, line.found, line.exit_code) for line in alone.lines] == [
        (Status.FAILED, "the thing is not there", 4)
    ]


def test_names_of_checks_are_unique_and_in_their_topics() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert topics()[0] == "settings"
    assert {
        "host",
        "disk",
        "dns",
        "certificates",
        "tunnel",
        "clock",
        "database",
        "daemon",
        "vcenter",
        "cloudstack",
    } <= set(topics())


def test_looking_makes_no_database(tmp_path: Path) -> None:
    found = examine(Config(database=Database(directory=tmp_path / "none")), topics=["database"])
    assert found.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_host_where_nothing_is_configured_is_not_well() -> None:
    found = examine(NOTHING, topics=["settings"])
    assert found.exit_code == 2
    assert [line.what for line in found.lines if line.status is Status.FAILED] == ["configuration"]
    assert "migratekit config init" in next(str(line.todo) for line in found.lines if line.what == "configuration")
