"""The OMA's end: the only open port, TLS 1.3 with client certificates, and a service for each server name."""

from __future__ import annotations

from migratekit_core.adapters.tunnel.haproxy import COMMON, UNANSWERED, quoted, stamp
from migratekit_core.config.schema import TunnelServer

LOG = """\
    # Only what went wrong; 'refused' is a handshake, and its verify code is OpenSSL's: 10 expired, 18 to 21 another CA,
    # 23 revoked, 26 not a client's.
    log global
    option log-separate-errors
    option dontlog-normal
    log-format "%ci:%cp %[ssl_fc_sni] %[ssl_c_s_dn(cn)] %U bytes in %B out %Tt ms, ended %ts"
    error-log-format "refused %ci:%cp: %[ssl_fc_err_str], verify code %[ssl_c_err]"
"""


def render(settings: TunnelServer) -> str:
    """Return HAProxy's configuration for the OMA."""
    revoked = f" crl-file {quoted(settings.crl_file)}" if settings.crl_file else ""
    names = sorted(settings.addresses)
    lines = [
        "global",
        "    log stderr format raw daemon",
        COMMON.removeprefix("global\n"),
        stamp(settings.cert_file, settings.ca_file, settings.crl_file),
        "",
        "frontend tunnel",
        LOG,
        f"    bind {quoted(settings.listen)} tcp-ut {UNANSWERED} ssl crt {quoted(settings.cert_file)}"
        f" ca-file {quoted(settings.ca_file)}{revoked} verify required",
        # A client that names no service of ours gets nothing, not even an answer.
        "    tcp-request content reject unless " + " or ".join(f"{{ ssl_fc_sni -i {name} }}" for name in names),
        *(f"    use_backend {name} if {{ ssl_fc_sni -i {name} }}" for name in names),
        "",
    ]
    for name in names:
        lines += [f"backend {name}", f"    server {name} {quoted(settings.addresses[name])}", ""]
    return "\n".join(lines)
