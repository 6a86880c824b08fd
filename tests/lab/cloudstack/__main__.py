"""`python -m tests.lab.cloudstack`: one management server, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from . import accounts, settings
from .server import API_PATH, Server
from .world import build


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.cloudstack", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 takes a free one")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="volumes, snapshots and devices")
    parser.add_argument("--keys", required=True, type=Path, metavar="FILE", help="accounts with their API keys")
    settings.add_options(parser)
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    config = settings.from_options(options.state.absolute(), options)
    host, _, port = options.listen.rpartition(":")
    with Server((host, int(port)), build(config, *accounts.load(options.keys))) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, so it must be called from another one.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
        address = f"http://{host}:{server.server_address[1]}{API_PATH}"
        print(json.dumps({"url": address, "pid": os.getpid()}), flush=True)
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
