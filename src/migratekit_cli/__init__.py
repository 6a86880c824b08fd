"""The `migratekit` command: parse, call the core, render."""
