"""Asks the OMA whether it takes us, by a connection of its own beside the local end, and says why not."""

from __future__ import annotations

import threading
import time

from migratekit_core.adapters.tunnel import SEEN_FILE, SERVICES, kinds
from migratekit_core.adapters.tunnel.kinds.kind import Seen
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OmaUnreachableError
from migratekit_core.config.folders import runtime_dir
from migratekit_core.config.schema import Tunnel

LOOK_AGAIN_SECONDS = 86_400


def probe(tunnel: Tunnel, service: str = SERVICES[0]) -> Seen:
    """Ask the OMA on behalf of a service, as far as its kind of tunnel can see."""
    return kinds.of(tunnel).probe(tunnel, service)


def look_now_and_then(tunnel: Tunnel) -> None:
    """Look at the OMA's certificate once a day, beside whatever the command does: cron's commands warn, too."""
    if not kinds.of(tunnel).certificates(tunnel):
        return
    try:
        fresh = time.time() - (runtime_dir(tunnel) / SEEN_FILE).stat().st_mtime < LOOK_AGAIN_SECONDS
    except OSError:
        fresh = False
    if not fresh:
        threading.Thread(target=probe, args=(tunnel,), daemon=True).start()


def blamed(tunnel: Tunnel, error: OmaUnreachableError) -> MigrateKitError:
    """Return the error with the tunnel's own reason in it, where the tunnel is why a service does not answer."""
    problem = probe(tunnel).problem
    if problem is None or problem.code is ErrorCode.CONNECTION_CLOSED:
        return error
    return type(problem)(error.what, str(problem), problem.todo, code=problem.code, facts=problem.facts)
