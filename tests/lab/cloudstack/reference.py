"""The API reference of the lab's commands: what each takes. listApis answers from it and the dispatcher checks by it.

A parameter line is `name[!] type[:entity] description`; the exclamation mark says required.
"""

from __future__ import annotations

from dataclasses import dataclass

from .reference_text import ADMIN_ONLY, COMMANDS, PAGING


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    required: bool
    description: str
    entity: str | None = None
    since: str | None = None


@dataclass(frozen=True)
class Command:
    name: str
    kind: str  # list, sync, async or create (asynchronous, and answers the new id at once)
    description: str
    java_class: str
    parameters: tuple[Parameter, ...]
    admin_only: bool = False

    @property
    def response_name(self) -> str:
        return f"{self.name.lower()}response"

    @property
    def is_async(self) -> bool:
        return self.kind in ("async", "create")


def _parameter(line: str) -> Parameter:
    name, kind, description = line.split(maxsplit=2)
    base, _, entity = kind.partition(":")
    since = None
    if description.endswith(")") and " (since " in description:
        description, _, version = description[:-1].rpartition(" (since ")
        since = version
    return Parameter(name.rstrip("!"), base, name.endswith("!"), description, entity or None, since)


def _command(block: str) -> Command:
    head, *lines = [line.strip() for line in block.strip().splitlines()]
    name, kind, java_class, description = head.split(maxsplit=3)
    lines += PAGING.strip().splitlines() if kind == "list" else []
    parameters = tuple(_parameter(line.strip()) for line in lines)
    java = f"org.apache.cloudstack.api.command.{java_class}"
    return Command(name, kind, description, java, parameters, name in ADMIN_ONLY)


def commands(with_volumeid: bool) -> dict[str, Command]:
    """A cloud before 4.21 has neither volumeid nor snapshotid in deployVirtualMachine, and needs the template."""
    table = {command.name: command for command in map(_command, COMMANDS.strip().split("\n\n"))}
    if not with_volumeid:
        deploy = table["deployVirtualMachine"]
        kept = [
            Parameter(p.name, p.type, p.name == "templateid" or p.required, p.description, p.entity, p.since)
            for p in deploy.parameters
            if p.name not in ("volumeid", "snapshotid")
        ]
        table[deploy.name] = Command(deploy.name, deploy.kind, deploy.description, deploy.java_class, tuple(kept))
    return table
