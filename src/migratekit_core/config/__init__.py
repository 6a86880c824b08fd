"""Configuration: where it comes from (`load`), what it may say (`schema`), and how secrets are read (`secret`)."""

from migratekit_core.config.load import load_config
from migratekit_core.config.schema import Config

__all__ = ["Config", "load_config"]
