"""The commands that the documents show, run in the lab; those that are only parsed are listed with the reason.

What was run and what was not is written to .bench/docs-commands.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs.shell import ROOT, Shown, commands, pages, path_of
from tests.integration.support import leaked, report, run, setting, sql
from tests.lab.lab import Lab

VM = "docs01"
"""A machine of this module alone; at the end it is failed over."""
RESULT = ROOT / ".bench" / "docs-commands.json"

STAGES: dict[tuple[str, ...], tuple[int, set[int]]] = {
    ("config", "show"): (0, {0}),
    ("config", "validate"): (0, {0}),
    ("config", "init"): (0, {0}),
    ("tunnel", "up"): (0, {0}),
    ("tunnel", "status"): (1, {0}),
    ("tunnel", "pki", "init"): (0, {0}),
    ("tunnel", "server", "render"): (0, {0}),
    ("db", "check"): (1, {0}),
    ("db", "upgrade"): (1, {0}),
    ("doctor",): (1, {0, 4}),
    ("discover",): (1, {0}),
    ("assess",): (1, {0, 3}),
    ("volumes", "daemon", "unit"): (1, {0}),
    ("replicate",): (2, {0}),
    ("verify",): (3, {0}),
    ("volumes", "list"): (4, {0}),
    ("volumes", "operations"): (4, {0}),
    ("jobs", "list"): (4, {0}),
    ("jobs", "show"): (4, {0}),
    ("jobs", "watch"): (4, {0}),
    ("jobs", "tail"): (4, {0}),
    ("jobs", "export"): (4, {0}),
    ("jobs", "prune"): (4, {0}),
    ("test-failover",): (5, {0}),
    ("cleanup",): (6, {0}),
    ("failover",): (7, {0}),
    ("report",): (8, {0}),
    ("wave", "plan"): (1, {0}),
    ("wave", "list"): (1, {0}),
}
"""What is run, in which order, and how it may end; of a command that is not here it is only known that it exists."""
NOT_RUN = {
    r"^wave (status|show|pause|resume|cancel|retry|report) ": "needs a wave that is stored; test_waves runs it",
    r"^wave (run|cutover)|^fleet ": "needs a wave, or a fleet; test_fleet runs it",
    r"^wave plan.*(inventory|rules|-$|- )": "needs files of the reader's; test_wave_cli runs it",
    r"--vcenter dc2|--oma east": "needs further vCenters and OMAs; test_waves runs it",
    r"^volumes daemon run": "runs until it is stopped; every test of the lab has one",
    r"^volumes daemon token rotate": "the lab's other tests use the token; test_daemon_service runs it",
    r"--all-due": "needs a schedule; test_replicate_due runs it",
    r"^jobs cancel": "needs a job that runs; test_jobs_cli runs it",
    r"^jobs prune --yes": "needs joblog.keep; test_jobs_cli runs it with --older-than",
    r"--otel": "needs a collector; test_traces runs it",
    r"^jobs set": "needs a job that copies; test_bandwidth runs it",
    r"^replicate twin": "an example of an error; test_bad_input runs it",
    r"--offline|--write-baseline|--baseline": "test_ci_examples runs it",
    r"--measure-changes|--tags": "the lab's vCenter has neither statistics nor tags for this machine",
    r"^config init --role \w+( --generate)? /": "asks on a terminal; test_config_commands runs it so",
    r"--record ": "writes into a file of the reader's; test_record runs it",
    r"--profile": "needs a profile of the reader's; test_config_layers has them",
}
TRANSCRIPTS = {"docs/exit-codes.md": "the lab would have to be broken as its comment says; test_bad_input does"}


def typed(shown: Shown, folder: Path, job: str) -> list[str]:
    """Return a command as it is run here: on this module's machine, its files in a folder of the test."""
    words = list(shown.words)
    if words[0] == "--config":
        words = words[2:]
    swaps = {
        "VM": VM,
        "web01": VM,
        "db01": VM,
        "JOB": job,
        "2a5485e0": job,
        "/root/migratekit-pki": str(folder / "pki"),
    }
    words = [swaps.get(word, word) for word in words]
    if words[:2] == ["config", "init"]:
        words.append(str(folder / "config.toml"))
    if words[0] == "failover" and "--dry-run" not in words and "--yes" not in words:
        words.append("--yes")
    return words


def when(item: tuple[tuple[str, ...], Shown]) -> tuple[int, bool]:
    """Return when a command is run: by its stage, and plans before what they plan."""
    words, shown = item
    return STAGES.get(path_of(shown), (0, set()))[0], "--dry-run" not in words


def reason(shown: Shown, words: list[str]) -> str:
    """Return why a command is not run; "" where it is."""
    if shown.page in TRANSCRIPTS:
        return TRANSCRIPTS[shown.page]
    text = " ".join(words)
    known = next((why for pattern, why in NOT_RUN.items() if re.search(pattern, text)), "")
    if known:
        return known
    return "" if path_of(shown) in STAGES or text == "--version" else "not among those that this test knows how to run"


@pytest.mark.timeout(1200)
def test_the_commands_of_the_documents_work(lab: Lab, tmp_path: Path) -> None:
    assert run(lab, "replicate", VM).returncode == 0
    job = report(lab, "jobs", "list", "--limit", "1")["jobs"][0]["id"][:12]
    parsed: dict[str, str] = {}
    wanted: dict[tuple[str, ...], Shown] = {}
    for shown in (shown for page in pages() for shown in commands(page) if shown.whole):
        words = typed(shown, tmp_path, job)
        if why := reason(shown, words):
            parsed[shown.text] = why
        else:
            wanted.setdefault(tuple(words), shown)
    done = {}
    for words, shown in sorted(wanted.items(), key=when):
        if words[0] == "failover" and "--dry-run" not in words and "failover" in done:
            continue  # it is failed over already, by the same command in another page
        ended = lab.migratekit(*words, env=setting(lab), cwd=tmp_path)
        allowed = STAGES.get(path_of(shown), (0, {0}))[1]
        assert ended.returncode in allowed, f"{shown.page}:{shown.line}: {shown.text}\n{ended.stdout}\n{ended.stderr}"
        assert leaked(lab, ended.stdout + ended.stderr) == []
        done[shown.text if words[0] != "failover" or "--dry-run" in words else "failover"] = ended.returncode
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"run": sorted(done), "only_parsed": parsed}, indent=2) + "\n")
    assert len(done) >= 35
    assert sql(lab, "SELECT id FROM failover_jobs WHERE status = 'running'") == []
