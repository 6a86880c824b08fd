"""Databases: engines and sessions, the schema check, migrations, locks, and encryption of stored secrets."""
