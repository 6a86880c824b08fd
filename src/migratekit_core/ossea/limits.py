"""Limits of CloudStack that are the same in every cloud."""

LEAST_MEMORY = 32
"""MiB that CloudStack asks of a machine at least, also with a custom offering."""
