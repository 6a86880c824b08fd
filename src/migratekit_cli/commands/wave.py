"""migratekit wave: plan waves of machines, run them, and steer them while they go on"""

from __future__ import annotations

import typer

from migratekit_cli.commands import (
    wave_cancel,
    wave_cutover,
    wave_list,
    wave_pause,
    wave_plan,
    wave_report,
    wave_resume,
    wave_retry,
    wave_run,
    wave_show,
    wave_status,
)

app = typer.Typer(help="Plan waves: machines that are moved together; run and steer them.", no_args_is_help=True)
app.command("plan")(wave_plan.plan)
app.command("run")(wave_run.run)
app.command("cutover")(wave_cutover.cutover)
app.command("list")(wave_list.list_waves)
app.command("show")(wave_show.show)
app.command("status")(wave_status.status)
app.command("pause")(wave_pause.pause)
app.command("resume")(wave_resume.resume)
app.command("cancel")(wave_cancel.cancel)
app.command("retry")(wave_retry.retry)
app.command("report")(wave_report.report)
