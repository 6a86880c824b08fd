"""The way between the two hosts: one port, both sides proven to each other, three services behind it."""

import socket
from typing import NamedTuple

SERVICES = ("volumes", "db", "nbd")
"""Server names (SNI) of the services on the OMA, and names of the unix sockets that lead to them."""
SEEN_FILE = "oma-certificate.json"
"""In the folder of the local ends: when the certificate ends that the OMA showed last."""
KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 4),
    (socket.TCP_KEEPINTVL, 1),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 6_500),
)
"""A peer that is gone without a word is noticed within 15 seconds, idle or not (tcp(7)).

An idle connection ends 7 s after the last sign of life. One that is written to just before that has the other timeout
on top, for there are no probes where bytes wait to be acknowledged.
"""


class Gate(NamedTuple):
    """Where the OMA's tunnel listens, what proves each side to the other, and the export behind it; files are PEM."""

    host: str
    port: int
    server_name: str
    ca_file: str
    cert_file: str
    """This host's certificate and key."""
    export: str
    crl_file: str | None = None
