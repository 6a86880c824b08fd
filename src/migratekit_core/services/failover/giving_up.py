"""What a failover does when something fails, or somebody cancels: before the point of no return everything is given
back; after it nothing is, and the error says both ways on."""

from __future__ import annotations

from migratekit_core.adapters.vsphere import client, power
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    BusyError,
    CancelledError,
    MigrateKitError,
    OperationFailedError,
)
from migratekit_core.common.hints import Hint, hint, joined, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.joblog import Job
from migratekit_core.joblog.tracker import describe
from migratekit_core.services.failover.record import FAILED, ROLLED_BACK, made_ahead
from migratekit_core.services.failover.rollback import STARTED, Way, go_back


def half_way(error: MigrateKitError, vm: VirtualMachine) -> None:
    """Add to an error that keeps a killed failover from going on what there is to do about its source."""
    _add(
        error,
        hint(
            f"the source {vm.name} was shut down by a failover that did not end: go on with: ",
            migratekit("failover", vm.name),
            "; or back with: ",
            migratekit("rollback", vm.name),
        ),
    )


def after(error: BaseException, way: Way, job: Job) -> MigrateKitError:
    """Give everything back where that loses nothing; return the error to tell, with what to do now."""
    told = _as_ours(error, way.vm)
    early = False
    try:
        if isinstance(error, BusyError) and _lock_lost(way):
            # Whoever holds the machine now decides what becomes of it.
            return told
        way.record.end(FAILED, redact(describe(error)))
        state = way.record.state()
        if state.get("start_intent"):
            _add(told, _both_ways(way))
            return told
        early = not state.get("shutdown_intent") and not way.record.committed()
        if early and isinstance(told, CancelledError):
            told = _before_the_shutdown(told, way.vm)
        if early and not made_ahead(way.record.row(), state):
            way.record.end(ROLLED_BACK, redact(describe(error)))
        else:
            way.runtime.observer.note(
                "taking away what was made for it; the source was not shut down"
                if early
                else "giving everything back: the source is started again"
            )
            with way.runtime.tracker.job("rollback", owner=way.vm.name, parent=job) as inner:
                done = go_back(way, inner, at_once=True)
            way.record.end(ROLLED_BACK, redact(describe(error)))
            if not early:
                with way.runtime.undoing(job):
                    _add(told, _given_back(way, done.source == STARTED))
        if early and not isinstance(told, CancelledError):
            _add(told, f"the source {way.vm.name} was not shut down, and nothing is left of the failover")
    except (Exception, KeyboardInterrupt) as second:
        # Whatever it is: the source may be off, and whoever reads this has to know what to run.
        what = "taking away what was made for it" if early else "giving everything back"
        _add(
            told,
            hint(f"{what} failed, too ({_text(second)}); run: ", migratekit("rollback", way.vm.name)),
        )
    finally:
        way.volumes.close()
    return told


def _as_ours(error: BaseException, vm: VirtualMachine) -> MigrateKitError:
    if isinstance(error, KeyboardInterrupt | CancelledError):
        why = error.why if isinstance(error, CancelledError) else "it was asked to stop"
        return CancelledError(
            f"the failover of {vm.name} was cancelled", why, "", code=ErrorCode.CANCELLED, facts={"vm": vm.name}
        )
    try:
        with client.faults(vm.name):
            raise error
    except MigrateKitError as ours:
        return ours
    except BaseException as unknown:
        why = redact(describe(unknown))
    return OperationFailedError(
        f"the failover of {vm.name} failed unexpectedly",
        why,
        "report this, with --debug",
        code=ErrorCode.UNEXPECTED,
        facts={"vm": vm.name},
    )


def _before_the_shutdown(error: CancelledError, vm: VirtualMachine) -> CancelledError:
    return CancelledError(
        error.what,
        f"{error.why}; before its source was shut down: it runs, and its replica is kept",
        hint("cut it over later: ", migratekit("failover", vm.name)),
        code=ErrorCode.CANCELLED,
        facts={"vm": vm.name},
    )


def _lock_lost(way: Way) -> bool:
    try:
        way.lock.ensure()
    except MigrateKitError:
        return True
    return False


def _both_ways(way: Way) -> Hint:
    name, vm_id = way.vm.name, way.record.row().destination_vm_id
    return hint(
        f"the point of no return is passed: the source is off and its new machine {vm_id} may run; go on with: ",
        migratekit("failover", name),
        "; or back, without what that one wrote: ",
        migratekit("rollback", name),
    )


def _given_back(way: Way, started: bool) -> Hint | str:
    name = way.vm.name
    if started:
        return f"everything was given back and the source {name} runs again"
    if power.is_off(way.managed):
        return f"everything was given back; the source {name} is off, as before"
    return hint(
        f"the source {name} still runs; its guest was asked to shut down and may yet do so: if it does, run: ",
        migratekit("failover", name),
        ", or power it on in vCenter",
    )


def _add(error: MigrateKitError, text: Hint | str) -> None:
    error.todo = joined("; ", (error.todo, text))


def _text(error: BaseException) -> str:
    return "it was interrupted" if isinstance(error, KeyboardInterrupt) else redact(describe(error))
