"""The rule file of `wave plan`: which machines, what belongs together, where it goes, and how large a wave may be."""

from __future__ import annotations

import re
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from pydantic.dataclasses import dataclass

from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
from migratekit_core.adapters.vsphere.inventory import Filter, VirtualMachine
from migratekit_core.adapters.vsphere.inventory.filters import any_fits
from migratekit_core.common.errors import UsageError
from migratekit_core.common.units import parse_size
from migratekit_core.config.base import seconds
from migratekit_core.services.assessment.sizing import BY_CLUSTER, BY_FOLDER, BY_TAG, parse_bandwidth
from migratekit_core.services.waves import documents
from migratekit_core.services.waves.model import (
    Limits,
    Most,
    Name,
    NetworkMap,
    Pass,
    Target,
    WaveName,
    Window,
    document_schema,
)

SCHEMA = "migratekit.wave-rules/1"
TODO = "docs/waves.md has an example"
BY_NAME, BY_VAPP = "name:", "vapp"
_CLOSED = ConfigDict(extra="forbid")
Globs = tuple[Name, ...]


def _text(pattern: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": pattern}]}


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _link(value: object) -> object:
    try:
        return parse_bandwidth(value) if isinstance(value, str) else value
    except UsageError as error:
        raise ValueError(f"{error.what}; {error.todo}") from None


def _grouping(text: str) -> str:
    if text in (BY_FOLDER, BY_CLUSTER, BY_VAPP):
        return text
    if text.startswith(BY_TAG) and text != BY_TAG:
        return text
    if not text.startswith(BY_NAME):
        raise ValueError(f"{text!r} is none of: tag:CATEGORY, folder, cluster, vapp, name:PATTERN")
    try:
        groups = re.compile(text.removeprefix(BY_NAME)).groups
    except re.error as error:
        raise ValueError(f"{text!r} is no pattern: {error}") from None
    if not groups:
        raise ValueError(f"{text!r} has no part in parentheses; what that matches is the group")
    return text


Seconds = Annotated[
    Annotated[float, Field(gt=0)], BeforeValidator(seconds), WithJsonSchema(_text("^([0-9]+[wdhms]? ?)+$"))
]
"""As text `90m`, `8h`, `7d`."""
Bytes = Annotated[
    Annotated[int, Field(gt=0)],
    BeforeValidator(_size),
    WithJsonSchema(_text("^[0-9]+(\\.[0-9]+)? ?[kKmMgGtT]?(i?B)?$")),
]
"""As text `500G`, `2T`: binary units."""
Link = Annotated[
    Annotated[float, Field(gt=0)],
    BeforeValidator(_link),
    WithJsonSchema(_text("^ *[0-9]+(\\.[0-9]+)? *([kKmMgG]i?)?(bit|b|B)(/s|ps)? *$")),
]
"""Bytes per second, as text `1Gbit/s`, `100MB/s`."""
Grouping = Annotated[str, AfterValidator(_grouping)]


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Match:
    """Machines: all that is given must fit, of several values of one any. Globs that ignore case, as in `discover`."""

    names: Globs = ()
    folders: Globs = ()
    clusters: Globs = ()
    tags: Globs = ()
    """`category:name` or the name alone."""
    guests: Globs = ()
    hosts: Globs = ()
    datastores: Globs = ()
    """Any of the machine's."""
    vcenters: Globs = ()

    def fits(self, vm: VirtualMachine, vcenter: str) -> bool:
        """Return whether a machine, which a vCenter of this name has, is meant."""
        asked = Filter(self.names, self.folders, self.clusters, self.tags, (), self.guests)
        return (
            asked.fits(vm)
            and any_fits(self.hosts, [vm.host_name])
            and any_fits(self.datastores, [store.name for store in vm.datastores])
            and any_fits(self.vcenters, [vcenter])
        )


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class LeaveOut(Match):
    """Machines that are in no wave."""

    why: Name


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Needs:
    """Machines, or groups, that do not work without others."""

    machines: Globs = ()
    groups: Globs = ()
    needs: Globs = ()
    """Names of machines (globs)."""
    needs_groups: Globs = ()


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Place(Match):
    """Where machines go: of several places that fit, the first that says something says it."""

    vcenter: str | None = None
    """Instead of the one that has the inventory."""
    oma: tuple[str, ...] = ()
    """OMA profiles; of several, each group goes to the one that has the least to do. "" is the configuration's own."""
    networks: str | None = None
    zone: str | None = None
    service_offering: str | None = None
    disk_offering: str | None = None

    @property
    def target(self) -> Target:
        """Return what it says of the target."""
        return Target(zone=self.zone, service_offering=self.service_offering, disk_offering=self.disk_offering)


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Sizes:
    """How large a wave may be. A group that is larger is torn apart, and the plan says so."""

    machines: Most = 25
    data: Bytes | None = None
    """What its first syncs read."""
    duration: Seconds | None = None
    """Of its first syncs; needs a rate."""
    oma_disks: Most = DATA_DISKS
    """Disks of one wave in one OMA: as many data volumes as CloudStack attaches to it."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Calendar:
    """When waves may be begun: the first at `first`, each other one `every` later, each for `length`."""

    first: AwareDatetime
    every: Seconds = 7 * 86400.0
    length: Seconds | None = None

    def window(self, number: int) -> Window:
        """Return the window of a wave; the first has number 0."""
        begin = self.first + timedelta(seconds=self.every * number)
        return Window(not_before=begin, not_after=begin + timedelta(seconds=self.length) if self.length else None)


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Rates:
    """How fast it goes, for the estimates; bytes per second. What is measured (--history) goes before `machine`."""

    link: Link | None = None
    """The nominal bandwidth of the link, as --bandwidth."""
    machine: Link | None = None
    """What the copy of one machine takes at most."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Rules:
    """The file."""

    name: WaveName = "wave"
    """Beginning of the waves' names: wave-1, wave-2 …"""
    select: Match = Match()
    leave_out: tuple[LeaveOut, ...] = ()
    groups: dict[Name, Match] = field(default_factory=dict)
    """Groups by name; of several that fit, the first. What is in none of them is grouped by `group_by`."""
    group_by: tuple[Grouping, ...] = (BY_FOLDER,)
    """The first that says something of a machine: tag:CATEGORY, folder, cluster, vapp, name:PATTERN. What none says
    anything of is a group of its own."""
    depends_on: tuple[Needs, ...] = ()
    order: Globs = ()
    """Groups that come first, in this order; the others fill the waves evenly."""
    places: tuple[Place, ...] = ()
    networks: dict[str, NetworkMap] = field(default_factory=dict)
    waves: Sizes = Sizes()
    start: Calendar | None = None
    must_pass: Pass = Pass()
    limits: Limits = Limits()
    rates: Rates = Rates()


ADAPTER: TypeAdapter[Rules] = TypeAdapter(Rules)


def load(path: Path) -> Rules:
    """Return the rules of a file. Raises UsageError, naming every mistake with its line."""
    document = documents.read(path, "rule file", SCHEMA, TODO)
    rules = documents.check(document, ADAPTER, TODO)
    mistakes: list[tuple[documents.Place, str]] = []
    for number, place in enumerate(rules.places):
        if place.networks and place.networks not in rules.networks:
            known = ", ".join(rules.networks) or "none"
            mistakes.append((("places", number, "networks"), f"{place.networks!r} is none of the file's: {known}"))
    for number, each in enumerate(rules.depends_on):
        if not (each.machines or each.groups) or not (each.needs or each.needs_groups):
            mistakes.append(
                (("depends_on", number), "it says not who needs whom: machines or groups, and needs or needs_groups")
            )
    if mistakes:
        raise document.error(mistakes, TODO)
    return rules


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return document_schema(ADAPTER, SCHEMA, "Rules of migratekit wave plan")
