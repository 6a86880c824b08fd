"""The databases: reachable, of this version's schema, and with the key that stored secrets are encrypted with."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migratekit_core.adapters.tunnel import kinds
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.units import human_age, human_bytes
from migratekit_core.db.crypto import decrypt, encrypt
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.schema import check_both, mismatch
from migratekit_core.db.size import connections, measure
from migratekit_core.services.doctor.model import Answer, SkippedError, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

OLDEST_MARIADB = (10, 6)
SOON_DAYS = 30
UNPRUNED_SECONDS = 3 * 86400
"""How much older than `joblog.keep` something may be: the timer runs once a day."""
OTHERS, PER_SYNC = 30, 3
"""Connections of the volume daemon and of people, and of one sync: measured, 64 syncs at once had 196."""
NEARLY = 0.9


@check("database.answers", "database")
def answers(site: Site) -> Iterator[Answer]:
    """Log in to both databases."""
    opened = site.databases()
    kind = site.config.database.kind
    with opened.oma.connect() as connection:
        version = str(connection.execute(text("SELECT " + _VERSION[kind])).scalar_one())
    found = f"{kind} {version}, databases {opened.oma.url.database} and {opened.volumes.url.database}"
    number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    if kind == "mariadb" and number < OLDEST_MARIADB:
        yield warning("database", found, "MariaDB 10.6 is the oldest that was thought of, 10.11 was tested: upgrade it")
    else:
        yield ok("database", found)


_VERSION = {"mariadb": "VERSION()", "sqlite": "sqlite_version()"}


@check("database.schema", "database schema")
def schema(site: Site) -> Iterator[Answer]:
    """Compare both databases with the models."""
    differences = check_both(site.needs(site.databases))
    if not differences:
        yield ok("database schema", "that of this version")
        return
    error = mismatch(differences)
    yield failed("database schema", error.why, error.todo, error.exit_code)


@check("database.key", "encryption key", lambda config: config.ossea is not None and config.vcenter is not None)
def key(site: Site) -> Iterator[Answer]:
    """Look whether the key for stored secrets is one, and the one that they were stored with."""
    source = site.config.database.encryption_key
    if source is None:
        todo = "make a key (openssl rand -base64 32 | tr '+/' '-_') and name its file in database.encryption_key"
        yield failed("encryption key", "database.encryption_key is not set; replicate needs it", todo, 2)
        return
    held = source.read("database.encryption_key")
    encrypt("proof", held)
    engine = site.needs(site.databases).oma
    with engine.connect() as connection:
        query = "SELECT api_key FROM ossea_configs WHERE is_active = 1 ORDER BY id DESC LIMIT 1"
        try:
            stored = connection.execute(text(query)).scalar()
        except DBAPIError:
            raise SkippedError("not looked at: the schema is another one") from None
    if stored:
        decrypt(str(stored), held)
    yield ok("encryption key", "opens what is stored" if stored else "is one; nothing is stored yet")


@check("database.size", "database size")
def size(site: Site) -> Iterator[Answer]:
    """Look how large the databases are, how fast they grow, and whether somebody prunes them."""
    tunnel = site.config.tunnel
    local = site.config.database.kind == "sqlite" or kinds.of(tunnel).socket(tunnel, "db") is None
    try:
        found = measure(site.needs(site.databases), local)
    except OperationFailedError:
        raise SkippedError("not looked at: the schema is another one") from None
    told = f"{human_bytes(found.total)}, about {human_bytes(found.per_day)} a day"
    left = found.days_left
    if left is not None and found.free is not None:
        told += f"; the disk has {human_bytes(found.free)} free, for about {left:.0f} days"
    keep = site.config.joblog.keep
    prune = hint("delete what is old every day, as docs/cron.md shows: ", migratekit("jobs", "prune"))
    if left is not None and left < SOON_DAYS and found.free is not None:
        # What is pruned makes room for as much again, so a database in balance does not grow.
        yield warning("database size", told, prune)
    elif found.oldest is not None and (utcnow() - found.oldest).total_seconds() > keep + UNPRUNED_SECONDS:
        days = (utcnow() - found.oldest).days
        yield warning("database size", f"{told}; it goes back {days} days, joblog.keep is {human_age(keep)}", prune)
    else:
        yield ok("database size", told)


@check("database.connections", "database connections", lambda config: config.database.kind == "mariadb")
def room(site: Site) -> Iterator[Answer]:
    """Look whether MariaDB takes as many connections as this host's syncs need."""
    found = connections(site.needs(site.databases).oma)
    wanted = OTHERS + PER_SYNC * site.config.schedule.parallel
    told = f"{found.limit} at most, {found.used} at a time so far"
    if found.limit < wanted or found.used >= found.limit * NEARLY:
        todo = f"set max_connections of MariaDB to at least {max(wanted, 2 * found.used)} (docs/database.md)"
        yield warning("database connections", told, todo)
    else:
        yield ok("database connections", told)
