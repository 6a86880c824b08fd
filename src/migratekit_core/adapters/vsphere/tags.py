"""vSphere's tags. They are not in the SOAP API but in the Automation API (REST), which asks for a login of its own.

Facts: developer.broadcom.com, vSphere Automation API, com.vmware.cis.tagging. The requests are those of 6.5 and later.
"""

from __future__ import annotations

from typing import Any

import httpx

from migratekit_core.adapters.vsphere import record
from migratekit_core.adapters.vsphere.session import trust
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.redact import redact
from migratekit_core.config.schema import VCenter

_SESSION = "/rest/com/vmware/cis/session"
_TAGGING = "/rest/com/vmware/cis/tagging"


def read_tags(vcenter: VCenter) -> dict[str, tuple[str, ...]]:
    """Return the tags of all virtual machines, `category:name` by managed object id.

    One request for each tag and category, and one for all that carry any: none for a machine. Raises PreconditionError
    on an ESXi host, which has no tags; AuthError; UnreachableError; OperationFailedError.
    """
    where = f"vCenter {vcenter.host}:{vcenter.port}"
    try:
        with httpx.Client(
            base_url=f"https://{vcenter.host}:{vcenter.port}",
            verify=trust(vcenter),
            timeout=vcenter.timeout,
            trust_env=False,
            event_hooks={"response": [record.rest]},
        ) as http:
            return _read(http, vcenter, where)
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"{where}: the tags cannot be read",
            redact(str(error) or type(error).__name__),
            "check the network, try again",
            code=ErrorCode.VCENTER_UNREACHABLE,
        ) from None


def _read(http: httpx.Client, vcenter: VCenter, where: str) -> dict[str, tuple[str, ...]]:
    answer = http.post(_SESSION, auth=(vcenter.user, vcenter.password.read("vcenter.password")))
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise PreconditionError(
            f"{where} has no tags",
            "a single ESXi host has none",
            "leave out --tag and --tags",
            code=ErrorCode.TAGS_UNAVAILABLE,
        )
    http.headers["vmware-api-session-id"] = _value(answer, where)
    try:
        names = _names(http, where)
        attached = http.post(
            f"{_TAGGING}/tag-association?~action=list-attached-objects-on-tags", json={"tag_ids": list(names)}
        )
        tags: dict[str, list[str]] = {}
        for found in (_value(attached, where) or ()) if names else ():
            for carrier in found.get("object_ids") or ():
                if carrier["type"] == "VirtualMachine":
                    tags.setdefault(carrier["id"], []).append(names[found["tag_id"]])
        return {moref: tuple(sorted(found)) for moref, found in tags.items()}
    finally:
        http.delete(_SESSION)


def _names(http: httpx.Client, where: str) -> dict[str, str]:
    """Return `category:name` of all tags, by their ids."""
    categories: dict[str, str] = {}
    names = {}
    for tag_id in _value(http.get(f"{_TAGGING}/tag"), where) or ():
        tag = _value(http.get(f"{_TAGGING}/tag/id:{tag_id}"), where)
        category = tag["category_id"]
        if category not in categories:
            categories[category] = _value(http.get(f"{_TAGGING}/category/id:{category}"), where)["name"]
        names[tag_id] = f"{categories[category]}:{tag['name']}"
    return names


def _value(answer: httpx.Response, where: str) -> Any:
    """Return what an answer holds, or raise what its status means."""
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise AuthError(
            f"{where}: the tags may not be read",
            f"the Automation API answered {answer.status_code}",
            "check vcenter.user, and that the account may log in there; reading tags needs no more than Read-only",
            code=ErrorCode.VCENTER_PRIVILEGE_MISSING,
            facts={"status": answer.status_code},
        )
    if not answer.is_success:
        raise OperationFailedError(
            f"{where}: the tags cannot be read",
            f"the Automation API answered {answer.status_code} {answer.reason_phrase}",
            "look at the health of vCenter's vAPI endpoint service",
            code=ErrorCode.BAD_ANSWER,
            facts={"status": answer.status_code},
        )
    return answer.json()["value"]
