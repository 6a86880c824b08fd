"""The HTTP surface: small, on loopback, bearer token; every change answers 202 with its operation.

One file per topic; `app.py` puts them together.
"""

from migratekit_core.volumed.daemon.api.app import build
from migratekit_core.volumed.daemon.api.services import Services

__all__ = ["Services", "build"]
