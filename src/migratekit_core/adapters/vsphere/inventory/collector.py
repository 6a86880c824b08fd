"""The PropertyCollector, over a view, in pages: the next page is under way while one is read.

Sessions end and connections break in the middle of thousands of machines. Pages then cannot be taken up where they
ended, for their token is gone with the session: all is asked for again, and what was given out already is left out.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.inventory import wire
from migratekit_core.adapters.vsphere.patience import CallMode, Patience, in_mode
from migratekit_core.adapters.vsphere.session import Connection, answer_within
from migratekit_core.common.errors import MigrateKitError

PAGE = 250
"""Objects per answer: small enough to show the first ones soon, large enough that round trips do not matter."""

ANSWER_SECONDS = 120.0
"""That an answer may take: before the first page a busy vCenter goes through thousands of machines."""

_TOKEN = re.compile(rb"<(?:\w+:)?token[^>]*>([^<]+)</")

Properties = dict[str, Element]


@dataclass(frozen=True)
class Found:
    """An object of the inventory and those of its properties that are set and may be seen."""

    type: str
    moref: str
    properties: Properties


class Retrieval:
    """All objects of some types below the root folder. `start` sends the first request; iterating reads the answers.

    Raises pyVmomi's faults, and our errors, where trying again does not help.
    """

    def __init__(self, service: Any, wanted: Mapping[str, Sequence[str]]) -> None:
        """`wanted`: paths of properties by type of object."""
        self._service = service
        self._content: Any = None
        self._wanted = {kind: list(paths) for kind, paths in wanted.items()}
        self._patience = Patience()
        self._first: Future[bytes] | None = None
        self._view: Any = None

    def start(self) -> Retrieval:
        """Ask for the first page in the background."""
        self._first = _in_background(self._ask)
        return self

    def __iter__(self) -> Iterator[Found]:
        seen: set[str] = set()
        failures, since = 0, time.monotonic()
        while True:
            before = len(seen)
            try:
                for found in self._pages():
                    if found.moref not in seen:
                        seen.add(found.moref)
                        yield found
                break
            except (vmodl.MethodFault, MigrateKitError, ParseError) as error:
                if len(seen) > before:
                    failures, since = 0, time.monotonic()
                failures += 1
                self._recover(error, failures, time.monotonic() - since)
        # Whoever stops in the middle (Ctrl-C) waits for no page that is under way; the view ends with the session.
        self._drop_view()

    def _pages(self) -> Iterator[Found]:
        coming = self._first or _in_background(self._ask)
        self._first = None
        while True:
            answer = coming.result()
            token = _TOKEN.search(answer, 0, 2000)
            if token:
                coming = _in_background(self._ask, token.group(1).decode())
            yield from read_answer(answer)
            if not token:
                return

    def _ask(self, token: str | None = None) -> bytes:
        """Return the answer to the first request, or to the one for the page after `token`."""
        self._content = content = self._content or self._service.RetrieveContent()
        collector = content.propertyCollector
        if token is not None:
            return call(collector, "ContinueRetrievePropertiesEx", token)
        self._drop_view()
        kinds = [getattr(vim, kind) for kind in self._wanted]
        self._view = content.viewManager.CreateContainerView(content.rootFolder, kinds, True)
        query = vmodl.query.PropertyCollector
        over_view = query.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
        spec = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=self._view, skip=True, selectSet=[over_view])],
            propSet=[
                query.PropertySpec(type=getattr(vim, kind), pathSet=paths) for kind, paths in self._wanted.items()
            ],
        )
        return call(collector, "RetrievePropertiesEx", [spec], query.RetrieveOptions(maxObjects=PAGE))

    def _recover(self, error: Exception, failures: int, waited: float) -> None:
        """Make the next attempt possible, or raise `error`."""
        if isinstance(error, vmodl.query.InvalidProperty) and self._forget(error.name):
            return
        pause = self._patience.pause(error, failures, waited)
        if pause is None:
            raise error
        time.sleep(pause)

    def _forget(self, path: str) -> bool:
        """Do without a property that this vSphere is too old for; return whether it was one of ours."""
        found = [paths for paths in self._wanted.values() if path in paths]
        for paths in found:
            paths.remove(path)
        return bool(found)

    def _drop_view(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            # It goes with the session anyhow.
            with contextlib.suppress(Exception), in_mode(CallMode(at_once=True)):
                view.Destroy()


def _in_background(ask: Callable[..., bytes], *arguments: str) -> Future[bytes]:
    """Call in a thread that nobody has to wait for, not even at the end of the program."""
    future: Future[bytes] = Future()

    def run() -> None:
        try:
            with in_mode(CallMode(at_once=True)):  # a Retrieval has a patience of its own
                future.set_result(ask(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="inventory").start()
    return future


def retrieve_one(managed: Any, paths: Sequence[str]) -> Properties:
    """Return properties of one object, which pyVmomi's `managed` names. Raises pyVmomi's faults."""
    query = vmodl.query.PropertyCollector
    collector = vim.ServiceInstance("ServiceInstance", managed._stub).RetrieveContent().propertyCollector
    left = list(paths)
    while True:
        spec = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=managed)], propSet=[query.PropertySpec(type=type(managed), pathSet=left)]
        )
        try:
            answer = call(collector, "RetrievePropertiesEx", [spec], query.RetrieveOptions())
        except vmodl.query.InvalidProperty as fault:
            if fault.name not in left:
                raise
            left.remove(fault.name)
            continue
        return next(read_answer(answer)).properties


def call(managed: Any, method: str, *arguments: Any) -> bytes:
    """Call a method over pyVmomi's connection and session; return the answer as text.

    Raises pyVmomi's faults, and what session.Connection does.
    """
    connection: Connection = managed._stub
    with answer_within(ANSWER_SECONDS):
        return connection.text_of(managed, method, *arguments)


def read_answer(answer: bytes) -> Iterator[Found]:
    """Yield the objects of an answer of RetrievePropertiesEx or its continuation."""
    # The server is the one that is trusted with the machines, and expat limits what entities may grow to.
    envelope = fromstring(answer)  # noqa: S314
    for found in envelope.iterfind(f"*/*/{wire.NAMESPACE}returnval/{wire.NAMESPACE}objects"):
        reference = wire.child(found, "obj")
        assert reference is not None, "the WSDL requires it"
        properties = {}
        for change in wire.children(found, "propSet"):
            value = wire.child(change, "val")
            if value is not None:
                properties[wire.text(change, "name")] = value
        yield Found(reference.get("type", ""), reference.text or "", properties)
