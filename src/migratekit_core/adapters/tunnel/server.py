"""The OMA's end: the only open port, TLS 1.3 with client certificates, and a service for each server name.

Whoever may come has shown a certificate within HANDSHAKE; who has not is gone then, and takes no room from others for
longer. Connections of one source and of one certificate are limited. Sessions are never resumed: a resumed one would
outlive its certificate. `adapters.tunnel.watch` ends connections whose certificate expires or is revoked meanwhile,
through the socket for administration and a table that has a row for each connection.
"""

from __future__ import annotations

from migratekit_core.adapters.tunnel.haproxy import UNANSWERED, quoted, stamp
from migratekit_core.config.schema import TunnelServer

HANDSHAKE = "5s"
"""How long a client may take until it has shown its certificate."""
IDLE = "24h"
"""An idle database or NBD connection is not a dead one; keepalive tells the two apart."""
LIVE = "live"
"""Name of the table with a row for each connection: `SERIAL/NOTAFTER/ADDRESS/PORT`."""
GLOBAL = """\
global
    log stderr format raw daemon
    maxconn {maxconn}
    stats socket {socket} mode 600 level admin
    stats timeout 10s
    # Four TLS records at a time: a fifth less CPU than with one. More does not help.
    tune.bufsize 65536
    # No session is kept, and no ticket is given (no-tls-tickets): each connection shows its certificate.
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode tcp
    timeout connect 10s
    # Whoever connects tries again by itself, and is told sooner.
    retries 1
    # Until a client has shown its certificate; with a service it is a tunnel, and has the time-out of one.
    timeout client {handshake}
    timeout server {idle}
    timeout tunnel {idle}
    timeout client-fin 60s
    timeout server-fin 60s
    option clitcpka
    clitcpka-idle 4s
    clitcpka-intvl 1s
    clitcpka-cnt 3
    option srvtcpka
    srvtcpka-idle 4s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
"""
LOG = """\
    # A line for each connection, when it ends. 'refused' is a handshake, and its verify code is OpenSSL's: 10 expired,
    # 18 to 21 another CA, 23 revoked, 26 not a client's.
    log global
    option log-separate-errors
    log-format "%ci:%cp %[ssl_fc_sni] %{+Q}[ssl_c_s_dn] serial %[ssl_c_serial,hex] %U bytes in %B out %Tt ms, ended %ts"
    error-log-format "refused %ci:%cp: %[ssl_fc_err_str], verify code %[ssl_c_err]"
"""


def render(settings: TunnelServer) -> str:
    """Return HAProxy's configuration for the OMA."""
    revoked = f" crl-file {quoted(settings.crl_file)}" if settings.crl_file else ""
    names = sorted(settings.addresses)
    lines = [
        GLOBAL.format(
            maxconn=settings.max_connections, socket=quoted(settings.stats_socket), handshake=HANDSHAKE, idle=IDLE
        ),
        stamp(settings.cert_file, settings.ca_file, settings.crl_file),
        "",
        "backend sources",
        "    stick-table type ipv6 size 100k expire 10m store conn_cur",
        "",
        "backend certificates",
        "    stick-table type string len 64 size 10k expire 10m store conn_cur",
        "",
        f"backend {LIVE}",
        "    stick-table type string len 192 size 100k expire 25h store conn_cur",
        "",
        "frontend tunnel",
        LOG,
        f"    bind {quoted(settings.listen)} tcp-ut {UNANSWERED} ssl crt {quoted(settings.cert_file)}"
        f" ca-file {quoted(settings.ca_file)}{revoked} verify required no-tls-tickets",
        # Before the handshake, which costs.
        "    tcp-request connection track-sc0 src table sources",
        f"    tcp-request connection reject if {{ sc0_conn_cur gt {settings.max_per_source} }}",
        # After it.
        "    tcp-request session track-sc1 ssl_c_serial,hex table certificates",
        f"    tcp-request session reject if {{ sc1_conn_cur gt {settings.max_per_certificate} }}",
        '    tcp-request session set-var-fmt(sess.mine) "%[ssl_c_serial,hex]/%[ssl_c_notafter]/%[src]/%[src_port]"',
        f"    tcp-request session track-sc2 var(sess.mine) table {LIVE}",
        # A client that names no service of ours gets nothing, not even an answer.
        "    tcp-request content reject unless " + " or ".join(f"{{ ssl_fc_sni -i {name} }}" for name in names),
        *(f"    use_backend {name} if {{ ssl_fc_sni -i {name} }}" for name in names),
        "",
    ]
    for name in names:
        lines += [f"backend {name}", f"    server {name} {quoted(settings.addresses[name])}", ""]
    return "\n".join(lines)
