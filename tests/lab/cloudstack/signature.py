"""Who sent a request: CloudStack's HMAC-SHA1 signature over the sorted, lowercased query string."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from .errors import bad_credentials
from .model import Account


def encode(value: str) -> str:
    """As Java's URLEncoder writes it, with %20 for the blank. It also escapes the tilde, which Python leaves alone."""
    return quote(value, safe="*").replace("~", "%7E")


def sign(params: Mapping[str, str], secretkey: str) -> str:
    query = "&".join(f"{name}={encode(params[name])}" for name in sorted(params))
    digest = hmac.new(secretkey.encode(), query.lower().encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def identify(params: Mapping[str, str], accounts: Mapping[str, Account]) -> Account:
    """The caller, or the one refusal the real server has for everything that can be wrong here."""
    named = {name.lower(): value for name, value in params.items()}
    account = accounts.get(named.get("apikey", ""))
    if account is None or "signature" not in named:
        raise bad_credentials()
    if named.get("signatureversion") == "3" and _expired(named.get("expires")):
        raise bad_credentials()
    unsigned = {name: value for name, value in params.items() if name.lower() != "signature"}
    if not hmac.compare_digest(sign(unsigned, account.secretkey), named["signature"]):
        raise bad_credentials()
    return account


def _expired(expires: str | None) -> bool:
    """Version 3 promises an end: a missing or unreadable one counts as past."""
    try:
        return datetime.strptime(expires or "", "%Y-%m-%dT%H:%M:%S%z") < datetime.now(UTC)
    except ValueError:
        return True
