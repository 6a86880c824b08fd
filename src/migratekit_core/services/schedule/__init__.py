"""Keeps the machines of [schedule] in step: which are due, and one run of all that are."""
