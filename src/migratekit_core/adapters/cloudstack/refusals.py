"""What CloudStack's refusals mean: the one table of its texts.

The first row that fits decides. Each row's sample is its test: the name of a recorded answer
(tests/data/cloudstack-4.22) or, where none was recorded, the text from CloudStack's source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from migratekit_core.common.codes import ErrorCode

CREDENTIALS, PARAMETER, ROLE, THROTTLED = 401, 431, 432, 429
INTERNAL, ACCOUNT, CAPACITY, LIMIT = 530, 531, 533, 535
"""CloudStack's error numbers (org.apache.cloudstack.api.ApiErrorCode)."""
NO_EXCEPTION = 9999
"""cserrorcode that stands for "no exception in particular"."""


@dataclass(frozen=True)
class Sample:
    """Where a row is known from: the name of a recorded answer, or a text of CloudStack's source."""

    recorded: str = ""
    unrecorded: str = ""
    source: str = ""
    """File and version of an unrecorded text."""


@dataclass(frozen=True)
class Row:
    """A kind of refusal. What is None, or empty, fits all."""

    code: ErrorCode
    sample: Sample
    status: int | None = None
    pattern: str = ""
    """A regular expression that is searched for in the text, without regard to case."""
    command: str = ""
    """A regular expression that the whole name of the command matches."""
    in_job: bool | None = None
    """Only in a job's result, or only in the answer to the call itself."""


def _recorded(name: str) -> Sample:
    return Sample(recorded=name)


_VOLUMES = "server/src/main/java/com/cloud/storage/VolumeApiServiceImpl.java"
_BACKUPS = f"{_VOLUMES}, 4.19 to 4.22"

ROWS: tuple[Row, ...] = (
    Row(ErrorCode.BAD_CREDENTIALS, _recorded("wrong_signature"), CREDENTIALS),
    Row(ErrorCode.THROTTLED, _recorded("createVolume.throttled"), THROTTLED),
    # In a job's result 432 is not about roles (resizeVolume out of range).
    Row(ErrorCode.NOT_ALLOWED, _recorded("listHosts.not_allowed"), ROLE, in_job=False),
    Row(ErrorCode.QUOTA, _recorded("createVolume.quota"), LIMIT),
    Row(ErrorCode.NO_CAPACITY, _recorded("startVirtualMachine.template_of_other_hypervisor"), CAPACITY),
    Row(
        ErrorCode.DIFFERENT_ACCOUNTS,
        _recorded("attachVolume.admin.across_accounts"),
        pattern=r"belong to different accounts",
    ),
    Row(
        ErrorCode.NOT_PERMITTED,
        _recorded("detachVolume.user.volume_of_another_account"),
        pattern=r"does not have permission to operate|is not authorized to see job",
    ),
    Row(ErrorCode.NOT_PERMITTED, _recorded("createVolume.offering_of_other_domain"), ACCOUNT),
    Row(
        ErrorCode.EXPUNGE_NOT_ALLOWED,
        _recorded("destroyVirtualMachine.expunge_refused"),
        INTERNAL,
        r"does not have permission for expunging",
    ),
    Row(
        ErrorCode.HIDDEN,
        _recorded("deleteVolume.during_attach"),
        INTERNAL,
        r"Internal error executing command, please contact your system administrator",
    ),
    Row(
        ErrorCode.PAGE_TOO_LARGE,
        _recorded("listVolumes.pagesize_501"),
        PARAMETER,
        r"Page size can't exceed max allowed page size value: \d+",
    ),
    Row(
        ErrorCode.GONE,
        _recorded("listVolumes.unknown_id"),
        PARAMETER,
        r"Invalid parameter \w+ value=\S* due to incorrect long value format, or entity does not exist",
    ),
    Row(ErrorCode.GONE, _recorded("deleteVolume.deleted"), PARAMETER, r"Unable to find UUID for id"),
    Row(ErrorCode.GONE, _recorded("createTags.unknown_resource"), PARAMETER, r"Unable to find resource by uuid"),
    Row(ErrorCode.GONE, _recorded("attachVolume.destroyed"), PARAMETER, r"specify a volume that is not destroyed"),
    Row(ErrorCode.GONE, _recorded("deleteSnapshot.again"), PARAMETER, r"is already destroyed", "deleteSnapshot"),
    Row(
        ErrorCode.VM_FULL,
        _recorded("attachVolume.full"),
        PARAMETER,
        r"already has the maximum number of data disks",
        "attachVolume",
    ),
    Row(
        ErrorCode.VM_FULL,
        Sample(
            unrecorded="Failed to attach volume mk-1 to VM oma01; org.libvirt.LibvirtException: internal error: "
            "No more available PCI slots",
            source="apache/cloudstack issue 11212, 4.20.1: KVMStorageProcessor's log; it becomes the answer's details",
        ),
        INTERNAL,
        r"No more available PCI slots",
        "attachVolume",
    ),
    Row(
        ErrorCode.VM_FULL,
        Sample(
            unrecorded="All device Ids are used by vm i-2-3-VM",
            source=f"{_VOLUMES}, getDeviceId, 4.19 to 4.22: more attaches at once than there is room for",
        ),
        INTERNAL,
        r"All device Ids are used by vm",
        "attachVolume",
    ),
    Row(
        ErrorCode.VM_HAS_SNAPSHOTS,
        _recorded("attachVolume.vm_has_snapshot"),
        PARAMETER,
        r"specify a VM that does not have VM snapshots",
    ),
    Row(
        ErrorCode.VM_HAS_BACKUP_OFFERING,
        Sample(
            unrecorded="Unable to attach volume, please specify a VM that does not have any backups or set the "
            "global configuration 'backup.enable.attach.detach.of.volumes' to true.",
            source=_BACKUPS,
        ),
        PARAMETER,
        r"specify a VM that does not have any backups",
    ),
    Row(
        ErrorCode.VM_HAS_BACKUP_OFFERING,
        Sample(
            unrecorded="Unable to detach volume, cannot detach volume from a VM that has backups. First remove the VM "
            "from the backup offering or set the global configuration "
            "'backup.enable.attach.detach.of.volumes' to true.",
            source=_BACKUPS,
        ),
        PARAMETER,
        r"cannot detach volume from a VM that has backups",
    ),
    Row(
        ErrorCode.ATTACHED_ELSEWHERE,
        _recorded("attachVolume.already_attached_elsewhere"),
        PARAMETER,
        r"specify a volume that is not attached to any VM",
    ),
    Row(
        ErrorCode.ATTACHED_ELSEWHERE,
        _recorded("attachVolume.same_volume_twice_at_once.2"),
        INTERNAL,
        r"This volume is already attached to a VM",
    ),
    Row(
        ErrorCode.NOT_ATTACHED,
        _recorded("detachVolume.again"),
        PARAMETER,
        r"specified volume is not attached to a VM",
        "detachVolume",
    ),
    Row(
        # One that was never attached stays Allocated, however long one waits.
        ErrorCode.NEVER_ATTACHED,
        _recorded("createSnapshot.never_attached"),
        PARAMETER,
        r"is not in Ready state but Allocated",
        "createSnapshot",
    ),
    Row(
        ErrorCode.WRONG_STATE,
        _recorded("createSnapshot.during_attach"),
        PARAMETER,
        r"is not in Ready state but \w+",
        "createSnapshot",
    ),
    Row(
        ErrorCode.WRONG_STATE,
        _recorded("attachVolume.during_migration"),
        PARAMETER,
        r"Volume state must be in Allocated, Ready or in Uploaded state",
        "attachVolume",
    ),
    Row(
        ErrorCode.WRONG_STATE,
        _recorded("deleteVolume.during_backup"),
        PARAMETER,
        r"There are snapshot operations in progress on the volume",
    ),
    Row(
        ErrorCode.WRONG_STATE,
        _recorded("startVirtualMachine.with_stop_at_once"),
        PARAMETER,
        r"is already running",
        "startVirtualMachine",
    ),
    Row(
        ErrorCode.NAME_TAKEN,
        _recorded("deployVirtualMachine.same_name"),
        PARAMETER,
        r"The vm with hostName \S+ already exists in the network domain",
    ),
    Row(
        ErrorCode.ADDRESS_REFUSED,
        _recorded("deployVirtualMachine.mac.duplicate_same_network"),
        PARAMETER,
        r"The requested Mac address is already taken",
    ),
    Row(
        ErrorCode.ADDRESS_REFUSED,
        _recorded("deployVirtualMachine.iptonetworklist.taken.as_admin"),
        INTERNAL,
        r"Unable to acquire Guest IP address for network",
    ),
)


