"""A signal that asks to stop is not lost, wherever it comes."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import os, signal, sys, time, weakref
from migratekit_core.common.interrupts import interrupt

signal.signal(signal.SIGTERM, {handler})

def ask(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    sum(range(1000))
    return 0

class Finalised:
    def __del__(self):
        ask()

class Thing:
    pass

def anywhere():
    ask()

def finaliser():
    Finalised()

def callback():
    # Python's own callback, and what it looks for asks while it is compared.
    class Key(str):
        def __hash__(self):
            return ask() if busy else 0
    busy = False
    thing, kept = Thing(), weakref.WeakValueDictionary()
    kept[Key("a")] = thing
    busy = True
    del thing

try:
    {place}()
    time.sleep(1)
except KeyboardInterrupt:
    os._exit(42)
os._exit(0)
"""


def ended(place: str, handler: str) -> int:
    """Return the exit code of a process that is asked to stop at a place: 42 where it heard that."""
    script = textwrap.dedent(SCRIPT).format(place=place, handler=handler)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    return done.returncode


@pytest.mark.parametrize("place", ["anywhere", "finaliser", "callback"])
def test_a_process_that_is_asked_to_stop_hears_it(place: str) -> None:
    assert ended(place, "interrupt") == 42


@pytest.mark.parametrize("place", ["finaliser", "callback"])
def test_an_exception_alone_is_lost_there(place: str) -> None:
    """Or there would be nothing to test above."""
    assert ended(place, "signal.default_int_handler") == 0
