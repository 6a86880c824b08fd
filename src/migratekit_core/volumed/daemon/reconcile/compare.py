"""Where the four sides disagree about a volume, and whether that can be put right without losing anything.

Nothing is lost by making a row say what CloudStack and Linux say, by serving an export again that its row promises, or
by taking back one that nobody is connected to and that leads nowhere. All else is an operator's decision: CloudStack is
never told to attach or detach something because a comparison said so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.models.volumes import DeviceMapping
from migratekit_core.volumed.daemon.reconcile.look import Seen
from migratekit_core.volumed.daemon.records import ABSENT, ATTACHED, DETACHED, ELSEWHERE
from migratekit_core.volumed.devices import same_serial
from migratekit_core.volumed.names import EXPORT

ROW, EXPORT_LOST, EXPORT_STALE, EXPORT_ROW, EXPORT_ASTRAY = (
    "row",
    "export-lost",
    "export-stale",
    "export-row",
    "export-astray",
)
NO_DEVICE, HELD, ELSEWHERE_AND_HERE, SIZE, STRAY = "no-device", "held", "elsewhere-and-here", "size", "export-unknown"
SAME_SERIAL = "same-serial"
KINDS = (
    ROW,
    EXPORT_LOST,
    EXPORT_STALE,
    EXPORT_ROW,
    EXPORT_ASTRAY,
    NO_DEVICE,
    HELD,
    ELSEWHERE_AND_HERE,
    SIZE,
    STRAY,
    SAME_SERIAL,
)


@dataclass(frozen=True)
class Drift:
    """One disagreement."""

    volume_id: str | None
    """None for an export that belongs to no volume that we know."""
    name: str
    """The volume's in CloudStack, or the export's."""
    kind: str
    what: str
    why: str
    todo: Hint | str
    """For an operator; where it is repaired, what the repair is."""
    safe: bool
    """Whether it can be repaired without losing anything."""

    @property
    def fields(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "todo": str(self.todo), "hint": hint(self.todo).fields()}


@dataclass(frozen=True)
class Place:
    """What the row of a volume should say."""

    vm_id: str
    cloudstack: str
    linux: str
    path: str | None
    size: int


def true_place(seen: Seen) -> Place | None:
    """Return what the volume's row should say; None: it should have none."""
    volume, device = seen.volume, seen.device
    path = str(device.path) if device else None
    if volume is None or volume.vm_id is None:
        # Nobody's any more; as long as Linux holds its device, the row remembers whose it was.
        if device is None:
            return None
        holder = seen.mapping.vm_id if seen.mapping else seen.oma_vm_id
        return Place(holder, DETACHED, ATTACHED, path, device.size)
    here = volume.vm_id == seen.oma_vm_id
    linux = ATTACHED if device else ABSENT if here else ELSEWHERE
    return Place(volume.vm_id, ATTACHED, linux, path, device.size if device and here else volume.size)


def drifts(seen: Seen) -> list[Drift]:
    """Return every disagreement about a volume; none where all is well."""
    if seen.rivals:
        # Until it is known which device is the volume's, nothing else can be said, and nothing is put right.
        error = same_serial(seen.volume_id, seen.rivals)
        return [_drift(seen, SAME_SERIAL, error.what, error.why, error.todo)]
    return [*_between_cloudstack_and_linux(seen), *_of_the_export(seen), *_of_the_row(seen)]


def stray(name: str, clients: int) -> Drift:
    """Return the drift of an export that no row knows."""
    if clients:
        todo = "find out who writes there (ss -tnp), end it; then it is taken back"
        return Drift(None, name, STRAY, f"export {name} belongs to no volume", f"{clients} connections", todo, False)
    return Drift(None, name, STRAY, f"export {name} belongs to no volume", "no row knows it", "it is taken back", True)


def served_here(seen: Seen) -> bool:
    """Return whether the volume is where an export of it makes sense: attached to the OMA, with its own device."""
    return (
        seen.volume is not None
        and seen.volume.vm_id == seen.oma_vm_id
        and seen.device is not None
        and seen.device.size == seen.volume.size
    )


def name_of(seen: Seen) -> str:
    """Return the volume's name; of one that is gone its id."""
    return seen.volume.name if seen.volume else seen.volume_id


def _drift(seen: Seen, kind: str, what: str, why: str, todo: Hint | str, *, safe: bool = False) -> Drift:
    return Drift(seen.volume_id, name_of(seen), kind, what, why, todo, safe)


