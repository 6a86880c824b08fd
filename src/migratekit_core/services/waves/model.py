"""The wave file: what a wave is, as frozen dataclasses. pydantic checks them; the JSON Schema is made of them.

Sizes are bytes, rates bytes per second, times seconds.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema
from pydantic.dataclasses import dataclass

from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
from migratekit_core.common import hints
from migratekit_core.common.units import SLOWEST, parse_rate

SCHEMA = "migratekit.wave/1"
_CLOSED = ConfigDict(extra="forbid")

Name = Annotated[str, Field(min_length=1, max_length=255)]
WaveName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Size = Annotated[int, Field(ge=0)]
Most = Annotated[int, Field(ge=1)]


def _rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _percent(value: object) -> object:
    if not isinstance(value, str):
        return value
    number, sign, rest = value.strip().partition("%")
    if not sign or rest:
        raise ValueError(f"{value!r} is no percentage; write 90%")
    return float(number)


Rate = Annotated[
    Annotated[int, Field(ge=SLOWEST)] | None,
    BeforeValidator(_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": SLOWEST},
                {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?[kKmMgG]?(bit)?|none)$"},
                {"type": "null"},
            ]
        }
    ),
]
"""Bytes per second; as text `50M`, `400Mbit` or `none`."""
Percent = Annotated[
    Annotated[float, Field(ge=0, le=100)],
    BeforeValidator(_percent),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 100},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"},
            ]
        }
    ),
]


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Target:
    """Where a machine goes in CloudStack; what is left out is as the configuration (of its OMA) has it."""

    zone: str | None = None
    service_offering: str | None = None
    disk_offering: str | None = None


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class NetworkMap:
    """Which CloudStack network stands for which vSphere network; false: cards in it are left out."""

    map: dict[str, str | Literal[False]] = field(default_factory=dict)
    test: str | None = None
    """Isolated network of rehearsals."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Machine:
    """A machine of the wave. Its place in the list is its order."""

    name: Name
    uuid: Name
    """instanceUuid: what tells it from every other machine."""
    moref: str = ""
    path: str = ""
    """Inventory path."""
    vcenter: str = ""
    """Profile ([vcenters.NAME]) of the vCenter that has it; "": the configuration's own [vcenter]."""
    oma: str = ""
    """Profile ([omas.NAME]) of the OMA that takes it; "": the configuration's own."""
    host: str = ""
    """Name of its ESXi host when it was planned."""
    datastores: tuple[str, ...] = ()
    disks: Size = 0
    capacity_bytes: Size = 0
    data_bytes: Size = 0
    """About what the first sync reads."""
    group: str = ""
    """What it is moved together with: an application, a folder."""
    stage: Most = 1
    """Machines of a stage are cut over when those of the stages before are."""
    depends_on: tuple[Name, ...] = ()
    """Names of machines of this wave, of earlier stages, without which it does not work."""
    networks: str = ""
    """Name of one of the wave's `networks`; "": as the configuration and the database have it."""
    target: Target = Target()

    @property
    def options(self) -> list[str]:
        """Return the global options of a command about it."""
        return options_of(self.vcenter, self.oma)


def options_of(vcenter: str, oma: str) -> list[str]:
    """Return the global options of a command about a machine of this vCenter, that goes to this OMA."""
    return hints.options({"--vcenter": vcenter, "--oma": oma})


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Window:
    """When the wave may be begun."""

    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    """No machine is begun after it; what runs goes on."""

    def closed(self, now: datetime) -> str:
        """Return why nothing may be begun at `now` (an aware time); "" if it may."""
        if self.not_before is not None and now < self.not_before:
            return f"its window opens at {self.not_before.isoformat()}"
        if self.not_after is not None and now > self.not_after:
            return f"its window closed at {self.not_after.isoformat()}"
        return ""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Pass:
    """What must have passed."""

    verify: bool = False
    """Each replica is compared with its source by digests after its copy."""
    rehearse: bool = True
    """`wave cutover` rehearses all machines (test-failover) before it cuts any of them over."""
    abort_below: Percent = 100.0
    """Per cent of the wave's machines that must succeed; below it the cut-over stops, and the wave is rolled back."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Limits:
    """Most machines at a time, over all workers; None: no limit."""

    esxi_host: Most | None = 4
    """From each ESXi host."""
    datastore: Most | None = 4
    """From each datastore."""
    vcenter: Most | None = 16
    """Through each vCenter profile: each has sessions of its own."""
    oma: Most | None = 8
    """Into each OMA."""
    oma_disks: Most | None = DATA_DISKS
    """Disks of these, which are all attached to it: as many as CloudStack attaches."""
    bandwidth: Rate = None
    """Bytes per second of the whole wave, shared among the machines that are copied."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Estimate:
    """What the plan expects."""

    data_bytes: Size
    seconds: Annotated[float, Field(ge=0)]
    """Of the first copies of all machines, within the limits."""
    bytes_per_second: Annotated[float, Field(ge=0)]
    """What the wave takes of the link while it is copied, on average."""
    rate_from: Literal["measured", "given"]
    rate_basis: str = ""
    """What was measured, in words."""


@dataclass(frozen=True, kw_only=True, config=_CLOSED)
class Wave:
    """A wave."""

    name: WaveName
    machines: Annotated[tuple[Machine, ...], Field(min_length=1)]
    description: str = ""
    after: tuple[WaveName, ...] = ()
    """Waves whose machines must be cut over before this one's are."""
    window: Window = Window()
    must_pass: Pass = Pass()
    limits: Limits = Limits()
    networks: dict[str, NetworkMap] = field(default_factory=dict)
    """Mappings by name, for the machines that name one."""
    estimate: Estimate | None = None

    def machine(self, uuid: str) -> Machine:
        """Return the machine with this instanceUuid. Raises KeyError."""
        return self._by_uuid[uuid]

    @cached_property
    def _by_uuid(self) -> dict[str, Machine]:
        return {machine.uuid: machine for machine in self.machines}


ADAPTER: TypeAdapter[Wave] = TypeAdapter(Wave)
WAVE_NAME: TypeAdapter[str] = TypeAdapter(WaveName)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, which has `schema` beside what a Wave has."""
    return document_schema(ADAPTER, SCHEMA, "MigrateKit wave file")


def document_schema(adapter: TypeAdapter[Any], schema: str, title: str) -> dict[str, Any]:
    """Return the JSON Schema of a YAML file that says which schema it has."""
    made = adapter.json_schema()
    properties = {"schema": {"const": schema}, **made.pop("properties")}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    required = ["schema", *made.pop("required", ())]
    return {**head, **{k: v for k, v in made.items() if k != "title"}, "properties": properties, "required": required}
