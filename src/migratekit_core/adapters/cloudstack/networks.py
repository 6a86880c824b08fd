"""The cloud's zone, and the guest networks in it."""

from __future__ import annotations

from typing import Any

from migratekit_core.adapters.cloudstack.client import Cloud, by_name_or_id


def zone(cloud: Cloud, wanted: str) -> dict[str, Any]:
    """Return the zone with this name or id. Raises PreconditionError where none or several have it."""
    return by_name_or_id(cloud.list("listZones", "zone"), wanted, "zone", "ossea.zone")


def list_networks(cloud: Cloud, zone_id: str) -> list[dict[str, Any]]:
    """Return the networks of a zone that the account can use."""
    return cloud.list("listNetworks", "network", zoneid=zone_id)
