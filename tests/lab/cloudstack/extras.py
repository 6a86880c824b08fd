"""What a machine may be deployed with besides: security groups, affinity groups, SSH keys and user data.

The double keeps them as a client sees them in the machine's row; nobody is isolated and no user data is delivered.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import catalogue
from .access import check_owner
from .call import Call, items, mappings, need, text
from .errors import invalid_value, permission_denied

MAX_USER_DATA = 32768
MAX_USER_DATA_BY_GET = 4096
"""Characters after encoding; what a GET request may carry is less."""


@dataclass(frozen=True)
class Extras:
    """Ids of groups, fields of the machine's row, and settings."""

    securitygroups: tuple[str, ...] = ()
    affinitygroups: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


def wanted(call: Call, owner: str) -> Extras:
    """Return what the new machine of an owner gets. Raises ApiError for what there is not, or is another's."""
    keys = _keypairs(call, owner)
    fields = {"keypairs": ",".join(keys)} if keys else {}
    details = {"SSH.KeyPairNames": ",".join(keys), "SSH.PublicKey": "ssh-rsa AAAA"} if keys else {}
    return Extras(_security_groups(call, owner), _affinity_groups(call, owner), fields | user_data(call), details)


def default_security_group(owner: str) -> str:
    """Return the group that a machine of an owner is in where none was asked for."""
    found = (row for row in catalogue.rows("securitygroup") if (row["_owner"], row["name"]) == (owner, "default"))
    return str(next(found, {"id": catalogue.stable_id("securitygroup", owner)})["id"])


def _security_groups(call: Call, owner: str) -> tuple[str, ...]:
    ids, names = items(call, "securitygroupids"), items(call, "securitygroupnames")
    if ids and names:
        raise invalid_value("securitygroupids parameter is mutually exclusive with securitygroupnames parameter")
    if not catalogue.row("zone", need(call, "zoneid"))["securitygroupsenabled"]:
        if ids or names:
            raise invalid_value("Can't create vm with security groups; security group feature is not enabled per zone")
        return ()
    for one in ids:
        row = catalogue.row("securitygroup", one)
        if row["_owner"] != owner:
            if call.account.name == owner:
                check_owner(call, row["_owner"])
            _refuse_other("SecurityGroup", row, call, owner)
    ids += [_by_name("securitygroup", name, owner, "Unable to find group by name {}") for name in names]
    return tuple(ids) or (default_security_group(owner),)


def _affinity_groups(call: Call, owner: str) -> tuple[str, ...]:
    ids, names = items(call, "affinitygroupids"), items(call, "affinitygroupnames")
    if ids and names:
        raise invalid_value("affinitygroupids parameter is mutually exclusive with affinitygroupnames parameter")
    for one in ids:
        row = catalogue.row("affinitygroup", one)
        if row["_owner"] == owner:
            continue
        if call.cloud.project_of(row["_owner"]) is None:
            caller = call.account
            who = json.dumps([{"accountName": caller.name, "id": 1, "uuid": caller.id}])
            what = json.dumps({"id": 1, "name": row["name"], "uuid": row["id"]})
            raise permission_denied(
                f"Account {who} does not have permission to operate with resource AffinityGroup {what}"
            )
        _refuse_other("AffinityGroup", row, call, owner)
    return (*ids, *(_by_name("affinitygroup", one, owner, "Unable to find affinity group by name {}") for one in names))


def _refuse_other(kind: str, row: Mapping[str, Any], call: Call, owner: str) -> None:
    what = json.dumps({"id": 1, "name": row["name"], "uuid": row["id"]})
    account = call.cloud.account(owner)
    who = json.dumps([{"accountName": account.name, "id": 1, "uuid": account.id}])
    raise permission_denied(f"Entity {kind} {what} and entity Account {who} belong to different accounts")


def _by_name(kind: str, name: str, owner: str, refusal: str) -> str:
    for row in catalogue.rows(kind):
        if row["name"] == name and row["_owner"] == owner:
            return str(row["id"])
    raise invalid_value(refusal.format(name))


def _keypairs(call: Call, owner: str) -> list[str]:
    names = items(call, "keypairs") or items(call, "keypair")
    known = {row["name"] for row in catalogue.rows("keypair") if row["_owner"] == owner}
    if not set(names) <= known:
        raise invalid_value("Not all specified keypairs exist")
    return names


def user_data(call: Call) -> dict[str, str]:
    """Return the fields of a machine's row that name its user data. Raises ApiError for what is none."""
    data, data_id = text(call, "userdata"), text(call, "userdataid")
    if data and data_id:
        raise invalid_value("Both userdata and userdata ID inputs are not allowed, please provide only one")
    if data:
        _check_user_data(data, call.method)
    if not data_id:
        return {}
    row = catalogue.row("userdata", data_id)
    details = {key: value for one in mappings(call, "userdatadetails") for key, value in one.items()}
    fields = {"userdataid": row["id"], "userdataname": row["name"]}
    if details:
        fields["userdatadetails"] = "{" + ", ".join(f"{key}={value}" for key, value in details.items()) + "}"
    return fields


def _check_user_data(data: str, method: str) -> None:
    """Padding may be missing, as everywhere in the real server."""
    if method == "GET" and len(data) > MAX_USER_DATA_BY_GET:
        raise invalid_value("User data is too long for http GET request")
    if len(data) > MAX_USER_DATA:
        raise invalid_value(f"User data has exceeded configurable max length: {MAX_USER_DATA}")
    try:
        base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise invalid_value("User data is not base64 encoded.") from None
