"""From a request's parameters to its answer: signature, role, parameters, command, job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import (
    access,
    attachments,
    catalogue_lists,
    deploy,
    discovery,
    faults,
    instances,
    jobs,
    listings,
    parameters,
    quirks,
    snapshots,
    tags,
    throttle,
    violations,
    vmsnapshots,
    volumes,
)
from .access import check_owner
from .call import Call, Work, items, number
from .errors import ApiError, as_answer, bad_credentials, bad_parameter, hidden, invalid_value, not_allowed
from .model import now
from .reference import Command, commands
from .signature import identify
from .state import Cloud, Fault

ALL = -1
"""The page size that says: all of them."""
_SECRET = ("signature", "apikey", "secretkey")

_LISTS: dict[str, Callable[[Call], listings.Listing]] = {
    "listAsyncJobs": listings.async_jobs,
    "listZones": catalogue_lists.zones,
    "listServiceOfferings": catalogue_lists.service_offerings,
    "listDiskOfferings": catalogue_lists.disk_offerings,
    "listNetworks": catalogue_lists.networks,
    "listTemplates": catalogue_lists.templates,
    "listOsTypes": catalogue_lists.os_types,
    "listVirtualMachines": listings.virtual_machines,
    "listVolumes": listings.volumes,
    "listSnapshots": listings.snapshots,
    "listTags": listings.tags,
    "listNics": listings.nics,
    "listHosts": catalogue_lists.hosts,
    "listStoragePools": catalogue_lists.storage_pools,
    "listHypervisorCapabilities": catalogue_lists.hypervisor_capabilities,
    "listDomains": listings.domains,
    "listAccounts": listings.accounts,
    "listUsers": listings.users,
    "listResourceLimits": listings.resource_limits,
    "listProjects": listings.projects,
    "listVMSnapshot": vmsnapshots.listed,
}
_SYNC: dict[str, Callable[[Call], Mapping[str, Any]]] = {
    "listCapabilities": discovery.list_capabilities,
    "queryAsyncJobResult": discovery.query_job,
    "getApiLimit": discovery.api_limit,
    "deleteVolume": volumes.delete_volume,
    "updateVirtualMachine": instances.update_vm,
}
_ASYNC: dict[str, Callable[[Call], Work]] = {
    "createVolume": volumes.create_volume,
    "attachVolume": attachments.attach_volume,
    "detachVolume": attachments.detach_volume,
    "resizeVolume": volumes.resize_volume,
    "createSnapshot": snapshots.create_snapshot,
    "deleteSnapshot": snapshots.delete_snapshot,
    "deployVirtualMachine": deploy.deploy,
    "startVirtualMachine": instances.start_vm,
    "stopVirtualMachine": instances.stop_vm,
    "destroyVirtualMachine": instances.destroy_vm,
    "expungeVirtualMachine": instances.expunge_vm,
    "createTags": tags.create_tags,
    "createVMSnapshot": vmsnapshots.create,
    "deleteVMSnapshot": vmsnapshots.delete,
    "deleteTags": tags.delete_tags,
}


@dataclass(frozen=True)
class Reply:
    """`dropped` replies never reach the client: its connection breaks after `hold` seconds."""

    status: int
    body: dict[str, Any]
    hold: float = 0.0
    dropped: bool = False
    description: str | None = None
    html: bool = False


_CHECKED_BY_JOB = frozenset({"detachVolume", "createTags", "deleteTags"})
"""Whether the caller may use what these name, their job finds out."""
_IMPLEMENTED = frozenset({"listApis", *_LISTS, *_SYNC, *_ASYNC})


def handle(cloud: Cloud, sent: Mapping[str, str], method: str = "GET") -> Reply:
    """Return the answer to a request."""
    name = sent.get("command", "")
    known = commands(cloud.config.cloud_version)
    command = known.get(name)
    event: dict[str, Any] = {"at": now(), "command": name, "status": 200}
    event["params"] = {key: value for key, value in sent.items() if key.lower() not in _SECRET}
    fault, account = None, None
    try:
        account = identify(sent, cloud.accounts)
        event["account"] = account.name
        with cloud.lock:
            violations.look(cloud, sent, _IMPLEMENTED, account)
            throttle.count(cloud.windows, cloud.config, account)
        if command is None:
            raise bad_credentials()  # the real server looks for the command before it looks at the signature
        if not discovery.may_call(account, command):
            raise not_allowed(name)
        if name not in _IMPLEMENTED:
            raise ApiError(530, 9999, f"The lab's double cannot do {name}.")
        fault = faults.take(cloud, name)
        event["fault"] = fault.mode if fault else None
        if fault and fault.mode == "error":
            raise ApiError(fault.errorcode, fault.cserrorcode, fault.text)
        if fault and fault.mode == "drop-before":
            reply = Reply(0, {}, dropped=True)
        elif fault and fault.mode == "bad-gateway":
            reply = Reply(502, {}, html=True)
        else:
            call = Call(cloud, account, name, {}, fault, method)
            reply = Reply(200, {command.response_name: quirks.shaped(_execute(call, command, known, sent), fault)})
    except ApiError as refusal:
        told = account is None or account.is_admin or (fault is not None and fault.mode == "error")
        error = refusal if told else hidden(refusal)
        envelope = command.response_name if command and error.errorcode != 432 else "errorresponse"
        reply = Reply(error.errorcode, {envelope: as_answer(error)}, description=error.text)
        event |= {"errortext": error.text}
    _record(cloud, event | {"status": reply.status}, reply)
    return _with_fault(reply, command, fault)


def _execute(call: Call, command: Command, known: Mapping[str, Command], sent: Mapping[str, str]) -> Mapping[str, Any]:
    cloud, name = call.cloud, command.name
    with cloud.lock:
        checked = Call(cloud, call.account, name, parameters.check(cloud, command, sent), call.fault, call.method)
        access.check_project(checked)
        if command.is_list:
            access.check_list(checked)
        elif name not in _CHECKED_BY_JOB:
            _check_owners(checked, command)
        if name == "listApis":
            return discovery.list_apis(checked, known)
        if name in _LISTS:
            return _page(checked, *_LISTS[name](checked))
        if name in _SYNC:
            return _SYNC[name](checked)
        before = cloud.volumes.get(checked.params.get("id", ""))
        work = quirks.lagging(cloud, _ASYNC[name](checked), call.fault, before)
        job_id = jobs.submit(cloud, call.account, _java_class(call, command), work, faults.orders(call.fault))
        return {"jobid": job_id} if work.entityid is None else {"id": work.entityid, "jobid": job_id}


def _java_class(call: Call, command: Command) -> str:
    """How the job names the command; root administrators have classes of their own for those that users have, too."""
    if not call.account.is_admin or ".user." not in command.java_class:
        return command.java_class
    return command.java_class.replace(".user.", ".admin.") + "ByAdmin"


def _check_owners(call: Call, command: Command) -> None:
    """As a rule access is looked at with the parameters: a stranger is refused at once and not by a job."""
    cloud = call.cloud
    tables: dict[str, Any] = {"volume": cloud.volumes, "snapshot": cloud.snapshots, "virtualmachine": cloud.vms}
    for parameter in command.parameters:
        table = tables.get(parameter.entity or "", {})
        if command.name == "deployVirtualMachine" and parameter.name in ("volumeid", "snapshotid"):
            continue  # whose they are is asked last there
        for entity_id in items(call, parameter.name) if table else ():
            found = table.get(entity_id)
            if found:
                check_owner(call, found.account)


def _page(call: Call, key: str, rows: listings.Rows) -> Mapping[str, Any]:
    """The count is of all pages; a list without entries has neither count nor list, one past the end has no list."""
    start, size = _limits(call)
    if not rows:
        return {}
    shown = rows[start : start + size]
    return {"count": listings.matches(call, rows)} | ({key: shown} if shown else {})


def _limits(call: Call) -> tuple[int, int]:
    """Return where the page begins and how long it is. A list without pages is cut without a word."""
    page, size, most = number(call, "page"), number(call, "pagesize"), call.cloud.config.default_page_size
    if size is not None and page is None and size != ALL:
        raise bad_parameter('"page" parameter is required when "pagesize" is specified')
    if page is not None and size is None:
        raise bad_parameter('"pagesize" parameter is required when "page" is specified')
    if size is None:
        return 0, most
    if size == ALL:
        if page is not None:
            raise invalid_value("Can't specify page parameter when pagesize is -1 (Unlimited)")
        return 0, sys.maxsize
    if size > most:
        raise invalid_value(f"Page size can't exceed max allowed page size value: {most}")
    return max(0, (page or 1) - 1) * size, max(0, size)


def _record(cloud: Cloud, event: dict[str, Any], reply: Reply) -> None:
    with cloud.lock:
        cloud.calls[event["command"]] += 1
        answer: Mapping[str, Any] = next(iter(reply.body.values()), {})
        event |= {key: answer[key] for key in ("jobid", "id") if key in answer}
        cloud.events.append(event | {"n": len(cloud.events) + 1})


def _with_fault(reply: Reply, command: Command | None, fault: Fault | None) -> Reply:
    if fault is None or command is None:
        return reply
    if fault.mode == "hang-after-work":
        return Reply(reply.status, reply.body, hold=fault.seconds, dropped=True)
    if fault.mode == "slow" and not command.is_async:
        return Reply(reply.status, reply.body, hold=fault.seconds, description=reply.description)
    return reply
