"""The cloud as it is when the lab starts: templates with a little content, and the OMA running in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import catalogue, devices, files, storage, violations
from .model import GIB, Account, Nic, Project, Vm, Volume, now
from .settings import Config
from .state import Cloud


def build(config: Config, accounts: Mapping[str, Account], projects: Mapping[str, Project]) -> Cloud:
    for name in ("volumes", "snapshots", "templates", "vms", "consoles"):
        shutil.rmtree(config.state / name, ignore_errors=True)  # a lab begins anew: nothing refers to old files
        (config.state / name).mkdir(parents=True)
    (config.state / violations.FILE).unlink(missing_ok=True)
    cloud = Cloud(config, accounts, dict(projects))
    for template in catalogue.TEMPLATES:
        _template_file(files.template_path(config.state, template["id"]), template["name"])
    _oma(cloud, next(iter(accounts.values())).name)
    if config.oma_uefi:
        oma = cloud.vms[catalogue.OMA_VM]
        cloud.vms[oma.id] = replace(oma, details={"UEFI": "LEGACY"})
    return cloud


def _template_file(path: Path, name: str) -> None:
    """One recognisable block at the start and one at the end; a hole between them."""
    mark = f"migratekit lab template {name}\n".encode().ljust(4096, b"\0")
    with path.open("wb") as file:
        file.write(mark)
        file.seek(GIB - len(mark))
        file.write(mark)


def _oma(cloud: Cloud, account: str) -> None:
    template = catalogue.TEMPLATES[1]
    network = catalogue.NETWORKS[0]["id"]
    nic = Nic(catalogue.stable_id("nic", "oma01"), network, "1e:00:4c:00:00:01", "10.1.1.5", True, 0)
    cloud.vms[catalogue.OMA_VM] = Vm(
        id=catalogue.OMA_VM, name="oma01", displayname="oma01", account=account, zoneid=catalogue.ZONE,
        state="Running", serviceofferingid=catalogue.SERVICE_OFFERINGS[1]["id"], templateid=template["id"],
        ostypeid=template["ostypeid"], created=now(), nics=(nic,), cpunumber=2, cpuspeed=1000, memory=4096,
        instancename=f"i-2-{cloud.next_number()}-VM", hostid=catalogue.HOST,
    )  # fmt: skip
    root = catalogue.stable_id("volume", "oma01-root")
    cloud.volumes[root] = Volume(
        id=root, name="ROOT-1", account=account, zoneid=catalogue.ZONE, size=GIB, type="ROOT", state="Allocated",
        created=now(), virtualmachineid=catalogue.OMA_VM, deviceid=0, attached=now(), templateid=template["id"],
    )  # fmt: skip
    storage.materialise(cloud, root)
    devices.power_on(cloud, catalogue.OMA_VM)
