"""listApis, listCapabilities and queryAsyncJobResult: how a client finds out what the cloud can do and has done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import access, answers, catalogue, texts, throttle
from .call import Call, need, text
from .errors import ApiError, permission_denied
from .model import Account
from .reference import ROLES, Command, Parameter


def may_call(account: Account, command: Command) -> bool:
    return command.name not in account.deny and ROLES[account.accounttype] in command.roles


def list_apis(call: Call, commands: Mapping[str, Command]) -> Mapping[str, Any]:
    allowed = [command for command in commands.values() if may_call(call.account, command)]
    if name := text(call, "name"):
        allowed = [command for command in allowed if command.name == name]
        if not allowed:
            raise ApiError(530, 9999, f"There is no command {name} for this account.")
    return {"count": len(allowed), "api": [_api(command) for command in allowed]}


def _api(command: Command) -> dict[str, Any]:
    return {
        "name": command.name,
        "description": f"The command {command.name}",
        "isasync": command.is_async,
        "related": "",
        "params": [_parameter(parameter) for parameter in command.parameters],
        "response": [{"name": name, "description": name, "type": "string"} for name in command.response],
    } | ({} if command.since is None else {"since": command.since})


def _parameter(parameter: Parameter) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": parameter.name,
        "description": f"The parameter {parameter.name}",
        "type": parameter.type,
        "length": 255,
        "required": parameter.required,
    }
    return row if parameter.since is None else row | {"since": parameter.since}


def list_capabilities(call: Call) -> Mapping[str, Any]:
    """Switches of this cloud, as they are for the caller."""
    config, is_admin = call.cloud.config, call.account.is_admin
    capability = {
        "additionalconfigenabled": False, "allowusercreateprojects": True,
        "allowuserexpungerecovervm": is_admin or config.allow_user_expunge,
        "allowuserexpungerecovervolume": True, "allowuserforcestopvm": True,
        "allowuserviewalldomainaccounts": False,
        "allowuserviewdestroyedvm": is_admin or config.allow_user_view_destroyed,
        "cloudstackversion": config.cloud_version, "customdiskofferingmaxsize": config.custom_disk_max,
        "customdiskofferingminsize": config.custom_disk_min,
        "customhypervisordisplayname": "Custom", "defaultuipagesize": 20, "dynamicrolesenabled": True,
        "dynamicscalingenabled": False, "instanceleaseenabled": False, "instancesdisksstatsretentionenabled": False,
        "instancesdisksstatsretentiontime": 720, "instancesstatsretentiontime": 720, "instancesstatsuseronly": False,
        "kubernetesclusterexperimentalfeaturesenabled": False, "kubernetesserviceenabled": True,
        "kvmsnapshotenabled": config.kvm_snapshot, "projectinviterequired": False, "regionsecondaryenabled": False,
        "securitygroupsenabled": any(row["securitygroupsenabled"] for row in catalogue.rows("zone")),
        "sharedfsvmmincpucount": 2, "sharedfsvmminramsize": 1024, "supportELB": "false",
        "userpublictemplateenabled": True,
    }  # fmt: skip
    if config.throttle_calls > 0:
        capability |= {"apilimitmax": config.throttle_calls, "apilimitinterval": int(config.throttle_seconds)}
    if is_admin:
        capability |= {"extensionspath": "/usr/share/cloudstack-management/extensions"}
    return {"capability": capability}


def api_limit(call: Call) -> Mapping[str, Any]:
    """Say how many calls the account has left, this one counted."""
    config, caller = call.cloud.config, call.account
    window = throttle.current(call.cloud.windows, config, caller)
    limit = {
        "accountid": caller.id, "account": caller.name, "apiIssued": window.calls,
        "apiAllowed": max(0, config.throttle_calls - window.calls), "expireAfter": throttle.left(window, config),
    }  # fmt: skip
    return {"apilimit": limit}


def query_job(call: Call) -> Mapping[str, Any]:
    job, caller = call.cloud.jobs[need(call, "jobid")], call.account
    if caller.is_domain_admin:
        access.check_owner(call, job.account)
    elif not caller.is_admin and caller.name != job.account:  # not even another member of the project
        raise permission_denied(f"Account {texts.account(caller)} is not authorized to see job id=1")
    row = answers.job(call.cloud, job)
    if caller.is_admin and "volume" in row.get("jobresult", {}):  # who asks decides what of a result is shown
        row["jobresult"] = {"volume": row["jobresult"]["volume"] | {"displayvolume": True}}
    return row
