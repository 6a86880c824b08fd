"""What a schedule asks of CloudStack's queue of the OMA."""

from __future__ import annotations

import pytest

from migratekit_core.services.replication.queue import Job, load

MEASURED = Job(4.0, True)


def fleet(machines: int, disks: int, rpo: float) -> tuple[dict[str, int], dict[str, float]]:
    names = [f"vm{number}" for number in range(machines)]
    return dict.fromkeys(names, disks), dict.fromkeys(names, rpo)


def test_where_each_disk_has_a_place_nothing_is_attached_again() -> None:
    found = load(*fleet(10, 3, 60.0), 32, MEASURED)
    assert (found.jobs_per_hour, found.busy, found.fits, found.omas_needed) == (0.0, 0.0, True, 1)


def test_two_hundred_machines_with_an_hourly_rpo_are_more_than_one_queue_does() -> None:
    disks, rpo = fleet(200, 2, 3600.0)
    disks |= {f"vm{number}": 3 for number in range(100)}
    found = load(disks, rpo, 32, MEASURED)
    assert (found.disks, found.jobs_per_hour) == (500, 1000.0)
    assert found.busy == pytest.approx(1000 * 4 / 3600)
    assert not found.fits
    assert found.rpo_that_fits == pytest.approx(4000.0)
    assert found.omas_needed == 2


def test_a_slower_queue_is_answered_by_more_omas_or_by_places_for_all() -> None:
    disks, rpo = fleet(50, 1, 900.0)
    assert load(disks, rpo, 32, Job(60.0, False)).omas_needed == 2, "two have places for all"
    assert load(disks, rpo, 32, Job(1.0, True)).fits
