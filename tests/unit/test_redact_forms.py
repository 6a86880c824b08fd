"""A secret is masked however it is spelled: in URLs, JSON, XML, Python's own form, base64, and as a key in PEM."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest

from migratekit_core.common import redact
from migratekit_core.common.redact import MASK
from migratekit_core.config.secret import SecretSource
from migratekit_core.engine.process import command

SECRETS = ["plain-and-simple", 'with space & <xml> "quotes"\'', "Pä$$wörd/50%+=\\n", "tab\there", "100%"]
FORMS = {
    "as it is": lambda secret: secret,
    "URL": lambda secret: quote(secret),
    "URL, all of it": lambda secret: quote(secret, safe=""),
    "form": quote_plus,
    "query": lambda secret: urlencode({"x": secret})[2:],
    "JSON": lambda secret: json.dumps(secret),
    "JSON, not ASCII": lambda secret: json.dumps(secret, ensure_ascii=False),
    "XML": html.escape,
    "XML text": lambda secret: html.escape(secret, quote=False),
    "repr": repr,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_known", set())
    monkeypatch.setattr(redact, "_variables", set(redact._variables))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", range(len(SECRETS)))
def test_a_secret_is_masked_in_every_spelling(form: str, number: int) -> None:
    secret = redact.remember(SECRETS[number])
    told = redact.redact(f"before {FORMS[form](secret)} after")
    assert MASK in told
    assert told.startswith("before ")
    assert told.endswith(" after")
    assert FORMS[form](secret).strip("\"'=") not in told


def test_a_private_key_is_masked_whole_or_cut() -> None:
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBx\nAbCd\n-----END EC PRIVATE KEY-----"
    assert redact.redact(f"a {key} b") == f"a {MASK} b"
    assert redact.redact(f"a {key[:50]}") == f"a {MASK}"


def test_what_we_start_does_not_inherit_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "never-inherited")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=never-inherited")
    assert redact.child_environment()["PLANTED"] == "never-inherited"
    # Named by the configuration, though not read yet.
    SecretSource(env="PLANTED")
    for environment in (redact.child_environment(), command()[1]):
        assert "never-inherited" not in str(environment)
        assert environment["PATH"]
    assert redact.child_environment({"MORE": "x"})["MORE"] == "x"
