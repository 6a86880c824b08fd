"""The switches of the double: the global settings of a cloud, and how its storage and its jobs behave.

Each is an option of `python -m tests.lab.cloudstack` (`default_page_size` is `--default-page-size`) and can be changed
while it runs: `POST /lab/settings` with `{"default_page_size": 20}`; `DELETE /lab/settings` puts back what it was
started with. The README says where each rule is known from.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any


def _switch(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class Config:
    """What an operator of the cloud has set. `state` is where the double keeps its files and never changes."""

    state: Path
    version: str = _switch("4.22.0.0", "of the cloud: commands and parameters that are newer are not there")
    volumeid: bool = _switch(True, "deploy from volumes and snapshots; without it the cloud is a 4.20 one")
    attach_delay: float = _switch(0.0, "seconds by which Linux sees a disk later than CloudStack")
    job_seconds: float = _switch(0.1, "seconds that a job takes")
    snapshot_seconds_per_gib: float = _switch(0.0, "seconds that a snapshot takes beside, for each GiB of its volume")
    job_cancel_minutes: float = _switch(60.0, "job.cancel.threshold.minutes: what holds a machine longer is given up")
    managed_storage: bool = _switch(
        False, "the primary storage is managed: nothing on it becomes or stops being a root"
    )
    attach_migrates: bool = _switch(False, "stopped machines are of another cluster: what is attached to one is copied")
    kvm_snapshot: bool = _switch(
        True, "kvm.snapshot.enabled: snapshots of volumes of running machines; of an older cloud off if not said"
    )
    pool_scope: str = _switch("ZONE", "scope of the primary storage", ("ZONE", "CLUSTER"))
    max_data_volumes: int = _switch(32, "data disks that a machine takes (hypervisor_capabilities of KVM)")
    uefi_slots: int = _switch(2, "disks that a running UEFI machine takes until its next start")
    oma_uefi: bool = _switch(False, "the OMA is a UEFI machine")
    interrupted_seconds: float = _switch(2.0, "until a machine whose first start a restart interrupted is in Error")
    default_page_size: int = _switch(500, "default.page.size: the longest page, and where a list without pages is cut")
    allow_user_expunge: bool = _switch(True, "allow.user.expunge.recover.vm: users may expunge (with the role's rule)")
    allow_user_view_destroyed: bool = _switch(False, "allow.user.view.destroyed.vm: users see destroyed machines")
    expunge_delay: float = _switch(86400.0, "expunge.delay: seconds after which a destroyed machine is expunged")
    throttle_calls: int = _switch(0, "api.throttling.max: calls of an account in `throttle_seconds`; 0 switches it off")
    custom_disk_min: int = _switch(1, "custom.diskoffering.size.min, in GiB")
    custom_disk_max: int = _switch(1024, "custom.diskoffering.size.max, in GiB")
    max_volume_size: int = _switch(2000, "storage.max.volume.size, in GiB")
    throttle_seconds: float = _switch(15.0, "api.throttling.interval, in seconds")

    @property
    def cloud_version(self) -> str:
        """Return the version that the cloud says it is."""
        return self.version if self.volumeid else OLDER


OLDER = "4.20.1.0"
"""A cloud that deploys from templates only."""
SWITCHES = {one.name: one for one in fields(Config) if one.name != "state"}


def change(config: Config, wanted: dict[str, Any]) -> Config:
    """Return the settings with some changed. Raises ValueError for a name or a type that is not theirs."""
    for name, value in wanted.items():
        if name not in SWITCHES:
            raise ValueError(f"{name} is no setting; there are {', '.join(SWITCHES)}")
        kind = type(SWITCHES[name].default)
        right = isinstance(value, int | float) and not isinstance(value, bool) if kind is float else type(value) is kind
        if not right:
            raise ValueError(f"{name} is a {kind.__name__}, not {value!r}")
        choices = SWITCHES[name].metadata["choices"]
        if choices and value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")
    return replace(config, **wanted)


def shown(config: Config) -> dict[str, Any]:
    """Return the settings as something JSON can hold."""
    return dataclasses.asdict(config) | {"state": str(config.state)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give each setting its option: `--name VALUE`, and `--name` or `--no-name` for one that is on or off."""
    for name, switch in SWITCHES.items():
        option, kind, text = f"--{name.replace('_', '-')}", type(switch.default), switch.metadata["help"]
        if kind is bool:
            default = None if name == "kvm_snapshot" else switch.default
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=text)
        else:
            choices = switch.metadata["choices"] or None
            parser.add_argument(option, type=kind, default=switch.default, choices=choices, help=text)


def from_options(state: Path, options: argparse.Namespace) -> Config:
    """Return the settings that the options ask for."""
    wanted = {name: getattr(options, name) for name in SWITCHES}
    if options.kvm_snapshot is None:
        older = not options.volumeid or options.version.startswith(("4.18", "4.19", "4.20"))
        wanted["kvm_snapshot"] = not older
    return Config(state=state, **wanted)
