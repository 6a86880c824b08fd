"""A database with a long past: the rows of one real sync, multiplied (`python -m tests.history`)."""
