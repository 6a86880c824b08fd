"""The databases: reachable, of this version's schema, and with the key that stored secrets are encrypted with."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from migratekit_core.db.crypto import decrypt, encrypt
from migratekit_core.db.schema import check_both, mismatch
from migratekit_core.services.doctor.model import Answer, SkippedError, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

OLDEST_MARIADB = (10, 6)


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
