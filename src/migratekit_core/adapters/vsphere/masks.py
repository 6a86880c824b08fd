"""What vSphere says, without whose machines it is about: names are masked, and the same name always in the same way.

What stays: managed object ids, numbers, truth values, times, the words of the API (its enumerations, which have guest
systems and states), versions, property names, labels of devices, advanced settings' names. Whatever else is a text is
masked: what is not known to be harmless is not. The key that makes the masks is this user's own (`KEY_FILE`); without
it nobody finds a name by trying names.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.common.files import write_private
from migratekit_core.common.redact import MASK, redact

KEY_FILE = "record.key"
LENGTH = 8
"""Hex digits of a mask."""

_NAMES = frozenset({"name", "hostName", "userName", "fullName", "annotation", "description", "domainName"})
"""Fields that are masked whatever they hold: a machine may be called as a word of the API."""
_SECRETS = re.compile(r"passw|ticket|token|secret|cookie|sessionid|^cookie$|thumbprint|certificate", re.IGNORECASE)
_KEPT = frozenset({
    "apiType", "apiVersion", "build", "filesystemType", "guestFullName", "label", "licenseProductName",
    "licenseProductVersion", "osType", "privId", "privilegeId", "productLineId", "toolsVersion", "vendor", "version",
})  # fmt: skip
"""Fields that are kept whatever they hold."""
_TOLD_BY_TOOLS = ("guestinfo.detailed.data", "guestos.detailed.data")
"""Advanced settings whose value is about the system alone."""
_PLAIN = re.compile(
    r"-?\d+(\.\d+){0,2}([eE][-+]?\d+)?|true|false|\d{4}-\d\d-\d\dT[\d:.]+(Z|[-+]\d\d:\d\d)?|vmx-\d+|\*|", re.IGNORECASE
)
_PATH_OF_PROPERTY = re.compile(r'[A-Za-z][\w.]*(\["?[\w.-]*"?\][\w.]*)*')
_MOREF = re.compile(r"(?!HaNetwork)(ha-)?[A-Za-z]+(-[A-Za-z]+)*(-?\d+)?|\d+")
_CHANGE_ID = re.compile(r"([0-9a-fA-F][0-9a-fA-F -]+)/(\d+)")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_FILE_PARTS = re.compile(r"[^\[\]/ ]+(?: [^\[\]/ ]+)*")
_ENDING = re.compile(r"(-\d{6}|_\d+)?(-flat|-delta|-ctk|-sesparse|-rdmp?)?(\.[a-z]{3,6})?$")
_IN_MESSAGE = re.compile(r"'[^']+'|\"[^\"]+\"|\[[^\]]+\] ?\S*|/\S+|\b[\w-]+(?:\.[\w-]+)+\b|\b\S*\d\S*\b")
"""What may be a name in a message: quoted, a path, a host, anything with a digit."""
_MESSAGES = frozenset({"faultstring", "localizedMessage", "message", "msg", "fullFormattedMessage"})


class Masks:
    """Masks of one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mask(self, text: str) -> str:
        """Return the mask of a name."""
        return "~" + hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:LENGTH]

    def text(self, field: str, text: str) -> str:
        """Return what is recorded of the text of a field."""
        if _SECRETS.search(field):
            return MASK
        if field in _MESSAGES:
            return _IN_MESSAGE.sub(lambda found: self._part(found[0].strip("'\"")), redact(text))
        if field in _NAMES:
            return self.mask(text) if text else text
        if field in _KEPT or _PLAIN.fullmatch(text) or text in _words():
            return text
        return self._part(text)

    def moref(self, text: str) -> str:
        """Return a managed object id; an ESXi host has names in some of them."""
        return text if _MOREF.fullmatch(text) else self.mask(text)

    def _part(self, text: str) -> str:
        """Return the mask of a text, in its own form where that tells something."""
        if changed := _CHANGE_ID.fullmatch(text):
            return f"{self.mask(changed[1])}/{changed[2]}"
        if _MAC.fullmatch(text):
            return "02:" + ":".join(re.findall("..", self.mask(text.lower())[1:11] + "00")[:5])
        if address := _address(text):
            number = int(self.mask(str(address))[1:], 16)
            return (
                f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
                if address.version == 4
                else (f"fd00::{number >> 16 & 65535:x}:{number & 65535:x}")
            )
        if "/" in text or text.startswith("["):
            return _FILE_PARTS.sub(lambda found: self._file(found[0]), text)
        return self.mask(text)

    def _file(self, name: str) -> str:
        ending = _ENDING.search(name)
        stem = name[: ending.start()] if ending else name
        return (self.mask(stem) if stem else "") + (ending[0] if ending else "")

    def element(self, element: Element) -> Any:
        """Return what is recorded of an element, JSON-like: an object is a dict, a list of values is a list."""
        name, kind = _local(element), wire.type_of(element)
        if reference := element.get("type"):
            return f"{reference}:{self.moref(element.text or '')}"
        fields: dict[str, Any] = {"_type": kind} if kind and len(element) else {}
        for child in element:
            _put(fields, _local(child), self._child(element, child))
        return fields if len(element) else self.text(name, element.text or "")

    def _child(self, parent: Element, child: Element) -> Any:
        name, owner, text = _local(child), _local(parent), child.text or ""
        # Of a property collector: the property's path, and in a filter the type that it is about.
        if owner in ("propSet", "changeSet", "missingSet") and name in ("name", "path", "pathSet", "type", "op"):
            return text if _PATH_OF_PROPERTY.fullmatch(text) else self.mask(text)
        if owner in ("propSet", "changeSet") and name == "val" and not len(child) and not child.get("type"):
            return self.text(wire.text(parent, "name").rpartition(".")[2], text)
        if name == "key" and wire.type_of(parent) == "OptionValue":
            return text
        if name == "value" and wire.text(parent, "key").lower() in _TOLD_BY_TOOLS:
            return text
        return self.element(child)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """Return the values of all enumerations of the API: pyVmomi knows them."""
    from pyVmomi import VmomiSupport

    known: Any = VmomiSupport
    return frozenset(value for _, _, _, values in known._enumDefMap.values() for value in values)


def key_of_user(folder: Path, make: Callable[[], bytes] = lambda: secrets.token_bytes(32)) -> bytes:
    """Return this user's key, made where there is none; one for this process alone where it cannot be kept."""
    path = folder / KEY_FILE
    try:
        return bytes.fromhex(path.read_text())
    except (OSError, ValueError):
        key = make()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, key.hex())
    except OSError:
        pass
    return key
