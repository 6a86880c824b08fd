"""What the global options say, and how a command gets its configuration and its runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from migratekit_cli.ui import plain
from migratekit_cli.ui.watch import watching
from migratekit_core.common import hints
from migratekit_core.common.hints import Command, Hint

if TYPE_CHECKING:
    from migratekit_core.config import Config
    from migratekit_core.context import Runtime


@dataclass(frozen=True)
class Globals:
    """The options that stand before the command."""

    config: Path | None
    profile: str | None
    vcenter: str | None = None
    """Name of one of the configuration's [vcenters]."""
    oma: str | None = None
    """Name of one of its [omas]."""

    @property
    def arguments(self) -> list[str]:
        """Return them as a command line has them."""
        return [*self.files, *hints.options({"--vcenter": self.vcenter, "--oma": self.oma})]

    @property
    def names(self) -> list[str]:
        """Return those that choose out of the configuration."""
        return hints.options({"--profile": self.profile, "--vcenter": self.vcenter, "--oma": self.oma})

    @property
    def files(self) -> list[str]:
        """Return those that say what the configuration is, for a process that chooses out of it by itself."""
        return hints.options({"--config": self.config, "--profile": self.profile})


_given = Globals(None, None)


def remember(given: Globals) -> None:
    """Keep the global options for the commands that texts show."""
    global _given
    _given = given


def as_given(*parts: Hint | Command | str) -> str:
    """Return a hint, or the parts of one, as a text whose commands choose the vCenter, OMA and profile of this one.

    `--config` is left out: whoever passes it knows, and it would make every text long.
    """
    return hints.hint(*parts).render(_given.names)


def configuration(context: typer.Context) -> Config:
    """Return the configuration."""
    from migratekit_core.config import load_config

    chosen: Globals = context.obj
    config = load_config(chosen.config, chosen.profile)
    if chosen.vcenter or chosen.oma:
        from migratekit_core.config.profiles import chosen as of_these

        config = of_these(config, chosen.vcenter or "", chosen.oma or "")
    _warn(config)
    return config


def _warn(config: Config) -> None:
    """Say on stderr which of the tunnel's certificates end soon: a line each, once a command."""
    from migratekit_core.adapters.tunnel.expiry import warnings

    for line in warnings(config):
        plain.err(f"warning: {line}")


@contextmanager
def runtime(context: typer.Context, watched: bool = True) -> Iterator[Runtime]:
    """Yield an open runtime. Progress is shown where `watched`; a command that draws something itself has it not."""
    from migratekit_core.context import open_runtime

    config = configuration(context)
    with watching() if watched else nullcontext() as observer, open_runtime(config, observer) as opened:
        yield opened
