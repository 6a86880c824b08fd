"""Checks what a client sent against the reference, before the command itself looks at it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from .access import ALL_PROJECTS
from .errors import ApiError, bad_parameter, bad_value
from .reference import Command, Parameter
from .state import Cloud, knows


def check(cloud: Cloud, command: Command, sent: Mapping[str, str]) -> dict[str, str]:
    """The parameters with lowercase names. Ones the command does not know are ignored, as the real server does."""
    params = {_lower(name): value for name, value in sent.items()}
    for parameter in command.parameters:
        value = params.get(parameter.name)
        if parameter.type == "map":
            if parameter.required and not any(name.startswith(f"{parameter.name}[") for name in params):
                raise _missing(command, parameter)
        elif value is None:
            if parameter.required:
                raise _missing(command, parameter)
        elif value:
            _check_value(cloud, command, parameter, value)
    return _known(command, params)


def _lower(name: str) -> str:
    """`Details[0].cpuNumber` is `details[0].cpuNumber`: what comes after the index is data."""
    base, bracket, rest = name.partition("[")
    return base.lower() + bracket + rest


def _missing(command: Command, parameter: Parameter) -> ApiError:
    what = f"due to missing parameter {parameter.name}"
    return bad_parameter(f"Unable to execute API command {command.name.lower()} {what}")


def _known(command: Command, params: dict[str, str]) -> dict[str, str]:
    names = {parameter.name for parameter in command.parameters}
    return {name: value for name, value in params.items() if name.partition("[")[0] in names}


def _check_value(cloud: Cloud, command: Command, parameter: Parameter, value: str) -> None:
    if command.is_list and parameter.name == "projectid" and value == ALL_PROJECTS:
        return
    wrong = bad_value(command.name, parameter.name, value)
    if parameter.type in ("integer", "long"):
        with contextlib.suppress(ValueError):
            int(value)
            return
        raise wrong
    if parameter.entity:
        ids = value.split(",") if parameter.type == "list" else [value]
        if not all(knows(cloud, parameter.entity, one.strip()) for one in ids if one.strip()):
            raise wrong
