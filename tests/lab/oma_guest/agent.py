"""Runs in the guest: takes a line of JSON from the host, runs its command in a shell, and answers with a line of JSON.

Standard library only: the guest has Debian's python3 and nothing else.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 900


def main(port: str) -> None:
    """Answer the host until the guest ends; what a command leaves running in the background is not waited for."""
    with Path(port).open("r+b", buffering=0) as channel:
        held = b""
        while True:
            data = channel.read(65536)
            if not data:
                subprocess.run(["sleep", "0.2"], check=False)  # nobody is connected
                continue
            held += data
            while b"\n" in held:
                line, _, held = held.partition(b"\n")
                _answer(channel, line)


def _answer(channel, line):
    try:
        asked = json.loads(line)
    except ValueError:  # the rest of a line of a host that went away
        return
    with tempfile.TemporaryFile() as out:
        try:
            done = subprocess.run(
                ["bash", "-c", asked["command"]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = 124
        out.seek(0)
        said = out.read().decode("utf-8", "replace")
    answer = json.dumps({"id": asked["id"], "code": code, "said": said}).encode() + b"\n"
    while answer:
        answer = answer[channel.write(answer) :]


if __name__ == "__main__":
    main(sys.argv[1])