def _between_cloudstack_and_linux(seen: Seen) -> list[Drift]:
    volume, device, name = seen.volume, seen.device, name_of(seen)
    if volume is None or volume.vm_id is None:
        if device is None:
            return []
        told = "detached" if volume else "deleted"
        return [
            _drift(
                seen,
                HELD,
                f"volume {name} is {told} but Linux still has its device",
                f"{device.path} is there; CloudStack has it {told}",
                "find who holds the device open (lsof) on the OMA, end it; do not write to it",
            )
        ]
    if volume.vm_id != seen.oma_vm_id:
        if device is None:
            return []
        return [
            _drift(
                seen,
                ELSEWHERE_AND_HERE,
                f"volume {name} is attached elsewhere, and Linux has its device here",
                f"CloudStack has it at virtual machine {volume.vm_id}; {device.path} is here",
                "two machines may write to it: stop what uses it here, and detach it in CloudStack from one of them",
            )
        ]
    if device is None:
        return [
            _drift(
                seen,
                NO_DEVICE,
                f"volume {name} is attached but Linux does not see it",
                f"CloudStack has it on the OMA as device {volume.device_id}; there is no disk with its serial",
                hint(
                    "look at dmesg on the OMA, then: ",
                    migratekit("volumes", "attach", seen.volume_id),
                    " (it is attached anew)",
                ),
            )
        ]
    if device.size != volume.size:
        return [
            _drift(
                seen,
                SIZE,
                f"device {device.path} has another size than volume {name}",
                f"it has {device.size} bytes, CloudStack says {volume.size}",
                "it was resized while attached, or two volumes share a serial: detach it and attach it again",
            )
        ]
    return []


def _of_the_row(seen: Seen) -> list[Drift]:
    wanted, row = true_place(seen), seen.mapping
    if _place(row) == wanted:
        return []
    says = _told(found) if (found := _place(row)) else "nothing"
    true = _told(wanted) if wanted else "attached nowhere"
    # An export hangs on the row; as long as that cannot be taken back, the row stays.
    safe = wanted is not None or seen.export is None or not seen.clients()
    return [
        _drift(
            seen,
            ROW,
            f"the row of volume {name_of(seen)} is out of date",
            f"it says {says}; CloudStack and Linux say {true}",
            "the row is corrected" if safe else "take its export back first; then the row is corrected",
            safe=safe,
        )
    ]


def _place(row: DeviceMapping | None) -> Place | None:
    if row is None:
        return None
    return Place(row.vm_id, row.cloudstack_state, row.linux_state, row.device_path, row.size)


def _told(place: Place) -> str:
    return f"{place.cloudstack}/{place.linux} at {place.path or place.vm_id}, {place.size} bytes"


def _of_the_export(seen: Seen) -> list[Drift]:
    row = seen.export
    if row is None:
        return []
    if not EXPORT.fullmatch(row.export_name):
        # No name that we can have made: nothing was ever served under it, and no file is looked for.
        return [_stale(seen, "of its row", "the row's name is none that MigrateKit gives")]
    if seen.refused:
        return [_stale(seen, row.export_name, f"its volume is left alone: {seen.refused}")]
    if not served_here(seen):
        # Still attached here, by CloudStack: the device may come back, and the copy with it.
        if seen.volume is not None and seen.volume.vm_id == seen.oma_vm_id:
            return []
        return [_stale(seen, row.export_name, "the volume is not attached to the OMA")]
    assert seen.device is not None, "it is served here"
    if row.status != "active":
        return [_stale(seen, row.export_name, f"it was never finished: its row says {row.status}")]
    if not seen.given and seen.target != seen.device.link and seen.target not in seen.device.names:
        # The row alone says so: somebody wrote it.
        return [_stale(seen, row.export_name, "the daemon gave this volume no such name")]
    if seen.target is None:
        what, why = f"export {row.export_name} is not served", "its row says that it is; the exporter has no such name"
        return [_drift(seen, EXPORT_LOST, what, why, "it is served again", safe=True)]
    if seen.target not in (seen.device.link, *seen.device.names):
        what, why = f"export {row.export_name} leads to another device", f"{seen.target}, not {seen.device.link}"
        if seen.clients():
            todo = "stop the copy at once: it may write to a wrong disk; then the export is put right"
            return [_drift(seen, EXPORT_ASTRAY, what, why, todo)]
        return [_drift(seen, EXPORT_ASTRAY, what, why, "it is led to the volume's own", safe=True)]
    if (row.device_path, row.port) != (str(seen.device.path), seen.port):
        what = f"the row of export {row.export_name} is out of date"
        why = f"it says {row.device_path}, port {row.port}; it is {seen.device.path}, port {seen.port}"
        return [_drift(seen, EXPORT_ROW, what, why, "the row is corrected", safe=True)]
    return []


def _stale(seen: Seen, name: str, why: str) -> Drift:
    what = f"export {name} is of no use"
    todo = hint("stop the copy, then: ", migratekit("volumes", "unexport", seen.volume_id))
    if clients := seen.clients():
        return _drift(seen, EXPORT_STALE, what, f"{why}; {clients} connections are open", todo)
    if seen.device is not None and not served_here(seen):
        # Somebody may be writing there, through this export or not: an operator decides.
        return _drift(seen, EXPORT_STALE, what, f"{why}; Linux still has {seen.device.path}", todo)
    return _drift(seen, EXPORT_STALE, what, why, "it is taken back", safe=True)
