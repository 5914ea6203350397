"""Each fault provoked, one at a time: the doctor names it and says what to do, and says nothing where nothing is wrong."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents.local import free_port
from agents.look import look
from pipeline.clock import WallClock
from pipeline.doctor import files, machine, servers
from pipeline.doctor.finding import Finding, exit_code
from pipeline.ingest.authority import Authority
from pipeline.model import topics
from pipeline.model.observation import Tick
from tests.doctor.builders import Deployment, now, read_all, write_log

Provoke = Callable[[Deployment], None]


def wrong(found: Iterator[Finding]) -> list[Finding]:
    return [one for one in found if one.state in ("fault", "away")]


def tick(age_s: float = 0.0, **more: Any) -> Tick:
    at_us = WallClock().now_us() - int(age_s * 1e6)
    return Tick(**{"source": "ingest@here", "at_us": at_us, "healthy": True, "clock_trusted": True, **more})


def change(**settings: object) -> Provoke:
    return lambda d: d.changes.update(settings)


def test_nothing_is_said_where_nothing_is_wrong(deployment: Deployment) -> None:
    s = deployment.settings
    for check in (
        machine.settings(s, {}), machine.plan(s), machine.versions(), machine.disk(s, low_bytes=1), files.secrets(s),
        files.certificates(s, deployment.mqtt, now()), servers.databases(s), servers.broker(s), servers.influx(s, 0),
        machine.ports(deployment.settings.model_copy(update={"desk_url": f"http://127.0.0.1:{free_port()}"}), runs=False),
    ):  # fmt: skip
        found = list(check)
        assert wrong(iter(found)) == []


# ---- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provoke", "what", "do"),
    [
        (change(mqtt_passwords_file=None, mqtt_tls_ca_file=None), "no device may connect", "RAHDAR_MQTT_PASSWORDS_FILE"),
        (change(mqtt_url="mqtt://broker.example:1883"), "unencrypted", "mqtts://"),
        (change(mqtt_url="embedded://0.0.0.0:1883", mqtt_tls_cert_file=None), "unencrypted", "RAHDAR_MQTT_TLS_CERT_FILE"),
        (change(operators_file=None), "nobody may log in", "rahdar operator add"),
        (change(desk_url="http://0.0.0.0:8080"), "passwords travel unencrypted", "nginx"),
        (change(speed=4.0), "RAHDAR_SPEED is 4", "unset"),
    ],
)  # fmt: skip
def test_settings(deployment: Deployment, provoke: Provoke, what: str, do: str) -> None:
    provoke(deployment)
    (found,) = wrong(machine.settings(deployment.settings, {}))
    assert what in found.what
    assert do in found.do


def test_a_misspelt_setting_is_named_with_what_was_meant(deployment: Deployment) -> None:
    (found,) = wrong(machine.settings(deployment.settings, {"RAHDAR_OPERATOR_FILE": "x", "RAHDAR_PLAN": "y"}))
    assert "RAHDAR_OPERATOR_FILE" in found.what
    assert "RAHDAR_OPERATORS_FILE" in found.do


def test_a_bad_plan(deployment: Deployment) -> None:
    (deployment.directory / "plan" / "areas.yaml").write_text("areas: 7\n")
    (found,) = wrong(machine.plan(deployment.settings))
    assert "areas.yaml" in found.what
    assert "rahdar plan check" in found.do


def test_a_package_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("amqtt", "0.12.1") in machine._pinned(["amqtt==0.12.1", "numpy>=2", "x==1; extra == 'y'"])
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["amqtt==0.0.1", "not-there==2"])
    said = [f.what for f in wrong(machine.versions())]
    assert said == ["amqtt is 0.12.1, not 0.0.1", "not-there is missing, not 2"]


# ---- secrets and certificates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provoke", "what", "do"),
    [
        (lambda d: (d.mqtt / "server.key").chmod(0o644), "others may read", "chmod 600"),
        (lambda d: (d.directory / "operators.yaml").chmod(0o640), "others may read", "chmod 600"),
        (lambda d: (d.mqtt / "passwords").unlink(), "there is no", "rahdar device enrol"),
        (lambda d: (d.directory / "operators.yaml").write_text(""), "is empty", "rahdar operator add"),
    ],
)
def test_secrets(deployment: Deployment, provoke: Provoke, what: str, do: str) -> None:
    provoke(deployment)
    (found,) = wrong(files.secrets(deployment.settings))
    assert what in found.what
    assert do in found.do


def test_a_secret_that_we_may_not_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's answer is put in its place."""
    monkeypatch.setattr("os.access", lambda path, _: "server.key" not in str(path))
    (found,) = wrong(files.secrets(deployment.settings))
    assert "may not be read by us" in found.what
    assert "chown" in found.do


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (794, []),  # the broker's certificate holds 825 days; 30 before its end it is said
        (796, ["server.pem runs out on"]),
        (826, ["server.pem has run out"]),
        (3621, ["ca.pem runs out", "server.pem has run out", "crl.pem: it runs out soon"]),
        (3651, ["ca.pem has run out", "server.pem has run out", "crl.pem: it has run out"]),
        (-3, ["ca.pem holds from", "server.pem holds from"]),
    ],
)
def test_certificates_run_out(deployment: Deployment, days: int, expected: list[str]) -> None:
    found = wrong(files.certificates(deployment.settings, None, now() + timedelta(days=days)))
    assert len(found) == len(expected), found
    for part in expected:
        assert any(part in one.what for one in found), found
    assert all(one.do for one in found)


