"""migratekit assess"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output
from migratekit_cli.reports import pages
from migratekit_cli.session import configuration, runtime
from migratekit_cli.ui import plain, render

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment
    from migratekit_core.services.assessment.rule import Severity
    from migratekit_core.services.assessment.site import Site
    from migratekit_core.services.assessment.sizing import Sizing

FOUND_EXIT_CODE = 3
DEFAULT_REASON = "accepted as it was found"
MOST_RULES = 5
"""That a line on stderr names."""


class Form(StrEnum):
    """Form of an assessment on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    JUNIT = "junit"
    SARIF = "sarif"
    MARKDOWN = "markdown"


SIZING, ACCEPTED = "Sizing and report", "Accepted findings"
"""Parts of the help text."""


class FailOn(StrEnum):
    """The least severity that gives exit 3."""

    BLOCKER = "blocker"
    WARNING = "warning"


@reported
def command(
    context: typer.Context,
    vms: Annotated[
        list[str] | None, typer.Argument(metavar="VM…", help="Names, inventory paths, instanceUuids or ids.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All machines: no templates, agents of vSphere (vCLS), placeholders of Site Recovery.",
        ),
    ] = False,
    target: Annotated[bool, typer.Option("--target", help="Look at the CloudStack side, too.")] = False,
    output: Annotated[Form, typer.Option("--output", "-o", help="Form of the result on stdout.")] = Form.TABLE,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="End with exit 3 where there are findings as bad as this.")
    ] = FailOn.BLOCKER,
    permissions: Annotated[
        bool, typer.Option("--permissions", help="Show what the accounts lack for each command, and nothing else.")
    ] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Show the rules, and assess nothing.")] = False,
    offline: Annotated[
        Path | None,
        typer.Option(
            "--offline", metavar="FILE", help="Assess an earlier `discover --output json` instead of vSphere."
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth", rich_help_panel=SIZING, metavar="RATE", help="Estimate times at this rate, such as 1Gbit/s."
        ),
    ] = None,
    waves: Annotated[
        str | None,
        typer.Option(
            "--waves",
            rich_help_panel=SIZING,
            metavar="WHAT",
            help="Sum up by folder, cluster or tag:CATEGORY; by folder where it is left out.",
        ),
    ] = None,
    measure: Annotated[
        float | None,
        typer.Option(
            "--measure-changes",
            rich_help_panel=SIZING,
            metavar="SECONDS",
            min=20,
            max=3600,
            help="Ask vCenter how much was written in the last so many seconds.",
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            rich_help_panel=SIZING,
            help="Take rates of change, and the mapping of networks, from the database.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", rich_help_panel=SIZING, metavar="FILE", help="Write a report with charts, one HTML file."
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", rich_help_panel=ACCEPTED, metavar="FILE", help="File of findings that are accepted."
        ),
    ] = None,
    write_baseline: Annotated[
        Path | None,
        typer.Option(
            "--write-baseline", rich_help_panel=ACCEPTED, metavar="FILE", help="Accept what is found now, in this file."
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", rich_help_panel=ACCEPTED, help="With --write-baseline: why the findings are accepted."
        ),
    ] = DEFAULT_REASON,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            rich_help_panel=ACCEPTED,
            formats=["%Y-%m-%d"],
            help="With --write-baseline: the last day that it holds.",
        ),
    ] = None,
) -> None:
    """Say what stands in the way of a migration, and what to do about it. Changes nothing, on either side."""
    if rules:
        _show_rules(output)
        return
    from migratekit_core.adapters.vsphere import inventory
    from migratekit_core.services.assessment import baseline as baselines
    from migratekit_core.services.assessment.assessment import assess as run_rules
    from migratekit_core.services.assessment.collect import collect
    from migratekit_core.services.assessment.rule import Severity
    from migratekit_core.services.assessment.sizing import BY_FOLDER, BY_TAG, check_waves, parse_bandwidth, size

    if write_baseline is None and (expires or reason != DEFAULT_REASON):
        raise typer.BadParameter("they belong to --write-baseline", param_hint="--reason, --expires")
    check_waves(waves or BY_FOLDER)
    rate = parse_bandwidth(bandwidth) if bandwidth is not None else None
    accepted = baselines.read(baseline) if baseline is not None else None
    site = collect(
        configuration(context),
        vms or [],
        everything=everything or (permissions and not vms),
        with_target=target,
        offline=offline,
        measure=measure,
        with_tags=(waves or "").startswith(BY_TAG),
        note=plain.err,
    )
    if permissions:
        _show_permissions(site, output)
        return
    changed = None
    if history:
        site, changed = _recorded(context, site)
    found, sizing = run_rules(site), size(site.chosen, rate, site.write_rates, changed, waves or BY_FOLDER)
    if accepted is not None:
        applied = baselines.apply(found, accepted, date.today())
        found = applied.assessment
        for entry in applied.expired:
            _note(f"baseline: {entry.rule} on {entry.vm or 'the site'} expired on {entry.expires}")
    if write_baseline is not None:
        earlier = baselines.read(write_baseline) if write_baseline.exists() else accepted
        last_day = expires.date() if expires else None
        total = baselines.write(write_baseline, (*found.findings, *found.accepted), reason, last_day, earlier)
        _note(f"baseline: {write_baseline} accepts {total} findings")
    if report is not None:
        _write_report(report, found, sizing)
    if everything and (left := inventory.who_is_left_out(site.machines)):
        _note(f"left out: {left}")
    _show(found, sizing, output, Severity(fail_on.value), waves is not None)
    if write_baseline is None and found.fails(Severity(fail_on.value)):
        raise typer.Exit(FOUND_EXIT_CODE)


