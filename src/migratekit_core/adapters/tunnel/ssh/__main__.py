"""`python -m migratekit_core.adapters.tunnel.ssh SETTINGS`: forwards; a key's passphrase comes by stdin."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from migratekit_core.adapters.tunnel.ssh.forward import serve
from migratekit_core.adapters.tunnel.ssh.login import Login

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fields = json.loads(Path(sys.argv[1]).read_text())
    serve(Login(**fields["login"]), fields["services"], sys.stdin.read() or None)
