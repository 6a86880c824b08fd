"""`python -m tests.lab.cloudstack`: one management server, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from . import accounts
from .model import Config
from .server import API_PATH, Server
from .world import build


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.cloudstack", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 takes a free one")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="volumes, snapshots and devices")
    parser.add_argument("--keys", required=True, type=Path, metavar="FILE", help="accounts with their API keys")
    parser.add_argument("--no-volumeid", action="store_true", help="a cloud before 4.21: deploy from templates only")
    parser.add_argument("--no-kvm-snapshot", action="store_true", help="no snapshots of a running machine's volumes")
    parser.add_argument("--pool-scope", choices=("ZONE", "CLUSTER"), default="ZONE", help="of the primary storage")
    parser.add_argument("--attach-delay", type=float, default=0.0, metavar="S", help="disks appear so much later")
    parser.add_argument("--job-seconds", type=float, default=0.1, metavar="S", help="how long a job takes")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    config = Config(
        state=options.state.absolute(),
        volumeid=not options.no_volumeid,
        attach_delay=options.attach_delay,
        job_seconds=options.job_seconds,
        kvm_snapshot_enabled=not options.no_kvm_snapshot,
        pool_scope=options.pool_scope,
    )
    host, _, port = options.listen.rpartition(":")
    with Server((host, int(port)), build(config, accounts.load(options.keys))) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, so it must be called from another one.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
        address = f"http://{host}:{server.server_address[1]}{API_PATH}"
        print(json.dumps({"url": address, "pid": os.getpid()}), flush=True)
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
