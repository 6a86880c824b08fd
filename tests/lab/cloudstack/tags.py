"""createTags and deleteTags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalogue
from .access import check_owner
from .call import Call, Work, items, mappings, need
from .errors import invalid_value, runtime
from .model import Tag
from .state import Cloud

_TYPES = {
    "uservm": "UserVm", "volume": "Volume", "snapshot": "Snapshot", "network": "Network", "template": "Template",
}  # fmt: skip


def _resource_type(call: Call) -> str:
    """The enum's own spelling: it is looked up without regard to case and answered in this one."""
    asked = need(call, "resourcetype")
    if asked.lower() not in _TYPES:
        raise invalid_value(f"Invalid resource type {asked}")
    return _TYPES[asked.lower()]


def _owner(cloud: Cloud, resource_type: str, resource_id: str) -> str | None:
    tables: dict[str, Any] = {"UserVm": cloud.vms, "Volume": cloud.volumes, "Snapshot": cloud.snapshots}
    if resource_type in tables:
        found = tables[resource_type].get(resource_id)
        return found.account if found else None
    known = catalogue.has(resource_type.lower(), resource_id)
    return next(iter(cloud.accounts.values())).name if known else None


def create_tags(call: Call) -> Work:
    def run() -> Mapping[str, Any]:
        cloud, kind = call.cloud, _resource_type(call)
        with cloud.lock:
            new: list[Tag] = []
            for resource_id in items(call, "resourceids"):
                owner = _owner(cloud, kind, resource_id)
                if owner is None:
                    raise invalid_value(f"Unable to find resource by uuid {resource_id} and type {kind}")
                check_owner(call, owner)
                taken = {tag.key for tag in cloud.tags if tag.resourceid == resource_id}
                for pair in mappings(call, "tags"):
                    if not pair.get("key") or not pair.get("value"):
                        raise invalid_value(f"Value for the key {pair.get('key')} is either null or empty")
                    if pair["key"] in taken:
                        raise runtime(f"tag {pair['key']} already on {kind} with id {resource_id}")
                    new.append(Tag(resource_id, kind, pair["key"], pair["value"], owner))
            cloud.tags += new
        return {"success": True}

    return Work(run, ())


def delete_tags(call: Call) -> Work:
    def run() -> Mapping[str, Any]:
        cloud, kind, pairs = call.cloud, _resource_type(call), mappings(call, "tags")
        ids = items(call, "resourceids")

        def meant(tag: Tag) -> bool:
            if tag.resourceid not in ids or tag.resourcetype != kind:
                return False
            return not pairs or any(p.get("key") == tag.key and p.get("value", tag.value) == tag.value for p in pairs)

        with cloud.lock:
            found = list(filter(meant, cloud.tags))
            for tag in found:
                check_owner(call, tag.account)
            if not found:
                raise runtime("Failed to delete tags")
            cloud.tags = [tag for tag in cloud.tags if not meant(tag)]
        return {"success": True}

    return Work(run, ())
