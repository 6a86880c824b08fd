"""What a real management server was asked and what it answered: tests/data/cloudstack-4.22."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "data" / "cloudstack-4.22"
_CUT = re.compile(r"^(\S+?)\.\.\. \((\d+) characters\)$")


@dataclass(frozen=True)
class Recording:
    """One call. `server` is the file that it is in: each file was recorded on a server of its own."""

    server: str
    name: str
    command: str
    parameters: Mapping[str, str]
    http: int
    answer: Any
    job: Mapping[str, Any] | None
    account: str
    method: str

    @property
    def id(self) -> str:
        """The name of the test: names are unique within a file only."""
        return self.name if self.server == "more" else f"{self.server}:{self.name}"

    @property
    def body(self) -> Mapping[str, Any]:
        """What is in the answer's envelope, empty for an answer that is no JSON."""
        if not isinstance(self.answer, dict) or "jobid" in self.answer:
            return self.answer if isinstance(self.answer, dict) else {}
        inner = next(iter(self.answer.values()))
        return inner if isinstance(inner, dict) else {}

    @property
    def result(self) -> Mapping[str, Any]:
        """What the job answered, empty where it was none or said nothing."""
        found = (self.job or {}).get("jobresult")
        return found if isinstance(found, dict) else {}


def _value(value: Any) -> str:
    """A parameter as it was sent. Long user data was cut in the recording: it was one letter over and over."""
    text = str(value)
    cut = _CUT.match(text)
    return (cut[1] * int(cut[2]))[: int(cut[2])] if cut else text


def _recording(server: str, name: str, row: dict[str, Any]) -> Recording:
    job = row.get("job")
    return Recording(
        server=server,
        name=name,
        command=row["command"],
        parameters={key: _value(value) for key, value in row["parameters"].items()},
        http=row["http"] or 0,
        answer=row["answer"],
        job=job.get("queryasyncjobresultresponse", job) if job else None,
        account=row.get("as", "mig").split()[0].replace("root", "rootadm").replace("rootadmadm", "rootadm"),
        method=row.get("method", "GET"),
    )


def read(path: Path) -> list[Recording]:
    """Return what `migratekit --record` has written of CloudStack, in the order in which the calls were made."""
    named = [(name, row) for line in path.read_text().splitlines() for name, row in json.loads(line).items()]
    rows = [(name, row) for name, row in named if "api" not in row]
    rows.sort(key=lambda named: str(named[1]["at"]))
    return [_recording(path.stem, name, row) for name, row in rows]


def load() -> list[Recording]:
    """Return all recordings, in the order of the files."""
    found = []
    for server, file in (("first", "answers.json"), ("more", "answers-more.json")):
        rows = json.loads((DATA / file).read_text())
        found += [_recording(server, name, row) for name, row in rows.items()]
    return found
