"""Guest systems: each id of vSphere's gets an OS type of the cloud, and what is not the very one says so."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from migratekit_core.adapters.cloudstack import guest_os
from migratekit_core.services.assessment import systems
from tests.lab.cloudstack.catalogue import OS_TYPES
from tests.unit.inventory import machine


def chosen(guest_id: str, reported_id: str = "", reported_name: str = "", detail: str = "") -> guest_os.OsType:
    vm = machine(
        guest_id=guest_id,
        guest_name="",
        guest_reported_id=reported_id,
        guest_reported_name=reported_name,
        extra_config={"guestInfo.detailed.data": detail} if detail else {},
    )
    found = guest_os.choose(vm, OS_TYPES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("guest_id", "name"),
    [
        ("debian12_64Guest", "Debian GNU/Linux 12 (64-bit)"),
        ("debian10_64Guest", "Debian GNU/Linux 10 (64-bit)"),
        ("rhel9_64Guest", "Red Hat Enterprise Linux 9.0"),
        ("centos7_64Guest", "CentOS 7"),
        ("oracleLinux8_64Guest", "Oracle Linux 8"),
        ("sles15_64Guest", "SUSE Linux Enterprise Server 15 (64-bit)"),
        ("freebsd14_64Guest", "FreeBSD 14 (64-bit)"),
        ("windows7Server64Guest", "Windows Server 2008 R2 (64-bit)"),
        ("windows8Server64Guest", "Windows Server 2012 (64-bit)"),
        ("windows9Server64Guest", "Windows Server 2016 (64-bit)"),
        ("windows2019srv_64Guest", "Windows Server 2019 (64-bit)"),
        ("windows2019srvNext_64Guest", "Windows Server 2022 (64-bit)"),
        ("windows2022srvNext_64Guest", "Windows Server 2025 (64-bit)"),
        ("windows9_64Guest", "Windows 10 (64-bit)"),
        ("otherLinux64Guest", "Other Linux (64-bit)"),
        ("other5xLinux64Guest", "Other Linux (64-bit)"),
        ("otherLinuxGuest", "Other Linux (32-bit)"),
        ("otherGuest64", "Other (64-bit)"),
    ],
)
def test_a_known_system_gets_its_own_type(guest_id: str, name: str) -> None:
    assert chosen(guest_id) == guest_os.OsType(chosen(guest_id).id, name, "")


@pytest.mark.parametrize(
    ("guest_id", "reported", "detail", "name"),
    [
        ("ubuntu64Guest", "Ubuntu Linux (64-bit)", "prettyName='Ubuntu 22.04.3 LTS'", "Ubuntu 22.04 LTS"),
        ("rockylinux_64Guest", "", "familyName='Linux' prettyName='Rocky Linux 8.9 (Green Obsidian)'", "Rocky Linux 8"),
        ("almalinux_64Guest", "AlmaLinux 9 (64-bit)", "", "AlmaLinux 9"),
    ],
)
def test_the_version_comes_from_the_tools_where_the_id_has_none(
    guest_id: str, reported: str, detail: str, name: str
) -> None:
    found = chosen(guest_id, guest_id, reported, detail)
    assert (found.name, found.note) == (name, "")


def test_a_system_that_was_configured_as_another_is_what_the_tools_say() -> None:
    assert chosen("otherLinux64Guest", "debian12_64Guest").name == "Debian GNU/Linux 12 (64-bit)"
    # The tools say "some Linux" where they know no better: then the setting knows more.
    assert chosen("debian12_64Guest", "other5xLinux64Guest").name == "Debian GNU/Linux 12 (64-bit)"


@pytest.mark.parametrize(
    ("guest_id", "name", "said"),
    [
        ("debian13_64Guest", "Debian GNU/Linux 12 (64-bit)", "the nearest"),
        ("debian8_64Guest", "Debian GNU/Linux 10 (64-bit)", "the nearest"),
        ("ubuntu64Guest", "Ubuntu 24.04 LTS", "does not tell the version"),
        ("debian12Guest", "Debian GNU/Linux 12 (64-bit)", "no 32-bit"),
        ("fedora64Guest", "Other Linux (64-bit)", "has no OS type"),
        ("winNetStandardGuest", "Other (32-bit)", "has no OS type"),
        ("windows12_64Guest", "Other (64-bit)", "has no OS type"),
        ("somethingNew_64Guest", "Other (64-bit)", "has no OS type"),
        ("", "Other (32-bit)", "no id"),
    ],
)
def test_a_fallback_says_so(guest_id: str, name: str, said: str) -> None:
    found = chosen(guest_id)
    assert found.name == name
    assert said in found.note
    assert name in found.note


def test_every_id_of_vsphere_is_known_or_cannot_run() -> None:
    ids = vim.vm.GuestOsDescriptor.GuestOsIdentifier.values
    assert len(ids) > 200
    unknown = [
        each
        for each in ids
        if guest_os.family(each) is None and not systems.unsupported(machine(guest_id=each, guest_reported_id=""))
    ]
    assert unknown == []
    for each in ids:
        found = chosen(each)
        assert found.note or not found.name.startswith("Other ") or guest_os.family(each) is not None


def test_a_cloud_without_types_gives_none() -> None:
    assert guest_os.choose(machine(), []) is None
