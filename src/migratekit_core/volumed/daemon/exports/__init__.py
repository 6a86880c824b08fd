"""Exporters: each makes devices reachable over NBD on one loopback port, by name."""
