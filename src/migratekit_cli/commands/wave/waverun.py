"""What `wave run` and `wave cutover` have in common: the wave's name or file, who drives it, watching it, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli.commands.fleet.fleetlog import note
from migratekit_cli.options import Output
from migratekit_cli.session import Globals, as_given
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.ask import Interrupted
from migratekit_cli.ui.render import count
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import INTERRUPTED_EXIT_CODE, BusyError, PreconditionError, UnreachableError
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.common.units import human_seconds

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.fleet.runs import Asked, Run
    from migratekit_core.services.waves.model import Wave

WaveArgument = Annotated[str, typer.Argument(metavar="WAVE", help="Wave file, or name of a stored wave.")]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Take the file's content where one of this name is stored and was not begun.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="With a fleet: ask for it and do not watch; look with wave status.")
]
LOOK_SECONDS = 0.5
FAILED_EXIT_CODE = 1


@dataclass(frozen=True)
class Chosen:
    """The wave that a command is about."""

    name: str
    wave: Wave


def choose(opened: Runtime, given: str, *, replace: bool, keep: bool = True) -> Chosen:
    """Return the wave of a file, stored in the database where `keep`, or the stored one of a name.

    Raises UsageError for a wrong file, PreconditionError for an unknown name and for a stored wave of other content.
    """
    from migratekit_core.services.waves import files, resolve, store

    engine = opened.databases.oma
    if Path(given).suffix in (".yaml", ".yml") or Path(given).is_file():
        wave = files.load(Path(given))
        resolve.check(opened.config, wave)
        if keep:
            store.create(engine, wave, replace=replace)
        return Chosen(wave.name, wave)
    _, wave = store.find(engine, given)
    resolve.check(opened.config, wave)
    return Chosen(given, wave)


@contextmanager
def driven(context: typer.Context, opened: Runtime, name: str) -> Iterator[Callable[[], None]]:
    """Have a wave driven: by the fleet, or by this process. Yield what raises where this process cannot any more.

    After Ctrl-C it says what goes on, and ends with exit 130; at a question the question has said it.
    """
    from migratekit_core.services.fleet import dask

    fleet = opened.config.fleet
    dask.load(fleet)
    if fleet.scheduler is not None:
        with _by_the_fleet(opened, name) as check:
            yield check
        return
    from migratekit_core.services.fleet import local

    chosen: Globals = context.obj
    engine = opened.databases.oma
    try:
        with local.cluster(fleet, engine, chosen.files, note) as driver:
            stop, thread, problems = local.drive(driver, name)

            def check() -> None:
                if problems:
                    raise problems[0]

            try:
                # Nothing is shown before it is known that this process may drive it.
                while not driver.alone.wait(0.1):
                    check()
                yield check
            except Interrupted:
                raise
            except KeyboardInterrupt:
                note(f"stopping: what wave {name} copies stops at a checkpoint; cut-overs go on to their end")
                raise
            finally:
                stop.set()
                thread.join(30)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        _say(
            f"wave {name} was stopped; nothing of it goes on",
            hint(migratekit("wave", "run", name), f", or wave cutover {name}"),
        )
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


@contextmanager
def _by_the_fleet(opened: Runtime, name: str) -> Iterator[Callable[[], None]]:
    try:
        yield lambda: None
    except Interrupted:
        raise
    except KeyboardInterrupt:
        from migratekit_core.db.wavestates import RUNNING
        from migratekit_core.services.waves import look

        busy = len(look.snapshot(opened.databases.oma, name).of(RUNNING))
        _say(
            f"wave {name} goes on without this command: the fleet works on {count(busy, 'machine')} of it",
            hint(
                "look: ",
                migratekit("wave", "status", name),
                "; stop: ",
                migratekit("wave", "pause", name),
                f", or wave cancel {name}",
            ),
        )
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None


def ask(opened: Runtime, chosen: Chosen, wanted: Asked, detach: bool, output: Output) -> bool:
    """Ask for a run of a wave; return whether it is to be watched: not with `detach` where there is a fleet.

    Raises why the fleet cannot be reached, and BusyError where waves that run have other limits.
    """
    from migratekit_core.services.fleet import runs

    try:
        _check_fleet(opened)
    except UnreachableError as error:
        _unreachable_or_joined(opened, chosen.name, error)
    _refuse_other_limits(opened, chosen)
    asked = runs.ask(opened.databases.oma, chosen.name, wanted)
    if not detach or opened.config.fleet.scheduler is None:
        return True
    text = as_given(f"wave {chosen.name}: asked for; look: ", migratekit("wave", "status", chosen.name))
    data = {"wave": chosen.name, "phase": asked.course.phase, "asked_by": asked.asked_by}
    render.result(output, "migratekit.wave-asked/1", data, text=text)
    return False


def _check_fleet(opened: Runtime) -> None:
    """Raise why the fleet cannot be reached, where there is one to be."""
    from migratekit_core.services.fleet import dask

    fleet = opened.config.fleet
    dask.load(fleet)
    if fleet.scheduler is None:
        return
    from migratekit_core.services.fleet import tls

    tls.security(fleet, tls.CLIENT)
    tls.check(fleet)


def _say(what: str, todo: Hint) -> None:
    plain.err(f"{what}\n{as_given(todo)}")


def follow(opened: Runtime, name: str, check: Callable[[], None], until: Callable[[Run], bool], output: Output) -> Run:
    """Show a wave until its run is over, or `until` says so; return the run."""
    from migratekit_cli.commands.wave import waveview
    from migratekit_core.services.fleet import runs
    from migratekit_core.services.waves import look

    engine = opened.databases.oma
    seen: list[Run] = []

    def over(_: Any) -> bool:
        check()
        found = runs.of(engine, name)
        assert found is not None, "it was asked for"
        if not seen or (found.course.phase, found.note) != (seen[-1].course.phase, seen[-1].note):
            seen.append(found)
            if found.note and not found.over:
                note(f"wave {name}: {found.course.phase}: {found.note}")
        return found.over or until(found)

    if output is Output.TABLE:
        waveview.watch(lambda: look.snapshot(engine, name), over)
    else:
        while not over(None):
            time.sleep(LOOK_SECONDS)
    found = runs.of(engine, name)
    assert found is not None, "it was asked for"
    return found


def _note(run: Run) -> str:
    """Return what a run says of itself; what it waits for at the gate with the options in force."""
    from migratekit_core.services.fleet import phases

    return as_given(phases.gate(run.wave)) if run.course.phase == phases.GATE else run.note


def finish(opened: Runtime, run: Run, seconds: float, output: Output, schema: str) -> None:
    """Say what came of a run, and end with exit 1 where it failed."""
    from migratekit_core.services.waves import look

    seen = look.snapshot(opened.databases.oma, run.wave)
    counts = dict(sorted(seen.counts.items()))
    machines = [
        {
            "vm": each.name,
            "uuid": each.vm_id,
            "state": each.state,
            "attempts": each.attempts,
            "result": each.result,
            "error": each.error.fields if each.error else None,
        }
        for each in seen.machines
    ]
    data = {
        "wave": run.wave,
        "kind": run.course.kind,
        "phase": run.course.phase,
        "failed": run.failed,
        "note": run.note or None,
        "counts": counts,
        "seconds": round(seconds, 3),
        "machines": machines,
    }
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    text = f"wave {run.wave}: {states}; after {human_seconds(seconds)}" + (f"\n{_note(run)}" if run.note else "")
    if run.failed:
        text += as_given(
            "\nlook: ", migratekit("wave", "status", run.wave), "; again: ", migratekit("wave", "retry", run.wave)
        )
    render.result(output, schema, data, text=text)
    if run.failed:
        raise typer.Exit(FAILED_EXIT_CODE)


def _unreachable_or_joined(opened: Runtime, name: str, error: UnreachableError) -> None:
    """Go on where the run goes on in the database already; it is only that nobody drives it just now."""
    from migratekit_core.services.fleet import runs

    try:
        found = runs.of(opened.databases.oma, name)
    except PreconditionError:
        found = None
    if found is None or found.over:
        raise error
    note(f"{error}; wave {name} goes on when the scheduler is back")


def _refuse_other_limits(opened: Runtime, chosen: Chosen) -> None:
    """Raise BusyError while a wave with other limits runs: places are the same for all that run at a time."""
    from migratekit_core.services.fleet import runs
    from migratekit_core.services.waves import store

    engine = opened.databases.oma
    for run in runs.open_runs(engine):
        if run.wave == chosen.name:
            continue
        _, other = store.find(engine, run.wave)
        if other.limits != chosen.wave.limits:
            raise BusyError(
                f"wave {chosen.name} cannot run beside wave {run.wave}",
                "their limits differ, and a limit holds for all that runs at a time",
                "give both the same limits, or wait until that one is over",
                code=ErrorCode.WAVE_BUSY,
                facts={"wave": chosen.name},
            )
