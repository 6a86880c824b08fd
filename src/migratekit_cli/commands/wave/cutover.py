"""migratekit wave cutover"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from migratekit_cli.commands.wave import waverun
from migratekit_cli.commands.wave.waverun import DetachOption, WaveArgument
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm, possible
from migratekit_cli.ui.render import count
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit


def _percent(text: str) -> float:
    try:
        found = float(text.strip().removesuffix("%"))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise typer.BadParameter(f"{text!r} is no percentage; write 90%")
    return found


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    abort_below: Annotated[
        float | None,
        typer.Option(
            "--abort-below",
            parser=_percent,
            metavar="PERCENT",
            help="Roll the wave back where fewer of its machines can succeed; without it as the wave file says.",
        ),
    ] = None,
    rehearse: Annotated[
        bool | None,
        typer.Option(
            "--rehearse/--no-rehearse",
            help="Rehearse all machines first, or not; as the wave file says.",
            show_default=False,
        ),
    ] = None,
    detach: DetachOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cut a wave over: rehearse all machines, ask, then cut them over by stages; or roll all of it back.

    With --yes nobody is asked between the rehearsals and the cut-over. Where more machines fail than --abort-below
    allows, nothing more is begun, and every machine that was cut over is rolled back.
    """
    from migratekit_core.db.schema import require_schema

    began = time.monotonic()
    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        from migratekit_core.services.fleet import phases, runs
        from migratekit_core.services.fleet.runs import Asked

        chosen = waverun.choose(opened, wave, replace=False, keep=False)
        must = chosen.wave.must_pass
        least = must.abort_below if abort_below is None else abort_below
        first = must.rehearse if rehearse is None else rehearse
        if dry_run:
            _plan(chosen, least, first, _ready(opened, chosen), output)
            return
        engine = opened.databases.oma
        going = runs.of(engine, chosen.name)
        joins = going is not None and not going.over and going.course.kind == phases.CUT
        if not joins:
            problems = _ready(opened, chosen)
            if problems:
                raise PreconditionError(
                    f"wave {chosen.name} cannot be cut over",
                    "; ".join(problems),
                    hint("first: ", migratekit("wave", "run", chosen.name)),
                    code=ErrorCode.WAVE_NOT_READY,
                    facts={"wave": chosen.name},
                )
        if not first and not joins:
            confirm(_question(chosen), yes)
        wanted = Asked(phases.CUT, rehearse=first, gate_open=yes or not first, abort_below=least)
        if not waverun.ask(opened, chosen, wanted, detach, output):
            return
        with waverun.driven(context, opened, chosen.name) as check:
            # One that was opened just now is no gate any more, whatever phase its driver has written down last.
            done = waverun.follow(opened, chosen.name, check, lambda run: phases.waits_for_a_yes(run.course), output)
            if phases.waits_for_a_yes(done.course) and possible():
                _gate(chosen)
                runs.open_gate(engine, chosen.name)
                done = waverun.follow(opened, chosen.name, check, lambda _: False, output)
        waverun.finish(opened, done, time.monotonic() - began, output, "migratekit.wave-cutover/1")


def _question(chosen: waverun.Chosen) -> str:
    return f"Shut down and cut over {count(len(chosen.wave.machines), 'machine')} of wave {chosen.name}?"


def _gate(chosen: waverun.Chosen) -> None:
    """Ask whether a wave whose machines are rehearsed is to be cut over."""
    left = f"Nothing was shut down; wave {chosen.name} waits for a yes."
    confirm(_question(chosen), False, about=["All rehearsals passed."], unchanged=left)


def _ready(opened: object, chosen: waverun.Chosen) -> list[str]:
    """Return what stands in the way."""
    from migratekit_core.context import Runtime
    from migratekit_core.db.wavestates import REPLICAS
    from migratekit_core.services.waves import look, store

    assert isinstance(opened, Runtime)
    engine = opened.databases.oma
    seen = look.snapshot(engine, chosen.name)
    problems = store.unmet(engine, chosen.wave)
    bad = [each.name for each in seen.machines if each.state not in (*REPLICAS, "cut-over")]
    if bad:
        problems.append(f"{count(len(bad), 'machine')} without a replica: {', '.join(bad[:5])}")
    return problems


def _plan(chosen: waverun.Chosen, least: float, rehearse: bool, problems: list[str], output: Output) -> None:
    stages: dict[int, list[str]] = {}
    for machine in chosen.wave.machines:
        stages.setdefault(machine.stage, []).append(machine.name)
    lines = [f"wave {chosen.name}: cut over {count(len(chosen.wave.machines), 'machine')}"]
    lines += ["  rehearse all of them, then ask"] if rehearse else []
    lines += [f"  stage {number}: {', '.join(names)}" for number, names in sorted(stages.items())]
    lines.append(f"  roll all of it back where less than {least:g}% can succeed")
    lines += [f"  in the way: {problem}" for problem in problems]
    data = {
        "wave": chosen.name,
        "rehearse": rehearse,
        "abort_below": least,
        "stages": [{"stage": number, "machines": names} for number, names in sorted(stages.items())],
        "problems": problems,
    }
    render.result(output, "migratekit.wave-cutover-plan/1", data, text="\n".join(lines))
