"""What of the tunnel's certificates ends soon, for a line on stderr and for `doctor`.

Every command asks, so the answer is kept beside the sockets and read anew only when a file changes: importing a parser
of certificates takes longer than many a command.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from migratekit_core.adapters.tunnel import SEEN_FILE, kinds
from migratekit_core.common.files import write_private
from migratekit_core.common.hints import Hint, at_ca, hint
from migratekit_core.config.folders import runtime_dir
from migratekit_core.config.schema import Config

WARN = timedelta(days=30)
"""How long before its end something is warned about."""
CACHE = "expiry.json"


@dataclass(frozen=True)
class Expiry:
    """Something that stops being valid."""

    what: str
    """`this host's certificate (/etc/migratekit/vma.pem)`"""
    ends: datetime
    todo: Hint | str

    def warning(self, now: datetime) -> str:
        """Return one line about it; "" while there is time."""
        left = self.ends - now
        if left > WARN:
            return ""
        day = f"{self.ends:%Y-%m-%d}"
        if left <= timedelta(0):
            return f"{self.what} has expired ({day}): {self.todo}"
        days = left.days
        return f"{self.what} expires in {days} day{'' if days == 1 else 's'} ({day}): {self.todo}"


def expiries(config: Config) -> list[Expiry]:
    """Return when each certificate and list that the configuration names ends, and the OMA's as it was seen last.

    Files that are missing or damaged are left out: who uses them says so.
    """
    tunnel = config.tunnel
    # First: where one file is the tunnel's as well, it is called so.
    fleet = config.fleet
    todo = hint("issue or rotate it, then restart the fleet's services: ", at_ca("tunnel", "pki", "rotate", "NAME"))
    named: list[tuple[str, Path | None, Hint | str]] = [
        ("the fleet's certificate", fleet.cert_file, todo),
        ("the fleet's CA", fleet.ca_file, hint(at_ca("tunnel", "pki", "rotate", "ca"))),
        ("the fleet's list of revoked certificates", fleet.crl_file, "copy a new crl.pem here"),
    ]
    own = kinds.of(tunnel).certificates(tunnel)
    named += [(file.what, file.path, file.todo) for file in own]
    if tunnel.server is not None:
        server = tunnel.server
        named += [
            ("the OMA's certificate", server.cert_file, hint(at_ca("tunnel", "pki", "rotate", "oma"))),
            ("the tunnel's CA", server.ca_file, hint(at_ca("tunnel", "pki", "rotate", "ca"))),
            ("the tunnel's list of revoked certificates", server.crl_file, "copy a new crl.pem here"),
        ]
    if all(path is None for _, path, _ in named):
        return []
    folder = runtime_dir(tunnel)
    files = {str(path): (what, todo) for what, path, todo in named if path is not None}
    ends = _ends(folder, list(files))
    found = [Expiry(f"{what} ({file})", ends[file], todo) for file, (what, todo) in files.items() if file in ends]
    if own and (seen := _seen(folder)):
        found.append(Expiry("the OMA's certificate", seen, hint(at_ca("tunnel", "pki", "rotate", "oma"))))
    return found


def warnings(config: Config, now: datetime | None = None) -> list[str]:
    """Return a line for each thing that ends within 30 days or has ended, the most urgent first."""
    now = now or datetime.now(UTC)
    found = sorted(expiries(config), key=lambda expiry: expiry.ends)
    return [line for expiry in found if (line := expiry.warning(now))]


def _ends(folder: Path, files: list[str]) -> dict[str, datetime]:
    known = _read_cache(folder)
    found: dict[str, tuple[str, float | None]] = {}
    for file in files:
        try:
            held = os.stat(file)  # noqa: PTH116 - a text is what the cache holds
        except OSError:
            continue
        mark = f"{held.st_mtime_ns} {held.st_size}"
        cached = known.get(file)
        found[file] = (mark, cached[1]) if cached and cached[0] == mark else (mark, _read_end(Path(file)))
    if found != known:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(folder / CACHE, json.dumps(found))
    return {file: datetime.fromtimestamp(end, UTC) for file, (_, end) in found.items() if end is not None}


def _read_cache(folder: Path) -> dict[str, tuple[str, float | None]]:
    try:
        held = json.loads((folder / CACHE).read_text())
        return {file: (str(mark), None if end is None else float(end)) for file, (mark, end) in held.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def validity(text: bytes) -> tuple[datetime, datetime]:
    """Return from when until when the certificates of a file (PEM) are good. Raises ValueError where it holds none.

    Beside a private key they are a chain, which breaks with its first; else each is a CA of its own, and while one is
    being replaced by another, as in a change of the CA, one of them is enough.
    """
    from cryptography import x509

    held = x509.load_pem_x509_certificates(text)
    begins, ends = [each.not_valid_before_utc for each in held], [each.not_valid_after_utc for each in held]
    return (max(begins), min(ends)) if b"PRIVATE KEY" in text else (min(begins), max(ends))


def _read_end(file: Path) -> float | None:
    """Return when a file's certificates, or the first of its lists, ends."""
    from cryptography import x509

    try:
        text = file.read_bytes()
        if b"X509 CRL" in text:
            parts = text.split(b"-----END X509 CRL-----")[:-1]
            lists = [x509.load_pem_x509_crl(part + b"-----END X509 CRL-----\n") for part in parts]
            return min(held.next_update_utc.timestamp() for held in lists if held.next_update_utc)
        return validity(text)[1].timestamp()
    except (OSError, ValueError):
        return None


def _seen(folder: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads((folder / SEEN_FILE).read_text())["ends"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
