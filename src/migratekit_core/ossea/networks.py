"""Guest networks of the cloud."""

from __future__ import annotations

from typing import Any

from migratekit_core.ossea.client import Cloud, by_name_or_id


def list_networks(cloud: Cloud, zone_id: str) -> list[dict[str, Any]]:
    """Return the networks of a zone that the account can use."""
    return cloud.list("listNetworks", "network", zoneid=zone_id)


def network(cloud: Cloud, zone_id: str, wanted: str) -> dict[str, Any]:
    """Return the network with this name or id."""
    return by_name_or_id(list_networks(cloud, zone_id), wanted, "network", "the [networks] table")