def _note(line: str) -> None:
    plain.err(line)


def _recorded(context: typer.Context, site: Site) -> tuple[Site, Mapping[str, float]]:
    """Return the site with the stored mapping of networks, and rates of change by earlier syncs."""
    from dataclasses import replace

    from migratekit_core.services.assessment.history import changed_rates
    from migratekit_core.services.networks.store import stored

    with runtime(context) as opened:
        engine = opened.databases.oma
        return replace(site, stored_map=stored(engine)), changed_rates(engine, site.chosen)


def _write_report(path: Path, found: Assessment, sizing: Sizing) -> None:
    from migratekit_cli.reports.assessment import page

    title = "Assessment of the migration"
    pages.write(path, datetime.now(), lambda made, version: page.document(found, sizing, title, made, version))


def _show(found: Assessment, sizing: Sizing, output: Form, fail_on: Severity, waves: bool) -> None:
    import json
    from importlib.metadata import version

    from migratekit_cli.reports.assessment import document, junit, markdown, people, sarif, terminal
    from migratekit_core.services.assessment.assessment import all_rules

    if output is Form.TABLE:
        if sys.stdout.isatty():
            terminal.write(found)
        else:
            people.table(found).write()
        _note(people.summary(found))
        for line in (people.sizes(sizing), *(people.waves(sizing) if waves else ())):
            _note(line)
        for line in people.not_checked(found, MOST_RULES):
            _note(f"not checked: {line}")
    elif output is Form.SARIF:
        log = sarif.document(found, all_rules(), version("migratekit"))
        sys.stdout.write(json.dumps(log, indent=2) + "\n")
    elif output is Form.JUNIT:
        sys.stdout.write(junit.document(found, fail_on))
    elif output is Form.MARKDOWN:
        sys.stdout.write(markdown.document(found))
    else:
        render.result(Output(output.value), "migratekit.assess/1", document.document(found, sizing))


def _show_rules(output: Form) -> None:
    from migratekit_cli.reports.assessment import rulebook
    from migratekit_core.services.assessment.assessment import all_rules

    if output is Form.MARKDOWN:
        sys.stdout.write(rulebook.page(all_rules()))
        return
    if output.value not in list(Output):
        raise typer.BadParameter("the rules can be had as table, json, yaml or markdown", param_hint="--output")
    render.result(
        Output(output.value), "migratekit.rules/1", rulebook.document(all_rules()), rulebook.table(all_rules())
    )


def _show_permissions(site: Site, output: Form) -> None:
    """Show what each command lacks; end with exit 3 where one lacks something."""
    from dataclasses import asdict

    from migratekit_cli.reports.assessment import people
    from migratekit_core.services.assessment.access import by_command

    if output.value not in list(Output):
        raise typer.BadParameter("permissions can be had as table, json or yaml", param_hint="--output")
    found = by_command(site)
    data = {"commands": [asdict(each) for each in found]}
    render.result(Output(output.value), "migratekit.permissions/1", data, people.permissions(found))
    if any(each.vsphere or each.cloudstack for each in found):
        raise typer.Exit(FOUND_EXIT_CODE)
