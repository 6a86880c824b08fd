"""Further vCenters and OMAs that the configuration names: each lets us in, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.config.profiles import chosen
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site
from migratekit_core.services.doctor.vcenter import look
from migratekit_core.services.doctor.way import open_both, open_way, volume_client


@check("vcenters.login", "further vCenters", lambda config: bool(config.vcenters))
def vcenters(site: Site) -> Iterator[Answer]:
    """Log in at each."""
    for name, settings in site.config.vcenters.items():
        what = f"vCenter {name}"
        try:
            found = look(chosen(site.config, vcenter=name))
        except MigrateKitError as error:
            yield _failed(what, error)
            continue
        yield ok(what, f"{found.product}, logged in as {settings.user}")
        missing = dict.fromkeys(lacking.privilege.id for lacking in found.lacking)
        if missing:
            todo = hint("look with: ", migratekit("assess", "--permissions")).bound(["--vcenter", name])
            yield warning(f"{what}, privileges", f"{', '.join(missing)} missing on some of its machines", todo)


@check("omas.answer", "further OMAs", lambda config: bool(config.omas))
def omas(site: Site) -> Iterator[Answer]:
    """Reach each one's database and volume daemon."""
    for name in site.config.omas:
        what = f"OMA {name}"
        config = chosen(site.config, oma=name)
        try:
            open_way(config)
            open_both(config).dispose()
            client = volume_client(config)
            theirs = str(client.health().get("version"))
            client.operations(limit=1)
        except MigrateKitError as error:
            yield _failed(what, error)
            continue
        if theirs != version("migratekit"):
            todo = "install the same version on all hosts, the OMAs first"
            yield warning(what, f"its daemon is version {theirs}, this is {version('migratekit')}", todo)
        else:
            yield ok(what, f"database and daemon answer, version {theirs}")


def _failed(what: str, error: MigrateKitError) -> Answer:
    found = f"{error.what}: {error.why}" if error.why else error.what
    return failed(what, found, error.todo, error.exit_code)
