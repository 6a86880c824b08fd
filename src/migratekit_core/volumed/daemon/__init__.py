"""The volume daemon: the single source of truth for OSSEA volumes, on the OMA, on loopback."""
