"""Planning: what any plan must keep, and what single rules do."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.services.waves import files, rules
from migratekit_core.services.waves.model import Limits, Machine, NetworkMap
from migratekit_core.services.waves.planning.candidates import Found
from migratekit_core.services.waves.planning.dependencies import circles
from migratekit_core.services.waves.planning.estimate import Measured, duration
from migratekit_core.services.waves.planning.plan import Plan, plan
from migratekit_core.services.waves.rules import Calendar, LeaveOut, Match, Needs, Place, Rates, Rules, Sizes
from tests.coded import raises
from tests.unit.inventory import GIB, disk, machine, nic

FIRST = datetime(2026, 11, 28, 21, tzinfo=UTC)


def vm(name: str, host: str = "h1", store: str = "ds1", size: int = 10 * GIB, **changes: Any) -> VirtualMachine:
    """Return a machine whose disk is all data."""
    disks = (disk(path=f"[{store}] {name}/d.vmdk", capacity_bytes=size, datastore=store, provisioning="thick"),)
    card = nic(mac="00:50:56:" + hashlib.sha256(name.encode()).hexdigest()[:6])
    return machine(name, host_name=host, committed_bytes=size, **{"disks": disks, "nics": (card,), **changes})


def planned(machines: list[VirtualMachine], made: Rules | None = None, **options: Any) -> Plan:
    """Return the plan of machines of one vCenter."""
    return plan([Found(each, "") for each in machines], made or Rules(), **options)


def names(found: Plan) -> list[list[str]]:
    """Return the machines of each wave, sorted."""
    return [sorted(each.name for each in wave.machines) for wave in found.waves]


@st.composite
def estates(draw: st.DrawFn) -> tuple[list[VirtualMachine], Rules]:
    """Machines in groups, with dependencies that do not go round, and how large waves may be."""
    count = draw(st.integers(1, 14))
    machines = []
    for number in range(count):
        disks = tuple(
            disk(key, capacity_bytes=draw(st.integers(1, 40)) * GIB, provisioning="thick")
            for key in range(1, draw(st.integers(1, 4)) + 1)
        )
        size = sum(each.capacity_bytes for each in disks)
        group = draw(st.sampled_from(["", "shop", "crm", "web"]))
        tags = (f"application:{group}",) if group else ()
        host = f"h{draw(st.integers(1, 3))}"
        machines.append(machine(f"m{number:02}", disks=disks, committed_bytes=size, host_name=host, tags=tags))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=8))
    # From the later to the earlier: no circles of machines, but circles of groups.
    needs = tuple(Needs(machines=(f"m{a:02}",), needs=(f"m{b:02}",)) for a, b in pairs if a > b)
    sizes = Sizes(
        machines=draw(st.integers(1, 6)),
        data=draw(st.none() | st.integers(20, 200).map(lambda size: size * GIB)),
        oma_disks=draw(st.integers(4, 13)),
        duration=draw(st.none() | st.integers(600, 7200).map(float)),
    )
    place = Place(oma=tuple(draw(st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=3, unique=True))))
    made = Rules(
        group_by=("tag:application",),
        depends_on=needs,
        waves=sizes,
        places=(place,),
        rates=Rates(link=125_000_000.0),
        start=Calendar(first=FIRST, length=7200.0),
    )
    return machines, made


@settings(max_examples=150, deadline=None)
@given(estates())
def test_what_every_plan_keeps(estate: tuple[list[VirtualMachine], Rules]) -> None:
    machines, made = estate
    found = planned(machines, made)
    where = {each.name: number for number, wave in enumerate(found.waves) for each in wave.machines}
    everywhere = Counter(each.uuid for wave in found.waves for each in wave.machines)
    assert everywhere == Counter(each.uuid for each in machines), "each machine is in one wave"

    for wave in found.waves:
        assert files.loads(files.dumps(wave)) == wave, "a plan is a file that is taken"
        assert len(wave.machines) <= made.waves.machines
        disks = Counter[str]()
        for each in wave.machines:
            disks[each.oma] += each.disks
            assert each.oma in made.places[0].oma
        assert max(disks.values()) <= made.waves.oma_disks
        data = sum(each.data_bytes for each in wave.machines)
        assert made.waves.data is None or data <= made.waves.data or len(wave.machines) == 1
        assert wave.estimate is not None and wave.estimate.data_bytes == data
        assert (
            made.waves.duration is None or wave.estimate.seconds <= made.waves.duration + 1 or len(wave.machines) == 1
        )

    for rule in made.depends_on:
        [who], [whom] = rule.machines, rule.needs
        assert where[whom] <= where[who], "nothing comes before what it needs"
        wave = found.waves[where[who]]
        by_name = {each.name: each for each in wave.machines}
        if where[whom] == where[who]:
            assert whom in by_name[who].depends_on and by_name[whom].stage < by_name[who].stage
        else:
            assert found.waves[where[whom]].name in wave.after

    torn = " ".join(note for note in found.notes if "torn apart" in note)
    groups: dict[str, set[int]] = {}
    for each in machines:
        for tag in each.tags or ():
            groups.setdefault(tag.removeprefix("application:"), set()).add(where[each.name])
    for group, waves in groups.items():
        assert len(waves) == 1 or group in torn, "a group is only torn apart where the plan says so"
    assert planned(list(reversed(machines)), made).waves == found.waves
    assert planned(machines, made) == found, "the same machines give the same plan"


def test_groups_and_their_order() -> None:
    machines = [
        vm("web1", tags=("application:shop",)),
        vm("db1", tags=("application:shop",)),
        vm("crm1", tags=("application:crm",)),
        vm("prod-7-a", tags=()),
        vm("prod-7-b", tags=()),
        vm("lonely", tags=()),
        vm("special", tags=("application:crm",)),
    ]
    made = Rules(
        group_by=("tag:application", r"name:(prod-\d+)-"),
        groups={"vip": Match(names=("spec*",))},
        waves=Sizes(machines=2),
        order=("shop", "prod-*"),
    )
    found = planned(machines, made)
    assert names(found) == [["db1", "web1"], ["prod-7-a", "prod-7-b"], ["crm1", "special"], ["lonely"]]
    assert {each.name: each.group for each in found.waves[2].machines} == {"crm1": "crm", "special": "vip"}
    assert [wave.name for wave in found.waves] == ["wave-1", "wave-2", "wave-3", "wave-4"]
    assert found.notes == ()


def test_a_group_that_is_too_large_is_torn_apart_in_order_and_told() -> None:
    machines = [vm(f"web{number}") for number in range(1, 5)] + [vm("db1")]
    made = Rules(waves=Sizes(machines=2), depends_on=(Needs(machines=("web*",), needs=("db1",)),))
    found = planned(machines, made)
    assert [len(wave.machines) for wave in found.waves] == [2, 2, 1]
    assert "db1" in names(found)[0]
    [note] = found.notes
    assert note == "group /DC0/vm/prod is torn apart into 3 parts: 5 machines, a wave has at most 2"


def test_a_circle_is_named() -> None:
    machines = [vm("web"), vm("app"), vm("db")]
    ring = (("web", "app"), ("app", "db"), ("db", "web"))
    made = Rules(depends_on=tuple(Needs(machines=(a,), needs=(b,)) for a, b in ring))
    with raises(UsageError, ErrorCode.WAVE_INVALID) as caught:
        planned(machines, made)
    steps = caught.value.why.split(" needs ")
    assert steps[0] == steps[-1] and len(steps) == 4
    assert set(pairwise(steps)) == set(ring)


def test_groups_that_need_each_other_stay_together() -> None:
    machines = [vm(f"{group}{number}", tags=(f"application:{group}",)) for group in "ab" for number in (1, 2)]
    needs = (Needs(machines=("a1",), needs=("b1",)), Needs(machines=("b2",), needs=("a2",)))
    made = Rules(group_by=("tag:application",), depends_on=needs, waves=Sizes(machines=4))
    found = planned([*machines, vm("x", size=GIB, tags=())], made)
    assert ["a1", "a2", "b1", "b2"] in names(found)
    assert found.notes == ("groups a, b stay together: they need each other",)


def test_what_is_kept_out_is_told_with_the_reason() -> None:
    machines = [
        vm("ok"),
        vm("blocked"),
        vm("test1"),
        vm("wide", disks=tuple(disk(number) for number in range(1, 34))),
        vm("broken", uuid="", connection="inaccessible"),
        vm("twin1", uuid="same"),
        vm("twin2", uuid="same"),
        vm("gold", template=True),
    ]
    made = Rules(
        leave_out=(LeaveOut(names=("test*",), why="thrown away"),),
        depends_on=(Needs(machines=("ok",), needs=("blocked",)),),
    )
    found = planned(machines, made, kept_out={("", "vm-blocked"): ("blocked", "MK-DISK-001: a raw disk")})
    assert names(found) == [["ok"]]
    assert {each.vm: (each.kind, each.why) for each in found.left_out} == {
        "blocked": ("blocked", "MK-DISK-001: a raw disk"),
        "test1": ("left out", "thrown away"),
        "wide": ("unfit", "it has 33 disks; an OMA takes 32 (waves.oma_disks)"),
        "broken": ("unfit", "vSphere cannot read its files (inaccessible)"),
        "twin1": ("unfit", "another machine has the same instanceUuid"),
        "twin2": ("unfit", "another machine has the same instanceUuid"),
    }
    needed = "ok needs what is in no wave: blocked (blocked: MK-DISK-001: a raw disk)"
    assert found.notes == (needed, "not planned: templates (1)")


def test_a_rule_that_names_nothing_is_told() -> None:
    made = Rules(depends_on=(Needs(machines=("web",), needs=("bd",)), Needs(machines=("wbe",), needs=("web",))))
    assert planned([vm("web")], made).notes == (
        "depends_on[1] names, as needed, no machine that is to be moved",
        "depends_on[2] (wbe) names no machine that is to be moved",
    )


def test_nothing_to_plan() -> None:
    with raises(PreconditionError, ErrorCode.NOTHING_TO_PLAN) as caught:
        planned([vm("a")], Rules(leave_out=(LeaveOut(names=("*",), why="not this year"),)))
    assert caught.value.facts == {"left_out": 1}
    assert "a: not this year" in caught.value.why


def test_hosts_and_datastores_are_spread() -> None:
    machines = [vm(f"m{number}", host=f"h{number // 4}", store=f"ds{number // 4}", tags=()) for number in range(12)]
    made = Rules(group_by=("tag:x",), waves=Sizes(machines=6))
    for wave in planned(machines, made).waves:
        assert Counter(each.host for each in wave.machines) == {"h0": 2, "h1": 2, "h2": 2}
        hosts = [each.host for each in wave.machines]
        assert all(one != other for one, other in pairwise(hosts)), hosts


def test_places_say_where_machines_go() -> None:
    machines = [vm("web1", host="esx1"), vm("db1", host="esx2", size=40 * GIB), vm("db2", host="esx2", size=30 * GIB)]
    made = Rules(
        places=(
            Place(names=("web*",), networks="dmz", zone="z2"),
            Place(hosts=("esx2",), oma=("a", "b"), service_offering="large"),
            Place(zone="z1", disk_offering="Fast"),
        ),
        networks={"dmz": NetworkMap(map={"DMZ": "dmz"}), "other": NetworkMap()},
    )
    [wave] = plan([Found(each, "dc2") for each in machines], made).waves
    by_name = {each.name: each for each in wave.machines}
    web, one, two = by_name["web1"], by_name["db1"], by_name["db2"]
    assert (web.vcenter, web.oma, web.networks, web.target.zone, web.target.disk_offering) == (
        "dc2",
        "",
        "dmz",
        "z2",
        "Fast",
    )
    assert {one.oma, two.oma} == {"a", "b"} and one.target.service_offering == "large"
    assert list(wave.networks) == ["dmz"], "only what its machines use"


def test_machines_of_one_name_are_told_apart_by_their_paths() -> None:
    twins = [vm("web", uuid=f"u{number}", path=f"/DC{number}/vm/web", moref=f"vm-{number}") for number in (1, 2)]
    found = plan([Found(twins[0], ""), Found(twins[1], "dc2")], Rules())
    assert names(found) == [["/DC1/vm/web", "dc2:/DC2/vm/web"]]


def test_windows_and_what_does_not_fit_into_one() -> None:
    start = Calendar(first=FIRST, every=86400.0, length=100.0)
    made = Rules(group_by=("tag:x",), waves=Sizes(machines=1), start=start, rates=Rates(link=125_000_000.0))
    found = planned([vm("a", size=GIB), vm("b", size=50 * GIB)], made)
    assert [wave.window.not_before for wave in found.waves] == [FIRST, datetime(2026, 11, 29, 21, tzinfo=UTC)]
    [note] = found.notes
    assert note == "wave wave-1 takes about 8 min 57 s; its window has 1 min 40 s"


def test_rates_are_given_or_measured() -> None:
    assert planned([vm("a")]).waves[0].estimate is None
    with raises(UsageError, ErrorCode.WAVE_INVALID):
        planned([vm("a")], Rules(waves=Sizes(duration=60.0)))
    measured = Measured(50_000_000.0, "median of 3 first syncs since 2026-11-01")
    made = Rules(rates=Rates(link=125_000_000.0, machine=1.0))
    found = planned([vm("a"), vm("b")], made, measured=measured).waves[0].estimate
    assert found is not None and (found.rate_from, found.rate_basis) == ("measured", measured.basis)
    # Two at 50 MB/s each fill the 100 MB/s that a link of 1 Gbit/s leaves.
    assert found.seconds == pytest.approx(10 * GIB / 50e6, rel=0.01)
    assert found.bytes_per_second == pytest.approx(100e6, rel=0.01)


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (Limits(esxi_host=None, datastore=None, vcenter=None, oma=None), 1.0),
        (Limits(esxi_host=1, datastore=None), 2.0),
        (Limits(esxi_host=None, datastore=1), 4.0),
        (Limits(vcenter=2, datastore=None), 2.0),
        (Limits(oma=1, datastore=None), 4.0),
    ],
)
def test_limits_make_it_longer(limits: Limits, seconds: float) -> None:
    machines = [
        Machine(name=str(at), uuid=str(at), host=f"h{at % 2}", datastores=("ds",), data_bytes=1000) for at in range(4)
    ]
    assert duration(machines, limits, 1000.0, None) == pytest.approx(seconds)


def test_a_large_estate_is_planned_in_seconds() -> None:
    import time

    machines = [
        vm(
            f"m{number}",
            host=f"h{number % 100}",
            store=f"ds{number % 40}",
            tags=(f"app:{number // 7}",),
            disks=(disk(),),
        )
        for number in range(2000)
    ]
    made = Rules(group_by=("tag:app",), waves=Sizes(machines=50), rates=Rates(link=1.25e9),
                 places=(Place(oma=tuple("abcdef")),))  # fmt: skip
    began = time.process_time()
    found = planned(machines, made)
    assert sum(len(wave.machines) for wave in found.waves) == 2000
    assert len(found.waves) <= 45
    assert time.process_time() - began < 30


def test_circles_are_found_where_they_are() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a", "e"], "e": [], "f": ["f"]}
    assert sorted(circles(edges)) == [("a", "b", "c"), ("d",), ("e",), ("f",)]
    long = {str(number): [str(number + 1)] for number in range(5000)} | {"5000": []}
    assert len(circles(long)) == 5001, "a long chain needs no deep recursion"


RULES = """\
schema: migratekit.wave-rules/1
group_by: [tag:application, folder]
waves:
  machines: 20
  data: 2T
  duration: 8h
