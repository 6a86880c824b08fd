"""migratekit networks"""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.ask import confirm, possible
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.networks.model import Entry
    from migratekit_core.services.networks.overview import Overview, Source


class Form(StrEnum):
    """Form of a mapping file."""

    TOML = "toml"
    YAML = "yaml"
    CSV = "csv"


@reported
def command(
    context: typer.Context,
    vms: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VM]…", help="Only networks of these machines; all machines where none is named."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Store the mapping of a TOML, YAML or CSV file.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --map: what is stored and not in the file is removed.")
    ] = False,
    by_name: Annotated[
        bool, typer.Option("--by-name", help="Map what is not mapped yet to the network of the same name.")
    ] = False,
    wizard: Annotated[bool, typer.Option("--wizard", help="Ask for each network that is not mapped yet.")] = False,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SOURCE=TARGET", help="Store one line; TARGET - leaves its cards out."),
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option("--unset", metavar="SOURCE", help="Remove what is stored for a network.")
    ] = None,
    export: Annotated[
        Form | None, typer.Option("--export", help="Write the whole mapping as a file of this form to stdout.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="End with exit 4 where the mapping is not complete.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the networks of both sides and the mapping between them, or map them.

    Without an option nothing is changed. The mapping is stored in the database; networks.map of the configuration wins
    over it.
    """
    from migratekit_core.services.networks import collect, files
    from migratekit_core.services.networks import overview as views

    ways = [way for way, given in _ways(file, by_name, wizard, assign, forget, export).items() if given]
    if len(ways) > 1:
        raise UsageError(
            f"{' and '.join(ways)} do not go together",
            "each is a way of its own",
            "leave one of them out",
            code=ErrorCode.USAGE,
        )
    if replace and file is None:
        raise UsageError("--replace is for --map", "no file is given", "add --map FILE", code=ErrorCode.USAGE)
    if wizard and not possible():
        raise UsageError(
            "--wizard asks questions",
            "there is no terminal to ask on",
            "use --map FILE, --by-name or --set",
            code=ErrorCode.NO_TERMINAL,
        )
    entries = files.read(file) if file is not None else tuple(_assigned(line) for line in assign or ())
    with runtime(context) as opened:
        if export is not None:
            sys.stdout.write(files.write(collect.network_map(opened).entries, export.value))
            return
        if forget:
            _forget(opened, forget, dry_run, yes)
        elif file is None and not assign:
            found = collect.collect(opened, vms or ())
            entries = views.by_name(found) if by_name else _asked(found) if wizard else ()
        if entries or (replace and file is not None):
            _save(opened, entries, replace, dry_run, yes or not wizard)
        found = collect.collect(opened, vms or ())
    _show(found, output)
    if check and not found.complete:
        raise PreconditionError(
            "the mapping of networks is not complete",
            _incomplete(found),
            "map them; docs/networks.md shows the ways",
            code=ErrorCode.NETWORK_UNMAPPED,
        )


def _ways(
    file: Path | None, by_name: bool, wizard: bool, assign: list[str] | None, forget: list[str] | None, export: Any
) -> dict[str, bool]:
    return {
        "--map": file is not None,
        "--by-name": by_name,
        "--wizard": wizard,
        "--set": bool(assign),
        "--unset": bool(forget),
        "--export": export is not None,
    }


def _assigned(line: str) -> Entry:
    from migratekit_core.services.networks.files import LEFT_OUT
    from migratekit_core.services.networks.model import Entry

    source, equals, target = line.rpartition("=")
    if not (equals and source.strip() and target.strip()):
        raise UsageError(
            f"--set {line!r} is not understood",
            "it is not SOURCE=TARGET",
            "write --set 'VM Network=prod'",
            code=ErrorCode.USAGE,
        )
    return Entry(source.strip(), None if target.strip() == LEFT_OUT else target.strip(), origin="set")


def _asked(found: Overview) -> tuple[Entry, ...]:
    from migratekit_cli.ui.wizard import ask

    return ask(found)


def _tell(line: str) -> None:
    plain.err(line)


def _forget(opened: Runtime, sources: list[str], dry_run: bool, yes: bool) -> None:
    from migratekit_core.services.networks import store

    stored = {entry.source for entry in store.stored(opened.databases.oma) if not entry.machine}
    missing = [source for source in sources if source not in stored]
    if missing:
        raise PreconditionError(
            f"nothing is stored for {missing[0]!r}",
            f"stored are: {', '.join(sorted(stored)) or 'none'}",
            "check --unset",
            code=ErrorCode.USAGE,
        )
    for source in sources:
        _tell(f"{'would remove' if dry_run else 'removes'} the line of {source}")
    if not dry_run:
        confirm("Remove these lines?", yes)
        store.forget(opened.databases.oma, sources)


def _save(opened: Runtime, entries: tuple[Entry, ...], replace: bool, dry_run: bool, yes: bool) -> None:
    from migratekit_core.services.networks import collect, store

    before = {(entry.machine, entry.source): entry for entry in store.stored(opened.databases.oma)}
    for entry in entries:
        old = before.pop((entry.machine, entry.source), None)
        if old is None or old.target != entry.target:
            was = f" (was {old.target or 'left out'})" if old is not None else ""
            where = f"{entry.machine}: {entry.source}" if entry.machine else entry.source
            _tell(f"{where} → {entry.target or 'left out'}{was}")
    for entry in before.values() if replace else ():
        _tell(f"{entry.source}: its line is removed")
    if dry_run:
        _tell("nothing is stored (--dry-run)")
        return
    confirm("Store this?", yes)
    collect.save(opened, entries, replace_all=replace)


def _incomplete(found: Overview) -> str:
    return "; ".join(dict.fromkeys(card.problem for card in found.cards if card.problem))


def _show(found: Overview, output: Output) -> None:
    table = render.Table("NETWORK", "KIND", "CARDS", "MACHINES", "GOES TO", "FROM", "PROBLEM")
    for source in found.sources:
        name = source.path or source.name
        state = {"deleted": " (gone, or not visible)", "renamed": f" (was {', '.join(source.record)})"}
        origins = dict.fromkeys(card.origin for card in source.cards if card.origin)
        table.add(
            f"{name}{state.get(source.state, '')}",
            source.kind,
            _count(source),
            ", ".join(dict.fromkeys(card.vm for card in source.cards)),
            ", ".join(source.targets) or ("left out" if origins else ""),
            ", ".join(origins),
            "; ".join(source.problems),
        )
    for card in found.unresolved:
        goes = card.target or ("left out" if card.origin else "")
        table.add(f"({card.label})", "none", 1, card.vm, goes, card.origin, card.problem or card.unresolved)
    data: dict[str, Any] = {
        "complete": found.complete,
        "sources": [{**asdict(each), "targets": each.targets, "problems": each.problems} for each in found.sources],
        "unresolved": [asdict(card) for card in found.unresolved],
        "targets": [asdict(goal) for goal in found.goals],
        "overridden": [asdict(entry) for entry in found.overridden],
        "unused": [asdict(entry) for entry in found.unused],
    }
    render.result(output, "migratekit.networks/1", data, table)
    if output is not Output.TABLE:
        return
    _tell("networks of CloudStack: " + ", ".join(_goal(goal.name, goal.type, goal.cidr) for goal in found.goals))
    for entry in found.overridden:
        _tell(f"networks.map wins over what is stored for {entry.source} ({entry.target or 'left out'})")
    for entry in found.unused:
        _tell(f"no card is meant by {entry.machine + ': ' if entry.machine else ''}{entry.source} ({entry.origin})")
    _tell("the mapping is complete" if found.complete else f"the mapping is not complete: {_incomplete(found)}")


def _count(source: Source) -> str:
    unplugged = sum(not card.connected for card in source.cards)
    return f"{len(source.cards)} ({unplugged} disconnected)" if unplugged else str(len(source.cards))


def _goal(name: str, kind: str, cidr: str) -> str:
    return f"{name} ({', '.join(filter(None, (kind, cidr)))})"
