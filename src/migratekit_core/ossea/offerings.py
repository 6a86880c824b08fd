"""Zones, offerings and templates, by the names or ids of the configuration."""

from __future__ import annotations

from typing import Any

from migratekit_core.ossea.client import Cloud, by_name_or_id


def zone(cloud: Cloud, wanted: str) -> dict[str, Any]:
    """Return the zone."""
    return by_name_or_id(cloud.list("listZones", "zone"), wanted, "zone", "ossea.zone")


def service_offering(cloud: Cloud, wanted: str) -> dict[str, Any]:
    """Return the service offering."""
    found = cloud.list("listServiceOfferings", "serviceoffering")
    return by_name_or_id(found, wanted, "service offering", "ossea.service_offering")


def template(cloud: Cloud, wanted: str) -> dict[str, Any]:
    """Return the template."""
    found = cloud.list("listTemplates", "template", templatefilter="executable")
    return by_name_or_id(found, wanted, "template", "ossea.template")
