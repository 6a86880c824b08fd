"""Which recordings are asked of the double, and which are not and why."""

from __future__ import annotations

from pathlib import Path

from migratekit_core.assess.commands import CLOUDSTACK, HELPFUL, OPTIONAL

NAMED = (
    "listTags", "deleteTags", "listVMSnapshot", "listUsers", "listProjects", "expungeVirtualMachine",
    "listCapabilities", "listApis", "queryAsyncJobResult", "updateVirtualMachine", "createTags",
)  # fmt: skip
"""Commands beside those of the product's table: what its switches, tags and tenants need."""

COMMANDS = frozenset({*(api for apis in CLOUDSTACK.values() for api in apis), *HELPFUL, *OPTIONAL, *NAMED})

NEVER_RECORDED = frozenset({"listApis"})
"""Commands that MigrateKit uses and that no recording asks: the answer would fill the file."""

LEFT_OUT: dict[str, str] = {}
"""Recordings of commands in scope that the double is not asked, by reason."""

NOT_YET = frozenset((Path(__file__).parent / "not_yet.txt").read_text().split())
"""Recordings that the double still answers in another way, one per line of not_yet.txt."""

MAY_BE_ABSENT: dict[str, str] = {}
"""Fields that depend on the surroundings of the recorded server, by reason: the double may lack or have them."""
