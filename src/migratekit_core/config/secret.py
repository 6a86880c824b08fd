"""Secrets are never values of the configuration: it says where each one is, and this module reads it when needed."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, UsageError
from migratekit_core.common.redact import child_environment, hide_variable, remember

COMMAND_TIMEOUT = 30
"""Seconds a password command (pass, vault …) may take; more means that it waits for somebody who is not there."""


class SecretSource(BaseModel):
    """Where a secret is: exactly one of a file, an environment variable, a command's output, or the keyring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = None
    env: Annotated[str, StringConstraints(min_length=1)] | None = None
    command: list[str] | None = Field(default=None, min_length=1)
    keyring: str | None = Field(default=None, pattern=r"^[^/]+/.+$", description="service/user")

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretSource:
        given = [name for name in ("file", "env", "command", "keyring") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a secret has exactly one of: file, env, command, keyring")
        if self.env is not None:
            hide_variable(self.env)
        return self

    def read(self, purpose: str) -> str:
        """Return the secret, which the joblog will mask from now on; `purpose` names it in errors (`vcenter.password`).

        Raises UsageError where the source does not exist, AuthError where others may read the file.
        """
        return remember(self._read(purpose))

    def _read(self, purpose: str) -> str:
        if self.file is not None:
            return _from_file(self.file, purpose)
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise UsageError(
                    f"{purpose} is not set",
                    f"environment variable {self.env} is empty",
                    f"set it: export {self.env}=…",
                    code=ErrorCode.SECRET_UNREADABLE,
                    facts={"setting": purpose, "variable": self.env},
                )
            return value
        if self.command is not None:
            return _from_command(self.command, purpose)
        return _from_keyring(str(self.keyring), purpose)


def _from_file(path: Path, purpose: str) -> str:
    path = path.expanduser()
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Not what could not be decoded: that is the secret.
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(
            f"{purpose} cannot be read",
            f"{path}: {reason}",
            "create the file with mode 0600",
            code=ErrorCode.SECRET_UNREADABLE,
            facts={"setting": purpose, "path": str(path)},
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AuthError(
            f"{purpose} is not private",
            f"{path} can be read by others",
            f"run: chmod 600 {path}",
            code=ErrorCode.FILE_NOT_PRIVATE,
            facts={"setting": purpose, "path": str(path)},
        )
    value = text.strip("\r\n")
    if not value:
        raise UsageError(
            f"{purpose} is empty",
            f"{path} holds nothing",
            "write the secret into the file",
            code=ErrorCode.SECRET_UNREADABLE,
            facts={"setting": purpose, "path": str(path)},
        )
    return value


def _from_command(command: list[str], purpose: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            check=True,
        )
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        # The command's output may hold the secret: only its name and outcome are told.
        raise UsageError(
            f"{purpose} cannot be read",
            f"command {command[0]!r} {_outcome(error)}",
            "run it by hand",
            code=ErrorCode.SECRET_UNREADABLE,
            facts={"setting": purpose},
        ) from None
    value = done.stdout.strip("\r\n")
    if not value:
        raise UsageError(
            f"{purpose} is empty",
            f"command {command[0]!r} printed nothing",
            "run it by hand",
            code=ErrorCode.SECRET_UNREADABLE,
            facts={"setting": purpose},
        )
    return value


def _outcome(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"ended with exit code {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"did not end within {COMMAND_TIMEOUT} s"
    return "was not found" if isinstance(error, FileNotFoundError) else "could not be started"


def _from_keyring(name: str, purpose: str) -> str:
    try:
        import keyring  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(
            f"{purpose} cannot be read",
            "the keyring library is not installed",
            "run: apt-get install python3-keyring",
            code=ErrorCode.NOT_INSTALLED,
            facts={"setting": purpose},
        ) from None
    service, user = name.split("/", 1)
    value = keyring.get_password(service, user)
    if value is None:
        raise UsageError(
            f"{purpose} is not in the keyring",
            f"no entry {name}",
            f"run: keyring set {service} {user}",
            code=ErrorCode.SECRET_UNREADABLE,
            facts={"setting": purpose},
        )
    return str(value)
