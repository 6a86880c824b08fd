"""The core library of MigrateKit: everything but the command line."""