def test_the_notifiers_certificate_is_looked_at_too(deployment: Deployment) -> None:
    """A device's certificate holds two years."""
    deployment.changes["notify_cert_file"] = deployment.mqtt / "issued" / "rahdar-notify" / "device.pem"
    found = wrong(files.certificates(deployment.settings, None, now() + timedelta(days=720)))
    assert ["rahdar-notify/device.pem runs out on" in one.what for one in found] == [True]


def test_a_key_of_another_certificate(deployment: Deployment) -> None:
    other = deployment.mqtt / "issued" / "0"
    (deployment.mqtt / "server.key").write_bytes((other / "device.key").read_bytes())
    (found,) = wrong(files.certificates(deployment.settings, None, now()))
    assert "is not the key of server.pem" in found.what


def test_a_certificate_of_another_authority(deployment: Deployment, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", now())
    stranger.directory.mkdir()
    stranger.create()
    issued = stranger.issue_server(["localhost"])
    (deployment.mqtt / "server.pem").write_bytes(issued.certificate_pem)
    (deployment.mqtt / "server.key").write_bytes(issued.key_pem)
    (found,) = wrong(files.certificates(deployment.settings, None, now()))
    assert "is not of the authority beside it" in found.what


def test_what_is_no_certificate(deployment: Deployment) -> None:
    (deployment.mqtt / "crl.pem").write_text("-----BEGIN X509 CRL-----\nnonsense\n")
    (found,) = wrong(files.certificates(deployment.settings, deployment.mqtt, now()))
    assert "is no certificate" in found.what


# ---- the machine ------------------------------------------------------------------------------------------------------


def test_a_disk_without_room(deployment: Deployment) -> None:
    (found,) = wrong(machine.disk(deployment.settings, low_bytes=1 << 60))
    assert "GiB free" in found.what
    assert "make room" in found.do


@pytest.mark.parametrize(
    ("kept", "state", "what"),
    [
        ((True, 4_000), "ok", "at most 4 ms off"),
        ((True, 2_000_000), "fault", "2.0 s off"),
        ((False, 16_000_000), "fault", "no time service"),
        (None, "note", "does not say"),
    ],
)
def test_the_clock(kept: tuple[bool, int] | None, state: str, what: str) -> None:
    (found,) = machine.clock(kept)
    assert found.state == state
    assert what in found.what


def test_the_kernel_is_asked() -> None:
    found = machine.kernel_clock()
    assert found is None or (isinstance(found[0], bool) and found[1] >= 0)


class _Other(BaseHTTPRequestHandler):
    body = b"not a desk"

    def do_GET(self) -> None:  # http.server's name
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"not a desk", "is taken, and not by a desk"),
        (b'{"ok": false, "data_age_s": 47.0}', "its newest data is 47 s old"),
        (b'{"ok": true, "data_age_s": 1.0}', None),
    ],
)
def test_who_listens_where_the_desk_should(deployment: Deployment, body: bytes, what: str | None) -> None:
    with HTTPServer(("127.0.0.1", 0), type("Handler", (_Other,), {"body": body})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        deployment.changes["desk_url"] = f"http://127.0.0.1:{server.server_port}"
        deployment.changes["mqtt_url"] = f"embedded://127.0.0.1:{free_port()}"
        try:
            found = wrong(machine.ports(deployment.settings, runs=False))
        finally:
            server.shutdown()
            thread.join()
    assert [what in f.what for f in found] == [True] if what else found == []


def test_ports_of_a_system_that_runs_and_of_one_that_does_not(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        deployment.changes["mqtt_url"] = f"embedded://127.0.0.1:{taken.getsockname()[1]}"
        deployment.changes["desk_url"] = f"http://127.0.0.1:{free_port()}"
        (found,) = wrong(machine.ports(deployment.settings, runs=False))
        assert "taken, and not by a Rahdar" in found.what
        (found,) = wrong(machine.ports(deployment.settings, runs=True))
        assert (found.state, "the desk does not answer" in found.what) == ("away", True)


# ---- the log ----------------------------------------------------------------------------------------------------------


async def test_no_log_yet(deployment: Deployment) -> None:
    with pytest.raises(ConnectionError, match="no stage has run here yet"):
        await look(deployment.settings.log_url)
    assert not (deployment.directory / "log").exists(), "a look makes nothing"


@pytest.mark.parametrize(
    ("age_s", "more", "what"),
    [
        (0, {}, None),
        (10, {}, None),
        (40, {}, "s old ("),
        (-30, {}, "s ahead of ours"),
        (0, {"healthy": False}, "ingest is not well"),
        (0, {"clock_trusted": False}, "does not trust its clock"),
    ],
    ids=["fresh", "within three intervals", "old", "ahead", "unhealthy", "untrusted"],
)
async def test_ticks(deployment: Deployment, age_s: float, more: dict[str, Any], what: str | None) -> None:
    s = deployment.settings
    await write_log(s.log_url, [tick(100), tick(age_s, **more)])
    found = wrong(servers.ticks(s, await look(s.log_url), WallClock().now_us()))
    assert [what in f.what for f in found] == [True] if what else found == []


async def test_another_number_of_partitions(deployment: Deployment) -> None:
    await write_log(deployment.settings.log_url, [tick()])
    deployment.changes["partitions"] = 32
    s = deployment.settings
    (found,) = wrong(servers.ticks(s, await look(s.log_url), WallClock().now_us()))
    assert "has 4 partitions, RAHDAR_PARTITIONS says 32" in found.what


async def test_a_stage_that_does_not_read(deployment: Deployment) -> None:
    """By the age of what waits, not by the number: a few records of a quiet night may be an hour."""
    url = deployment.settings.log_url
    await write_log(url, [tick(90), tick()])
    read_all(url, "normalise", topics.RAW.name)
    (found,) = wrong(servers.lag(await look(url), WallClock().now_us()))
    assert "detect is 8 records behind, the oldest 9" in found.what
    assert "rahdar run detect" in found.do
    read_all(url, "detect", topics.OBSERVATIONS.name)
    assert wrong(servers.lag(await look(url), WallClock().now_us())) == []


# ---- databases --------------------------------------------------------------------------------------------------------


def test_a_damaged_database(deployment: Deployment) -> None:
    path = deployment.directory / "alert.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table t (x)")
        db.executemany("insert into t values (?)", [(os.urandom(500),) for _ in range(200)])
        db.commit()
    assert wrong(servers.databases(deployment.settings)) == []
    data = bytearray(path.read_bytes())
    data[8192:20000] = os.urandom(20000 - 8192)
    path.write_bytes(data)
    (found,) = wrong(servers.databases(deployment.settings))
    assert "is damaged" in found.what
    assert "restore" in found.do


def test_an_alert_server_that_is_away(deployment: Deployment) -> None:
    deployment.changes["alert_url"] = f"postgresql://rahdar:hidden-word@127.0.0.1:{free_port()}/rahdar"
    (found,) = wrong(servers.databases(deployment.settings))
    assert found.state == "away"
    assert "PostgreSQL" in found.do
    assert "hidden-word" not in found.what


# ---- what does not answer ---------------------------------------------------------------------------------------------


def test_a_broker_that_is_away(deployment: Deployment) -> None:
    deployment.changes["mqtt_url"] = f"mqtts://localhost:{free_port()}"
    (found,) = wrong(servers.broker(deployment.settings))
    assert found.state == "away"


def test_an_influxdb_that_is_away_or_has_no_token(deployment: Deployment) -> None:
    deployment.changes["record_url"] = f"influx://127.0.0.1:{free_port()}/police"
    (found,) = wrong(servers.influx(deployment.settings, 0))
    assert "RAHDAR_INFLUX_TOKEN_FILE" in found.what
    token = deployment.directory / "writer.token"
    token.write_text("x\n")
    deployment.changes["influx_token_file"] = token
    (found,) = wrong(servers.influx(deployment.settings, 0))
    assert found.state == "away"


# ---- the command ------------------------------------------------------------------------------------------------------


def doctor(deployment: Deployment, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**deployment.environment(), **more}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "doctor", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_exit_codes(deployment: Deployment) -> None:
    quiet = ("--only", "settings", "--only", "plan", "--only", "secrets", "--only", "certificates", "--quiet")
    good = doctor(deployment, *quiet)
    assert (good.returncode, good.stdout) == (0, ""), good.stderr
    (deployment.mqtt / "server.key").chmod(0o644)
    bad = doctor(deployment, *quiet, "--json")
    assert bad.returncode == 1
    (line,) = [json.loads(line) for line in bad.stdout.splitlines()]
    assert (line["check"], line["state"]) == ("secrets", "fault")
    assert "chmod 600" in line["do"]
    away = doctor(deployment, "--only", "ticks")
    assert away.returncode == 3
    assert "there is no log" in away.stdout
    usage = doctor(deployment, "--only", "weather")
    assert usage.returncode == 2


def test_a_setting_that_cannot_be_read_is_a_finding(deployment: Deployment) -> None:
    done = doctor(deployment, RAHDAR_LOG_URL="redis://x")
    assert done.returncode == 1
    assert "RAHDAR_LOG_URL" in done.stdout


def test_a_fault_weighs_more_than_what_is_away() -> None:
    away, fault, note = (Finding("c", state, "w") for state in ("away", "fault", "note"))  # type: ignore[arg-type]  # three of its words
    assert [exit_code(f) for f in ([note], [away, note], [away, fault])] == [0, 3, 1]