rates: {link: 1Gbit/s}
places:
  - names: [web*]
    networks: dmz
networks:
  dmz: {map: {DMZ: dmz2}}
"""


def test_a_rule_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    found = rules.load(path)
    assert (found.waves.data, found.waves.duration, found.rates.link) == (2 << 40, 8 * 3600, 125_000_000)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tag:application", "tags", "line 2: group_by[1]: 'tags' is none of: tag:CATEGORY, folder, cluster, vapp, "),
        ("tag:application", "'name:web'", "has no part in parentheses"),
        ("tag:application", "'name:('", "is no pattern"),
        ("machines: 20", "machine: 20", "line 4: waves.machine: unknown key; did you mean machines?"),
        ("data: 2T", "data: much", "line 5: waves.data: 'much' is no size: 500G, 2T or 1.5TiB"),
        ("8h", "soon", "line 6: waves.duration: 'soon' is no duration"),
        ("1Gbit/s", "fast", "line 7: rates.link: bandwidth 'fast' is not understood"),
        ("networks: dmz", "networks: dzm", "line 10: places[1].networks: 'dzm' is none of the file's: dmz"),
        ("rates:", "depends_on: [{machines: [a]}]\nrates:", "line 7: depends_on[1]: it says not who needs whom"),
        ("rates:", "leave_out: [{names: [a]}]\nrates:", "line 7: leave_out[1].why: is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_a_rule_file(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "rules.yaml"
    assert old in RULES
    path.write_text(RULES.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        rules.load(path)
    assert told in caught.value.why
