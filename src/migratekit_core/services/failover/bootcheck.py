"""Finds out whether a new machine has come up, from outside, as far as CloudStack and the network can tell.

CloudStack knows of a machine that it is Running and which address it has, not what its guest does: no call gives a
console's text. So the operator says what else must answer: nothing (`state`), a `ping`, or a TCP port.
"""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.common import programs
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.context import Runtime
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover.record import TEST, Record

POLL_SECONDS = 1.0
ANSWER_SECONDS = 3.0
"""How long one try waits for an answer."""
HANG_UP_SECONDS = 0.5
"""A connection that is closed within this time was taken by something in between, for a service that is not there."""
MOST_GREETING = 512
LOOK = "it was left as it is: look at its console in CloudStack"


@dataclass(frozen=True)
class Check:
    """What must answer."""

    kind: str
    """`state`, `ping` or `tcp`."""
    port: int = 0
    greeting: str = ""
    """How what the service says must begin; "" where it may be silent."""

    def __str__(self) -> str:
        if self.kind != "tcp":
            return self.kind
        return f"tcp:{self.port}/{self.greeting}" if self.greeting else f"tcp:{self.port}"


@dataclass(frozen=True)
class Booted:
    """What was found out; time in seconds, from when the check began."""

    state: str
    addresses: tuple[str, ...]
    check: str
    seconds: float


def parse(text: str) -> Check:
    """Return the check that a setting names: `state`, `ping`, `tcp:PORT` or `tcp:PORT/GREETING`."""
    kind, _, rest = text.partition(":")
    port, _, greeting = rest.partition("/")
    return Check(kind, int(port) if port else 0, greeting)


def after(cloud: Cloud, runtime: Runtime, step: Step, record: Record, vm_id: str) -> Booted:
    """Check the machine that a failover, or a rehearsal, has started, as the configuration says."""
    settings = runtime.config.failover
    check = settings.test_boot_check if record.row().job_type == TEST else settings.boot_check
    return wait(cloud, step, vm_id, parse(check), settings.boot_timeout)


def wait(cloud: Cloud, step: Step, vm_id: str, check: Check, timeout: float) -> Booted:
    """Wait until a machine is Running and answers.

    Raises OperationFailedError at once where the machine stops or is gone, else after `timeout` seconds; CancelledError
    where the job is asked to stop. The machine is left as it is; what to run then is for the caller to add.
    """
    began = time.monotonic()
    deadline = began + timeout
    seen_running, last = False, "not asked yet"
    while True:
        vm = compute.find(cloud, vm_id=vm_id)
        state = str(vm.get("state")) if vm is not None else "gone"
        name = str((vm or {}).get("name") or vm_id)
        if vm is not None and state == "Running":
            if not seen_running:
                step.log(
                    EventKind.MACHINE_RUNS, vm_id=vm_id, state=state, addresses=list(addresses(vm)), check=str(check)
                )
            seen_running = True
            last = _ask(check, vm)
            if not last:
                seconds = round(time.monotonic() - began, 1)
                step.log(EventKind.MACHINE_UP, vm_id=vm_id, check=str(check), seconds=seconds)
                return Booted(state, addresses(vm), str(check), seconds)
        if state in ("gone", "Error") or (seen_running and state in ("Stopped", "Destroyed")):
            why = f"its state is {state}{', after it was Running' if seen_running else ''}"
            raise _failed(step, name, vm_id, check, why)
        if time.monotonic() > deadline:
            why = last if seen_running else f"its state is {state}"
            raise _failed(step, name, vm_id, check, f"after {timeout:.0f} s: {why}")
        step.job.stop_if_cancelled()
        time.sleep(POLL_SECONDS)


def addresses(vm: dict[str, Any]) -> tuple[str, ...]:
    """Return the IP addresses that CloudStack knows of a machine, its default card's first."""
    nics = sorted(vm.get("nic") or [], key=lambda nic: not nic.get("isdefault"))
    return tuple(str(nic["ipaddress"]) for nic in nics if _is_address(nic.get("ipaddress")))


def _is_address(text: object) -> bool:
    """Return whether a text is an IP address: it becomes a word of a command."""
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def _ask(check: Check, vm: dict[str, Any]) -> str:
    """Return "" where what must answer did, else why it counts as not there."""
    if check.kind == "state":
        return ""
    known = addresses(vm)
    if not known:
        return "CloudStack knows no IP address of it, so it cannot be asked"
    reasons = [_ping(address) if check.kind == "ping" else _tcp(check, address) for address in known]
    return "" if "" in reasons else "; ".join(reasons)


def _ping(address: str) -> str:
    program = programs.find("ping", "iputils-ping")
    command = [program, "-n", "-q", "-c", "1", "-W", f"{ANSWER_SECONDS:.0f}", address]
    done = subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS * 3, check=False)
    return "" if done.returncode == 0 else f"{address} does not answer a ping"


def _tcp(check: Check, address: str) -> str:
    where = f"{address} port {check.port}"
    try:
        with socket.create_connection((address, check.port), ANSWER_SECONDS) as connection:
            said = _listen(connection, len(check.greeting.encode()))
    except OSError as error:
        return f"{where}: {error.strerror or 'no answer'}"
    if check.greeting:
        wanted = check.greeting.encode()
        return "" if said is not None and said.startswith(wanted) else f"{where}: {_quoted(said)}"
    return f"{where}: accepts and hangs up" if said == b"" else ""


def _listen(connection: socket.socket, wanted: int) -> bytes | None:
    """Return what the other side says first; b"" where it hangs up, None where it is silent."""
    connection.settimeout(ANSWER_SECONDS if wanted else HANG_UP_SECONDS)
    said = b""
    try:
        while len(said) < min(max(wanted, 1), MOST_GREETING):
            part = connection.recv(MOST_GREETING)
            if not part:
                break
            said += part
    except TimeoutError:
        return said or None
    return said


def _quoted(said: bytes | None) -> str:
    if said is None:
        return "accepts and says nothing"
    if not said:
        return "accepts and hangs up"
    return f"says {said[:40].decode('ascii', 'replace')!r}"


def _failed(step: Step, name: str, vm_id: str, check: Check, why: str) -> OperationFailedError:
    step.log(EventKind.MACHINE_NOT_UP, level="error", vm_id=vm_id, check=str(check), reason=why)
    what = f"{name} was started but did not come up" if check.kind != "state" else f"{name} does not run"
    return OperationFailedError(
        what, f"{why} (boot check: {check})", LOOK, code=ErrorCode.BOOT_CHECK_FAILED, facts={"check": str(check)}
    )
