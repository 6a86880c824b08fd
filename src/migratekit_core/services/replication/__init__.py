"""Replication: a plan for each disk, then full or incremental syncs of one machine into its volumes."""
