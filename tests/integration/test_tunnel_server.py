"""The OMA's end as a service: what is written where, what is refused before, and that it can be repeated."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from migratekit_cli.main import app
from migratekit_core.adapters.tunnel import SERVICES, pki
from migratekit_core.adapters.tunnel.install import CONFIG_FILE, UNIT_FILE, WATCH_FILE, inspect, install, look
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.schema import TunnelServer
from tests.lab.parts.process import choose_port
from tests.tunnels import Service, addresses, free_port

USER = getpass.getuser()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        pki.init(Path(name) / "a")
        yield Path(name)


def settings(folder: Path, **given: Any) -> TunnelServer:
    made = folder / "a"
    fields = {"cert_file": made / "oma.pem", "ca_file": made / "ca.pem", "crl_file": made / "crl.pem", **given}
    return TunnelServer(**{"listen": f"127.0.0.1:{free_port()}", "stats_socket": folder / "admin.sock", **fields})


def below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def test_it_is_written_validated_and_repeated_without_a_change(folder: Path) -> None:
    root, wanted = folder / "root", settings(folder)
    plan = install(wanted, dry_run=True, user=USER, root=root)
    assert not root.exists(), "a plan writes nothing"
    assert [change.change for change in plan if "/" in change.what] == ["write", "write", "write"]
    assert install(wanted, dry_run=False, user=USER, root=root) == plan
    config, unit = below(root, CONFIG_FILE), below(root, UNIT_FILE)
    assert config.stat().st_mode & 0o777 == 0o600
    assert subprocess.run(["haproxy", "-c", "-q", "-f", str(config)], timeout=20).returncode == 0
    before = config.stat().st_mtime_ns, unit.stat().st_mtime_ns
    again = install(wanted, dry_run=False, user=USER, root=root)
    assert [change.change for change in again if "/" in change.what] == ["same", "same", "same"]
    assert (config.stat().st_mtime_ns, unit.stat().st_mtime_ns) == before
    # What was revoked meanwhile is in a file that HAProxy reads at its start only.
    pki.revoke(folder / "a", "vma")
    changed = install(wanted, dry_run=True, user=USER, root=root)
    assert [change.change for change in changed if "/" in change.what] == ["write", "same", "same"]
    assert any("restart" in change.what for change in changed)


def test_the_unit_is_one_that_systemd_takes_and_is_hardened(folder: Path) -> None:
    root = folder / "root"
    install(settings(folder), dry_run=False, user=USER, root=root)
    unit, watch = below(root, UNIT_FILE), below(root, WATCH_FILE)
    program = shutil.which("systemd-analyze")
    assert program is not None
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit), str(watch)], capture_output=True, text=True, timeout=60
    )
    assert "migratekit-tunnel" not in done.stderr, done.stderr
    text = unit.read_text()
    assert f"User={USER}" in text
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in text
    for path in (unit, watch):
        command = [program, "security", "--offline=true", "--threshold=30", str(path)]
        rated = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert rated.returncode == 0, rated.stdout[-400:]


Damage = Callable[[Path], TunnelServer]


def other_key(folder: Path) -> TunnelServer:
    good, other = (folder / "a" / "oma.pem").read_text(), (folder / "a" / "vma.pem").read_text()
    mark = "-----BEGIN PRIVATE KEY"
    path = folder / "a" / "mixed.pem"
    path.write_text(good[: good.index(mark)] + other[other.index(mark) :])
    path.chmod(0o600)
    return settings(folder, cert_file=path)


def readable(folder: Path) -> TunnelServer:
    (folder / "a" / "oma.pem").chmod(0o644)
    return settings(folder)


def issued(name: str, **given: Any) -> Damage:
    def make(folder: Path) -> TunnelServer:
        return settings(folder, cert_file=pki.issue(folder / "a", name, **given))

    return make


def other_ca(folder: Path) -> TunnelServer:
    pki.init(folder / "b")
    return settings(folder, ca_file=folder / "b" / "ca.pem", crl_file=folder / "b" / "crl.pem")


def revoked(folder: Path) -> TunnelServer:
    pki.revoke(folder / "a", "oma")
    return settings(folder)


def other_list(folder: Path) -> TunnelServer:
    pki.init(folder / "b")
    return settings(folder, crl_file=folder / "b" / "crl.pem")


REFUSED: dict[str, tuple[Damage, str]] = {
    "no file": (lambda folder: settings(folder, cert_file=folder / "none.pem"), "No such file"),
    "key of another": (other_key, "mixed.pem"),
    "key readable by others": (readable, "mode 644"),
    "a client's certificate": (lambda folder: settings(folder, cert_file=folder / "a" / "vma.pem"), "vma.pem"),
    "expired": (issued("late", server=True, names=list(SERVICES), days=-1), "until"),
    "names missing": (issued("less", server=True, names=["db"]), "lacks nbd, volumes"),
    "another CA": (other_ca, "ca.pem"),
    "its own certificate revoked": (revoked, "is revoked"),
    "the list of another CA": (other_list, "has none of"),
    "an address that is taken by nobody's machine": (lambda folder: settings(folder, listen="nowhere:443"), "nowhere"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_work_is_refused_before_anything_is_written(folder: Path, case: str) -> None:
    damage, words = REFUSED[case]
    wanted, root = damage(folder), folder / "root"
    with pytest.raises(PreconditionError) as caught:
        install(wanted, dry_run=False, user=USER, root=root)
    assert words in caught.value.why
    assert caught.value.todo
    assert not root.exists()
    assert any(not finding.ok and words in finding.detail for finding in inspect(wanted, USER))


def test_a_user_that_is_missing_is_named_with_the_command_that_makes_it(folder: Path) -> None:
    with pytest.raises(PreconditionError) as caught:
        install(settings(folder), dry_run=False, user="nobody-of-this-name", root=folder / "root")
    assert str(caught.value.todo).startswith("useradd ")


def test_check_tells_what_is_wrong_and_that_all_is_well(folder: Path) -> None:
    running = {name: Service(name) for name in SERVICES}
    wanted, root = settings(folder, listen=f"127.0.0.1:{choose_port(None)}", **addresses(running)), folder / "root"
    bad = {finding.check for finding in look(wanted, root) if not finding.ok}
    assert bad == {"installed configuration", "unit", f"answers on {wanted.listen}"}
    install(wanted, dry_run=False, user=USER, root=root)
    with subprocess.Popen(
        ["haproxy", "-db", "-f", str(below(root, CONFIG_FILE))], stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(200):
                found = [finding for finding in look(wanted, root) if not finding.ok]
                if not found:
                    break
            assert found == []
            running["db"].shutdown()
            running["db"].server_close()
            (down,) = [finding for finding in look(wanted, root) if not finding.ok]
            assert down.check == "service db"
            # A certificate that was replaced in the file, and not yet in the process.
            pki.rotate(folder / "a", "oma")
            stale = {finding.check: finding.detail for finding in look(wanted, root) if not finding.ok}
            assert "another certificate" in stale[f"answers on {wanted.listen}"]
        finally:
            process.kill()
    for service in running.values():
        service.server_close()


def command(folder: Path, *arguments: str) -> Result:
    config = folder / "config.toml"
    made = folder / "a"
    config.write_text(
        f'[tunnel.server]\nlisten = "127.0.0.1:{free_port()}"\ncert_file = "{made}/oma.pem"\n'
        f'ca_file = "{made}/ca.pem"\ncrl_file = "{made}/crl.pem"\n'
    )
    return CliRunner().invoke(app, ["--config", str(config), "tunnel", "server", *arguments])


def test_the_commands(folder: Path) -> None:
    rendered = command(folder, "render")
    assert rendered.exit_code == 0, rendered.stderr
    assert "verify required" in rendered.stdout
    assert "ssl-min-ver TLSv1.3" in rendered.stdout
    other = command(folder, "render", "--db", "10.0.0.5:3306")
    assert other.exit_code == 2
    assert "not a loopback address" in other.stderr
    planned = command(folder, "install", "--user", USER, "--dry-run", "--output", "json")
    assert planned.exit_code == 0, planned.stderr
    assert json.loads(planned.stdout)["changes"][0] == {"what": str(CONFIG_FILE), "change": "write"}
    asked = command(folder, "install", "--user", USER)
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    checked = command(folder, "check", "--output", "json")
    assert checked.exit_code == 4
    assert json.loads(checked.stdout)["ok"] is False
