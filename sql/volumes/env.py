"""Alembic environment of the volume daemon's database."""

import importlib.util
from pathlib import Path

from migratekit_core.db.models import volumes  # noqa: F401  (importing registers the tables)
from migratekit_core.db.models.base import volumes_metadata

spec = importlib.util.spec_from_file_location("environment", Path(__file__).parents[1] / "environment.py")
assert spec is not None and spec.loader is not None
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)
environment.run(volumes_metadata)
