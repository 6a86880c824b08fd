"""JUnit XML: a suite for each machine, a case for each finding; what fails is what `--fail-on` asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from migratekit_core.common.visible import visible
from migratekit_core.services.assessment.rule import Finding, Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment

SITE = "site"


def document(assessment: Assessment, fail_on: Severity) -> str:
    """Return the XML. A machine without findings has one case, which passes."""
    root = Element("testsuites", name="migratekit assess")
    by_machine: defaultdict[str, list[Finding]] = defaultdict(list)
    for found in assessment.findings:
        by_machine[found.vm_path].append(found)
    for vm in assessment.machines:
        _suite(root, vm.path, by_machine.pop(vm.path, []), fail_on)
    site = _suite(root, SITE, by_machine.pop("", []), fail_on)
    for each in assessment.not_checked:
        case = _case(site, each.rule, each.what)
        SubElement(case, "skipped", message=_clean(each.reason))
    site.set("tests", str(len(site)))
    site.set("skipped", str(len(assessment.not_checked)))
    for kind in ("tests", "failures", "skipped"):
        root.set(kind, str(sum(int(suite.get(kind, "0")) for suite in root)))
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: Element, name: str, findings: Sequence[Finding], fail_on: Severity) -> Element:
    failures = sum(found.severity.rank <= fail_on.rank for found in findings)
    suite = SubElement(
        root,
        "testsuite",
        name=_clean(name),
        tests=str(max(len(findings), 1)),
        failures=str(failures),
        errors="0",
        skipped="0",
        time="0",
    )
    for found in findings:
        case = _case(suite, found.rule, f"{found.what} ({found.subject})" if found.subject else found.what)
        text = _clean(f"{found.message}\nwhy: {found.why}\ndo: {found.remedy}")
        if found.severity.rank <= fail_on.rank:
            SubElement(case, "failure", message=_clean(found.message), type=found.severity.value).text = text
        else:
            SubElement(case, "system-out").text = f"{found.severity.value}: {text}"
    if not findings:
        _case(suite, "assess", "nothing stands in the way")
    return suite


def _case(suite: Element, rule: str, what: str) -> Element:
    classname = f"{suite.get('name', '').strip('/').replace('.', '_').replace('/', '.')}"
    return SubElement(suite, "testcase", classname=classname, name=_clean(f"{rule} {what}"), time="0")


def _clean(text: str) -> str:
    """Return a text without what XML cannot hold, and what turns lines around."""
    return visible(text)
