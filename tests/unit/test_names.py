"""Names that CloudStack, NBD and virtio accept, made of whatever a vCenter calls its machines."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.volumed.names import export_name, host_name, safe

HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""What CloudStack's NetUtils.verifyDomainNameLabel takes (a letter first, no dash at the end)."""
SUFFIXES = st.sampled_from(["", "-test-0a1b2c3d", "-2", "-" + "x" * 30])


@given(st.text(), SUFFIXES)
def test_a_host_name_is_always_one(name: str, suffix: str) -> None:
    made = host_name(name, suffix)
    assert HOST_NAME.fullmatch(made)
    assert made.endswith(suffix)


@given(st.text(alphabet="-_ äa1.", min_size=50, max_size=300), SUFFIXES)
def test_a_long_host_name_is_one_too(name: str, suffix: str) -> None:
    assert HOST_NAME.fullmatch(host_name(name, suffix))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("web01", "web01"),
        ("Web Server (prod)", "Web-Server-prod"),
        ("1password", "vm-1password"),
        ("数据库", "vm"),
        ("", "vm"),
        ("a" * 62 + "-b", "a" * 62),
        ("4" * 70, "vm-" + "4" * 60),
    ],
)
def test_a_host_name_stays_as_close_as_it_can(name: str, made: str) -> None:
    assert host_name(name) == made


def test_a_host_name_is_the_same_each_time() -> None:
    assert host_name("Größe 1", "-x") == host_name("Größe 1", "-x")


@given(st.text(), st.integers(1, 80))
def test_a_safe_name_is_short_and_plain(name: str, longest: int) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", safe(name, longest))
    assert len(safe(name, longest)) <= max(longest, len("vm"))


@given(st.text(), st.text())
def test_an_export_name_has_its_form(vm: str, disk: str) -> None:
    name = export_name(vm, disk)
    assert re.fullmatch(r"migration-[A-Za-z0-9-]+-[A-Za-z0-9-]+-[0-9a-f]{8}", name, re.ASCII)
    assert name.startswith(f"migration-{safe(vm)}-{safe(disk, 16)}-")
    assert len(name) <= 255


def test_an_export_name_cannot_be_guessed() -> None:
    ends = [export_name("vm", "2000")[-8:] for _ in range(2000)]
    # 2000 draws of 2^32: two equal ones once in two thousand runs of this test, three never.
    assert len(set(ends)) >= 1998
    assert all(len({end[place] for end in ends}) == 16 for place in range(8))
