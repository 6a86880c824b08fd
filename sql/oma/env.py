"""Alembic environment of the OMA database."""

import importlib.util
from pathlib import Path

from migratekit_core.db.models import fleet, installation, joblog, networks, oma, waves  # noqa: F401  (importing registers the tables)
from migratekit_core.db.models.base import oma_metadata

spec = importlib.util.spec_from_file_location("environment", Path(__file__).parents[1] / "environment.py")
assert spec is not None and spec.loader is not None
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)
environment.run(oma_metadata)
