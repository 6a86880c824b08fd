"""Secrets and files that the configuration names: there, readable, and readable by nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from migratekit_core.common.errors import AuthError, MigrateKitError, UsageError
from migratekit_core.common.hints import hint, program
from migratekit_core.config import names
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import Answer, Status, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.services.doctor.way import runtime_folder


@check("settings.configured", "configuration", lambda config: not _has_a_part(config))
def configured(site: Site) -> Iterator[Answer]:
    """Say that this host has no part in any migration: all other lines could be ok, and mean nothing."""
    yield failed(
        "configuration",
        "neither a source ([vcenter]), nor a target ([ossea]), nor an OMA's part ([daemon], [tunnel.server]) is set",
        hint(
            "write one: ",
            program("migratekit", "config", "init"),
            "; or name yours: ",
            program("migratekit", "--config", "FILE", "doctor"),
        ),
        UsageError.exit_code,
    )


def _has_a_part(config: Config) -> bool:
    return bool(config.vcenter or config.vcenters or config.ossea or config.daemon or config.tunnel.server)


@check("settings.secrets", "secrets")
def secrets(site: Site) -> Iterator[Answer]:
    """Read every secret once, and forget it."""
    read = []
    for name, source in names.secrets(site.config):
        try:
            source.read(name)
        except MigrateKitError as error:
            yield Answer(name, Status.FAILED, error.why or error.what, error.todo, error.exit_code)
        else:
            read.append(name)
    if read:
        yield ok("secrets", f"{', '.join(read)} can be read")


@check("settings.private", "private files", lambda config: bool(_private(config)))
def private(site: Site) -> Iterator[Answer]:
    """Look at who else may read what holds a key."""
    for name, path in _private(site.config).items():
        if not path.exists():
            yield failed(name, f"{path} does not exist", "put it there, or correct the setting")
            continue
        if not os.access(path, os.R_OK):
            yield failed(name, f"{path} cannot be read by this user", f"as root: chown {os.geteuid()} {path}", 5)
            continue
        open_to = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if open_to:
            yield failed(name, f"{path} can be read by others", f"run: chmod 600 {path}", AuthError.exit_code)
        else:
            yield ok(name, f"{path} is private")


def _private(config: Config) -> dict[str, Path]:
    found = {"tunnel.cert_file": config.tunnel.cert_file, "daemon.token_file": None}
    if config.daemon is not None:
        found["daemon.token_file"] = config.daemon.token_file
    return {name: path for name, path in found.items() if path is not None}


@check("settings.folders", "folders", lambda config: bool(folders(config)))
def writable(site: Site) -> Iterator[Answer]:
    """Look whether what has to be written can be."""
    for name, path in folders(site.config).items():
        held = next((parent for parent in (path, *path.parents) if parent.exists()), path)
        if not os.access(held, os.W_OK | os.X_OK):
            yield failed(name, f"{held} cannot be written by this user", f"choose another {name}, or change its owner")
        elif path.exists() and path.stat().st_mode & stat.S_IWOTH and not path.stat().st_mode & stat.S_ISVTX:
            yield warning(name, f"everybody may write to {path}", f"run: chmod o-w {path}")
        else:
            yield ok(name, f"{path} can be written" + ("" if path.exists() else " (will be made)"))


def folders(config: Config) -> dict[str, Path]:
    """Return the folders that this host writes to, by the setting that names each."""
    from migratekit_core.config.folders import sqlite_dir

    found: dict[str, Path] = {}
    if config.database.kind == "sqlite":
        found["database.directory"] = sqlite_dir(config.database)
    if config.daemon is not None:
        found["daemon.state_dir"] = config.daemon.state_dir
    sockets = runtime_folder(config)
    if sockets is not None:
        found["tunnel.runtime_dir"] = sockets
    return found
