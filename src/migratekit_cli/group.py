"""A group of commands: a folder, with a file for each command, which is imported when the command is asked for."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


class Commands(UserDict[str, Any]):
    """The commands of a package by their names, in their order."""

    def __init__(self, package: str, names: Sequence[str]) -> None:
        super().__init__(dict.fromkeys(names))
        self._package = package

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = _load(f"{self._package}.{name.replace('-', '_')}", name)
        return self.data[name]


def group(package: str, text: str, *names: str) -> typer.Typer:
    """Return a group of the commands with these names, in this order. `text` is its help.

    `package` is the `__name__` of the folder. `jobs-tail` is the function `command` of its module `jobs_tail`, or the
    group `app` of its package `jobs_tail`.
    """
    return typer.Typer(
        name=package.rpartition(".")[2], help=text, no_args_is_help=True, cls=group_class(package, names)
    )


def group_class(package: str, names: Sequence[str]) -> type[TyperGroup]:
    """Return the class of a group that has these commands."""

    class Group(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = Commands(package, names)

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.commands)

    return Group


def _load(module: str, name: str) -> Any:
    found = import_module(module)
    if hasattr(found, "app"):
        return typer.main.get_group(found.app)
    single = typer.Typer(add_completion=False)
    single.command(name)(found.command)
    return typer.main.get_command(single)
