"""The copy engine: `python -m migratekit_core.engine` copies one disk from one NBD server to another.

It is a process of its own: a crash takes one disk with it, not the job, and disks use several cores.
"""
