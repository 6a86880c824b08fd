"""`python -m tests.lab.cloudstack`: one management server, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from . import accounts, expunging, settings
from .server import API_PATH, Control
from .service import Service
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
    cloud = build(config, *accounts.load(options.keys))
    service = Service((host, int(port)), cloud)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    expunging.start(cloud)
    with Control((host, 0), cloud) as control:
        threading.Thread(target=control.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        urls = {"url": f"{service.address}{API_PATH}", "lab": f"http://{host}:{control.server_address[1]}"}
        print(json.dumps(urls | {"pid": os.getpid()}), flush=True)
        service.run()


if __name__ == "__main__":
    main()
