"""The way between the two hosts: one TLS port, mutual certificates, three services behind it."""

SERVICES = ("volumes", "db", "nbd")
"""Server names (SNI) of the services on the OMA, and names of the unix sockets that lead to them."""
