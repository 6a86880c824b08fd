"""The configuration of one machine of a wave: of its vCenter, its OMA, its networks and its target."""

from __future__ import annotations

from typing import Any

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, UsageError
from migratekit_core.config.profiles import chosen
from migratekit_core.config.schema import Config
from migratekit_core.services.waves.model import Machine, Wave


def config_for(config: Config, wave: Wave, machine: Machine) -> Config:
    """Return a complete configuration for one machine, made of the whole one.

    Raises UsageError for a vCenter or an OMA that the configuration does not name, and where it has no [ossea] for the
    target.
    """
    found = chosen(config, machine.vcenter, machine.oma)
    changed: dict[str, Any] = {}
    target = {"zone": machine.target.zone, "service_offering": machine.target.service_offering,
              "disk_offering": machine.target.disk_offering}  # fmt: skip
    given = {key: value for key, value in target.items() if value is not None}
    if given:
        if found.ossea is None:
            raise UsageError(
                f"{machine.name} has a target, but the configuration has no [ossea] table",
                f"the wave gives its {', '.join(given)}",
                "write [ossea], or leave the target out of the wave",
                code=ErrorCode.CONFIG_MISSING,
                facts={"setting": "ossea", "vm": machine.name},
            )
        changed["ossea"] = found.ossea.model_copy(update=given)
    if machine.networks:
        mapped = wave.networks[machine.networks]
        names: dict[str, Any] = {"map": {**found.networks.map, **mapped.map}}
        if mapped.test is not None:
            # One network for all its cards: entries of the configuration would go before it.
            names |= {"test": mapped.test, "test_map": {}}
        changed["networks"] = found.networks.model_copy(update=names)
    return found.model_copy(update=changed) if changed else found


def check(config: Config, wave: Wave) -> None:
    """Raise UsageError, naming all of them, where machines name vCenters or OMAs that the configuration has not."""
    problems: list[MigrateKitError] = []
    for machine in wave.machines:
        try:
            config_for(config, wave, machine)
        except MigrateKitError as error:
            if error.facts not in [known.facts for known in problems]:
                problems.append(error)
    if problems:
        raise UsageError(
            f"wave {wave.name} does not fit the configuration",
            "; ".join(error.what for error in problems),
            problems[0].todo,
            code=ErrorCode.WAVE_INVALID,
            facts={"wave": wave.name, "setting": problems[0].facts.get("setting"), "problems": len(problems)},
        )
