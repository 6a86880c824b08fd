"""The tables of permissions: against the calls in the source, and docs/permissions.md against the tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from migratekit_core.services.assessment.commands import CLOUDSTACK, OPTIONAL, VSPHERE

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "src" / "migratekit_core"
PAGE = (ROOT / "docs" / "permissions.md").read_text()
API = re.compile(
    r"(list|create|attach|detach|delete|deploy|start|stop|destroy|query|update|resize|add|remove|expunge)[A-Z]\w+"
)
IN_EVERY_ROLE = {"System.Anonymous", "System.View", "System.Read"}
READS = {"HasPrivilegeOnEntities", "QueryPerf"}
"""Methods that need no more than System.View."""

PRIVILEGES = {privilege.id for privileges in VSPHERE.values() for privilege in privileges}
APIS = {api for apis in CLOUDSTACK.values() for api in apis} | set(OPTIONAL)


def strings(folder: str) -> Iterator[str]:
    """Yield every text in the source that is the name of a CloudStack command."""
    for path in (CORE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and API.fullmatch(node.value):
                yield node.value


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def privileges_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:System|VirtualMachine|Datastore|Cryptographer)\.[A-Z][\w.]*\w", text))


def test_every_cloudstack_call_of_the_source_is_in_the_table() -> None:
    folders = ("adapters/cloudstack", "volumed", "services/failover", "services/assessment")
    called = {name for folder in folders for name in strings(folder)}
    assert called
    assert called <= APIS


def test_every_vsphere_method_that_needs_a_privilege_is_in_the_table() -> None:
    source = "\n".join(path.read_text() for path in CORE.rglob("*.py") if "assessment" not in path.parts)
    called = set(re.findall(r"\.([A-Z]\w+_Task|ShutdownGuest|RebootGuest|QueryChangedDiskAreas)\(", source))
    assert {"ReconfigVM_Task", "CreateSnapshot_Task", "ShutdownGuest"} <= called
    named = " ".join(privilege.call for privileges in VSPHERE.values() for privilege in privileges)
    assert {method for method in called if method not in named} == set()


def test_the_page_has_every_privilege_and_no_other() -> None:
    assert privileges_in(PAGE) - IN_EVERY_ROLE == PRIVILEGES - IN_EVERY_ROLE
    (govc, *_) = blocks("sh")
    (powercli,) = blocks("powershell")
    assert privileges_in(govc) == privileges_in(powercli) == PRIVILEGES | IN_EVERY_ROLE


def test_the_pages_role_for_cloudstack_has_every_api_and_no_other() -> None:
    (loop,) = re.findall(r"for api in (.*?)\ndo", blocks("sh")[1], re.DOTALL)
    assert sorted(loop.replace("\\", "").split()) == sorted(APIS)


def test_each_row_of_the_page_names_what_the_command_calls() -> None:
    rows = dict(
        re.findall(r"^\| ([^|]+) \| ((?:`(?:list|create|query|attach|deploy)\w+`)[^|]*) \|$", PAGE, re.MULTILINE)
    )
    for command, apis in CLOUDSTACK.items():
        row = next(text for name, text in rows.items() if command in name.replace("`", "").split(", "))
        named = {name for name in re.findall(r"`(\w+)`", row) if API.fullmatch(name)} - set(OPTIONAL)
        assert named == set(apis), command
