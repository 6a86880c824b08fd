"""What pause, resume, cancel and retry have in common: the request is recorded as a job, and told in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.options import Output
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import count

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.waves.asks import Asked

MOST_NAMES = 10
WaveArgument = Annotated[str, typer.Argument(metavar="WAVE", help="Name of the wave.")]
MachinesOption = Annotated[
    list[str] | None,
    typer.Option("--vm", metavar="VM", help="Only this machine (name in the wave, or instanceUuid); repeatable."),
]


def ask(
    context: typer.Context,
    wave: str,
    verb: str,
    request: Callable[[Runtime, bool], Asked],
    told: Callable[[Asked], list[str]],
    output: Output,
    dry_run: bool,
    agreed: Callable[[], None] | None = None,
) -> None:
    """Ask something of a wave. `request` gets the runtime, and whether it is only to say what it would do; `told` says
    in lines what it did. `agreed` is called before something is changed, and raises where it is not to be."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.events import EventKind

    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        asked = request(opened, True)
        if not dry_run and asked.changed:
            if agreed is not None:
                agreed()
            opened.tracker.mark_interrupted()
            with opened.tracker.job(f"wave-{verb}", owner=wave) as job, job.step(verb) as step:
                asked = request(opened, False)
                step.log(EventKind.WAVE_ASKED, machines=list(asked.machines), running=list(asked.running))
    data = {
        "wave": asked.wave,
        "changed": asked.changed,
        "machines": list(asked.machines),
        "running": list(asked.running),
        "left": list(asked.left),
    }
    lines = told(asked)
    if dry_run:
        lines = [f"nothing is changed (--dry-run); {verb} would mean:", *lines]
    schema = f"migratekit.wave-{verb}{'-plan' if dry_run else ''}/1"
    render.result(output, schema, data, text="\n".join([*lines, *asked.left]))


def some(machines: tuple[str, ...]) -> str:
    """Return how many machines these are, and their names where they are few."""
    names = ", ".join(machines[:MOST_NAMES]) + (" …" if len(machines) > MOST_NAMES else "")
    return f"{count(len(machines), 'machine')} ({names})" if machines else "no machine"
