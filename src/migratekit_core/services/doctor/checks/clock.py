"""This host's clock, against those of vCenter and the OMA: certificates, tokens and the joblog all go by it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migratekit_core.common import programs
from migratekit_core.db.engine import database_error
from migratekit_core.services.doctor.model import Answer, SkippedError, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

NOTABLE, TOO_MUCH = 5.0, 300.0
"""Seconds. vCenter refuses logins by tokens beyond five minutes, and certificates are backdated by as much."""
TODO = "have both hosts ask an NTP server: apt-get install systemd-timesyncd; timedatectl set-ntp true"


@check("clock.ntp", "clock", lambda config: Path("/run/systemd/system").is_dir())
def ntp(site: Site) -> Iterator[Answer]:
    """Ask systemd whether something keeps the clock right."""
    if shutil.which("timedatectl") is None:
        raise SkippedError("not looked at: timedatectl is not installed")
    said = (programs.printed("timedatectl", "show", "--property=NTPSynchronized", "--value") or "").strip()
    if said == "yes":
        yield ok("clock", "kept right by NTP")
    elif said == "no":
        yield warning("clock", "nothing keeps it right", TODO)
    else:
        raise SkippedError("not looked at: timedatectl does not answer")


@check("clock.vcenter", "clock of vCenter", lambda config: config.vcenter is not None)
def vcenter(site: Site) -> Iterator[Answer]:
    """Compare with vCenter's clock."""
    found = site.needs(site.vcenter)
    yield judged("clock of vCenter", found.ahead, found.uncertainty)


@check("clock.oma", "clock of the OMA", lambda config: config.database.kind == "mariadb")
def oma(site: Site) -> Iterator[Answer]:
    """Compare with the clock of the OMA, which its database tells."""
    engine = site.needs(site.databases).oma
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))  # connected, and awake
            before = time.time()
            theirs: datetime = connection.execute(text("SELECT UTC_TIMESTAMP(6)")).scalar_one()
            after = time.time()
    except DBAPIError as error:
        raise database_error(error, engine) from None
    ahead = theirs.replace(tzinfo=UTC).timestamp() - (before + after) / 2
    yield judged("clock of the OMA", ahead, (after - before) / 2)


def judged(what: str, ahead: float, uncertainty: float) -> Answer:
    """Return what to say of a clock that is `ahead` of this host's by so many seconds."""
    off = max(0.0, abs(ahead) - uncertainty)
    found = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    if off > TOO_MUCH:
        return failed(what, found, TODO)
    if off > NOTABLE:
        return warning(what, found, TODO)
    return ok(what, found)
