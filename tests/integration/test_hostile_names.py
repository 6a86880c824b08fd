"""A machine and volumes of hostile names, in the lab: every command that shows them, and a sync."""

from __future__ import annotations

import csv
import io

from tests.hostile.names import COPY, NAMES, OF_VSPHERE, harmful
from tests.integration.machines import HOSTILE
from tests.integration.support import run
from tests.lab.lab import Lab


def test_commands_over_hostile_names(lab: Lab) -> None:
    moref = lab.vcenter.vm(HOSTILE)["id"]
    lab.vcenter.properties("VirtualMachine", moref, {"name": OF_VSPHERE})
    made = [lab.cloud.volumes(1, name, {"migratekit": name, "migratekit-vm": name}) for name in (COPY, *NAMES[:4])]
    try:
        synced = run(lab, "replicate", moref)
        assert synced.returncode == 0, synced.stderr
        commands = [
            "discover", "discover -o csv", "assess --all", f"networks {moref}", f"verify {moref}",
            f"test-failover {moref} --dry-run", "volumes list", f"volumes show {made[0][0]}", "volumes operations",
            f"volumes delete {made[0][0]} --dry-run", "jobs list", "jobs tail",
        ]  # fmt: skip
        outputs = [synced, run(lab, "replicate", OF_VSPHERE, "--dry-run")]
        outputs += [run(lab, *command.split()) for command in commands]
        for done in outputs:
            assert harmful((done.stdout + done.stderr).replace("\r\n", "\n")) == [], done.args
            assert "unexpectedly" not in done.stderr, done.args
        shown = dict(zip(commands, outputs[2:], strict=True))
        assert "[/]web[prod]-01 {0}" in shown["jobs list"].stdout
        rows = list(csv.reader(io.StringIO(shown["discover -o csv"].stdout)))
        assert [cell for row in rows for cell in row if cell.startswith(("=", "@"))] == []
    finally:
        lab.vcenter.properties("VirtualMachine", moref, {"name": HOSTILE})
        for volumes in made:
            lab.cloud.api().deleteVolume(id=volumes[0])