def classify(command: str, status: int, text: str, *, in_job: bool = False) -> ErrorCode:
    """Return what a refusal means; `unknown` for one that no row fits.

    `status` is CloudStack's errorcode, of the answer or of a job's result (`in_job`).
    """
    for row in ROWS:
        if row.status not in (None, status) or row.in_job not in (None, in_job):
            continue
        if row.command and not re.fullmatch(row.command, command):
            continue
        if row.pattern and not re.search(row.pattern, text, re.IGNORECASE):
            continue
        return row.code
    return ErrorCode.UNKNOWN


def whose_limit(text: str) -> str:
    """Return which limit a text of error 535 names, such as "the account's limit of volumes"."""
    kind = re.search(r"of Type\s*=?\s*'(\w+)'", text)
    what = f" of {kind[1]}" if kind else ""
    for owner, pattern in (
        ("the domain's", r"domain resource limits"),
        ("the project's", r"for Project Name"),
        ("the account's", r"for Account Name"),
    ):
        if re.search(pattern, text):
            return f"{owner} limit{what}"
    return f"a limit{what}"


def retry_after(text: str) -> float | None:
    """Return how many seconds a refusal of too many calls says to wait: "please retry after [13825] ms."."""
    found = re.search(r"retry after \[(\d{1,9})\] ms", text)
    return int(found[1]) / 1000 if found else None


def page_size(text: str) -> int | None:
    """Return the largest page that a refusal of a larger one names; None where it names none, or none of use."""
    found = re.search(r"max allowed page size value: (\d{1,9})\b", text)
    return int(found[1]) if found and int(found[1]) > 0 else None


def disk_limit(text: str) -> int | None:
    """Return how many data disks a virtual machine takes, where a refusal of one more says so."""
    found = re.search(r"maximum number of data disks \((\d{1,4})\)", text)
    return int(found[1]) if found and int(found[1]) > 0 else None


def number(value: Any, default: int) -> int:
    """Return a number that may have come as text, or not at all."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return default
