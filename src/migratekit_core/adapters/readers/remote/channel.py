"""The reader's end of the channel to the command that started it: one JSON object a line, both ways.

The reader asks for what it may not have of its own (a ticket, a cookie), and tells what it waits for and why it ends.
Nothing secret goes any other way.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

LONGEST_LINE = 1 << 16
"""Bytes; the other end is ours, so more is a fault of ours."""
ANSWER_SECONDS = 600.0
"""For which an answer is waited for: vCenter may be away for a while, and the command waits for it."""


def line_of(message: Mapping[str, Any]) -> bytes:
    """Return a message as it goes over the channel."""
    return json.dumps(message).encode() + b"\n"


def messages(end: socket.socket) -> Iterator[dict[str, Any]]:
    """Yield what comes from the other end until it leaves, or sends a line that is too long.

    Raises OSError where the connection breaks, ValueError for what is no JSON.
    """
    held = b""
    while len(held) <= LONGEST_LINE:
        more = end.recv(LONGEST_LINE)
        if not more:
            return
        *lines, held = (held + more).split(b"\n")
        for line in lines:
            yield json.loads(line)


class ChannelClosedError(Exception):
    """The command has ended, or does not answer."""


class RefusedError(Exception):
    """The command cannot give what was asked for, and knows itself why; `again`: it may be able to later."""

    def __init__(self, code: str, again: bool) -> None:
        super().__init__(code)
        self.code = code
        self.again = again


class FailedError(Exception):
    """The disk cannot be read, for a reason that the command makes an error of.

    `code` names the reason to it, `facts` are plain values that its text is made of. Nothing in it is secret. `again`:
    whether it may pass by itself.
    """

    def __init__(self, code: str, again: bool = False, **facts: str | int | bool) -> None:
        super().__init__(f"{code} {facts}" if facts else code)
        self.code = code
        self.again = again
        self.facts = facts


class Channel:
    """A connection to the command. Every method may be called from any thread."""

    def __init__(self, descriptor: int) -> None:
        """Take over an inherited descriptor of a stream socket."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)
        self._sending = threading.Lock()
        self._failing = threading.Lock()
        self._told = False
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        self._closed = False
        self._on_close: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to listen. A thread of its own, so not before nbdkit has forked."""
        threading.Thread(target=self._listen, name="channel", daemon=True).start()

    def when_closed(self, call: Callable[[], None]) -> None:
        """Have something called once the command is gone: at once where it is already."""
        with self._changed:
            if not self._closed:
                self._on_close.append(call)
                return
        call()

    def want(self, kind: str, **about: str | int) -> dict[str, Any]:
        """Return what the command answers. Raises RefusedError, or ChannelClosedError."""
        with self._changed:
            self._asked += 1
            number = self._asked
        self._send({"want": kind, "id": number, **about})
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number in self._answers, ANSWER_SECONDS)
            answer = self._answers.pop(number, None)
        if answer is None:
            raise ChannelClosedError
        error = answer.get("error")
        if error is not None:
            raise RefusedError(str(error.get("code", "")), bool(error.get("again")))
        found = answer.get("ok")
        return found if isinstance(found, dict) else {}

    def ready(self, size: int) -> None:
        """Say that the disk is open, and has so many bytes."""
        self._tell({"ready": {"size": size}})

    def note(self, code: str, **facts: str | int | bool) -> None:
        """Say what is waited for."""
        self._tell({"note": {"code": code, "facts": facts}})

    def failed(self, error: FailedError) -> None:
        """Say why the disk cannot be read any more: the first reason counts, and is told before any caller goes on."""
        with self._failing:
            if not self._told:
                self._tell({"failed": {"code": error.code, "facts": error.facts}})
                self._told = True

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._send(message)
        except ChannelClosedError:
            # Nobody is there to hear it; who reads finds out otherwise.
            return

    def _send(self, message: dict[str, Any]) -> None:
        line = line_of(message)
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError:
            raise ChannelClosedError from None

    def _listen(self) -> None:
        try:
            for message in messages(self._socket):
                self._take(message)
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            calls, self._on_close = self._on_close, []
        for call in calls:
            call()

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            self._answers[int(message["id"])] = message
            self._changed.notify_all()
