"""CloudStack: reachable, takes the keys, allows what is called, and has what the configuration names."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError
from migratekit_core.config.schema import Config
from migratekit_core.services.assessment.access import EXPUNGE
from migratekit_core.services.assessment.assessment import all_rules
from migratekit_core.services.assessment.commands import CLOUDSTACK, DAEMON, HELPFUL, essential
from migratekit_core.services.assessment.rule import Severity
from migratekit_core.services.assessment.site import Site as Assessed
from migratekit_core.services.doctor.model import Answer, SkippedError, Status, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

ONLY_SOMETIMES = {"MK-TGT-004": "a failover needs it"}
"""Rules that `assess` takes as blockers, though a host can do without until later."""


@check("cloudstack.answers", "CloudStack", lambda config: config.ossea is not None)
def answers(site: Site) -> Iterator[Answer]:
    """Call the API with the keys."""
    found, ossea = site.target(), site.config.ossea
    assert ossea is not None, "applies only then"
    version = (found.capabilities or {}).get("cloudstackversion", "of unknown version")
    yield ok("CloudStack", f"{version}, {len(found.apis or ())} APIs at {ossea.api_url}")


@check("cloudstack.apis", "CloudStack's APIs", lambda config: config.ossea is not None)
def apis(site: Site) -> Iterator[Answer]:
    """Compare what the account may call with what this host's commands call."""
    found = site.needs(site.target).apis or frozenset()
    what = "CloudStack's APIs"
    todo = "allow them in the account's role; docs/permissions.md"
    callers = _callers(site)
    helpful: set[str] = set()
    complete = True
    for caller in callers:
        lacking = [api for api in CLOUDSTACK[caller] if api not in found]
        helpful |= {api for api in lacking if not essential(caller, api)}
        if needed := [api for api in lacking if essential(caller, api)]:
            complete = False
            yield failed(what, f"{caller} may not call {', '.join(needed)}", todo, AuthError.exit_code)
    # MK-TGT-013 says it, with the setting that it takes as well; it cannot where listCapabilities is missing.
    for api in sorted(helpful - ({EXPUNGE} if site.target().may_expunge is False else set())):
        yield warning(what, f"the role lacks {api}: {HELPFUL[api]}", todo)
    if complete:
        yield ok(what, f"{', '.join(callers)} may call all that they need")


@check("cloudstack.account", "account", lambda config: config.ossea is not None and config.vcenter is not None)
def account(site: Site) -> Iterator[Answer]:
    """Compare the account of this host's keys with the one that the volume daemon works for."""
    caller = site.needs(site.target).caller
    theirs = site.needs(site.oma).get("account")
    if caller is None or not theirs:
        return  # what is missing is told by other lines
    ours = caller.get("name")
    if theirs != ours:
        todo = "use keys of the account that owns the OMA on both hosts: two users of it work, two accounts do not"
        found = f"the volume daemon works for account {theirs}, this host's keys belong to {ours}"
        yield failed("account", found, todo, AuthError.exit_code)
    else:
        yield ok("account", f"{ours}, as the volume daemon's")


def _callers(site: Site) -> list[str]:
    """Return what calls CloudStack with the role of this host's keys; assess says by itself what it could not read.

    A role is its account's: the volume daemon on another host has this one where it works for the same account.
    """
    config = site.config
    here = [caller for caller in CLOUDSTACK if caller not in (DAEMON, "assess --target")] if config.vcenter else []
    return [*here, *([DAEMON] if config.daemon is not None or _one_account(site) else [])]


def _one_account(site: Site) -> bool:
    """Return whether the daemon works for the account of this host's keys; False where that is not known."""
    caller = site.target().caller
    try:
        theirs = site.oma().get("account")
    except (MigrateKitError, SkippedError):
        return False  # the daemon's own line, or the tunnel's, tells
    return caller is not None and bool(theirs) and caller.get("name") == theirs


@check("cloudstack.names", "what [ossea] names", lambda config: config.ossea is not None)
def names(site: Site) -> Iterator[Answer]:
    """Look for everything that [ossea] and [networks] name, by the rules of `assess --target`."""
    target = site.needs(site.target)
    networks = site.config.networks
    looked = Assessed((), (), network_map=networks.map, test_network=networks.test or "", target=target)
    for rule in all_rules():
        if rule.topic != "TGT" or rule.site_check is None:
            continue
        unknown = next(filter(None, (looked.lacks(need) for need in rule.needs)), "")
        hits = [] if unknown else list(rule.site_check(looked))
        for hit in hits:
            serious = rule.severity is Severity.BLOCKER and rule.id not in ONLY_SOMETIMES
            status = Status.FAILED if serious else Status.WARNING
            code = PreconditionError.exit_code if serious else 0
            yield Answer(rule.what, status, hit.message, rule.remedy, code)
        if unknown and rule.id < "MK-TGT-007":
            yield warning(rule.what, f"not known: {unknown}", "allow it in the account's role; docs/permissions.md")
        elif not hits and rule.id < "MK-TGT-007":
            yield ok(rule.what, _named(rule.what, site.config))


def _named(what: str, config: Config) -> str:
    ossea = config.ossea
    assert ossea is not None, "applies only then"
    networks = [*config.networks.map.values(), config.networks.test]
    values = {
        "zone": ossea.zone,
        "service offering": ossea.service_offering,
        "disk offering": ossea.disk_offering,
        "template": ossea.template,
        "OMA machine": ossea.oma_vm,
        "network of the target": ", ".join(str(name) for name in networks if name),
    }
    return f"{values.get(what) or 'none is named'}"
