"""A backup of a system that runs is put on another machine, which goes on from there."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from agents.local import LocalStack
from pipeline.clock import WallClock
from pipeline.record.influx import Influx, Place
from pipeline.record.local import LocalInfluxd
from simulators.publish import Publisher
from simulators.run import mqtt_messages, story_named
from tests.doctor.builders import Deployment
from tests.record.servers import started
from tests.stack.ledgers import payloads, read_everything
from tests.stack.running import running

PARTITIONS = 32
SPEED = 4.0


def rahdar(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], env=dict(environment), capture_output=True, text=True, timeout=100
    )


def opened(directory: Path) -> set[str]:
    """Alerts, as the desk's record has them."""
    with closing(sqlite3.connect(f"file:{directory}/record.sqlite?mode=ro", uri=True)) as db:
        return {str(row[0]) for row in db.execute("select distinct alert from alert_events")}


async def tell(stack: LocalStack, seconds: int, seed: int) -> Publisher:
    clock = WallClock(SPEED)
    publisher = Publisher(stack.mqtt_url, stack.credentials, clock)
    messages = mqtt_messages(story_named("first-watch"), stack.compiled, seed, clock.now_us(), seconds)
    await asyncio.wait_for(publisher.run(messages, asyncio.Event()), 120)
    assert publisher.acked == publisher.sent
    return publisher


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_backup_of_a_running_system_goes_on_elsewhere(tmp_path: Path, root: Path) -> None:
    """Half a story, a backup in the midst of it, the other half lost with the machine; the copy takes a whole story after it."""
    first = LocalStack(tmp_path / "first", root / "plans" / "hazara", extra={"RAHDAR_LOG_LEVEL": "ERROR"})
    with running(first, 0.5):
        telling = asyncio.ensure_future(tell(first, 160, 1))
        async with asyncio.timeout(100):
            while True:
                if (first.directory / "record.sqlite").exists() and opened(first.directory):
                    break
                await asyncio.sleep(0.5)
        done = await asyncio.to_thread(rahdar, first.environment(), "backup", str(tmp_path / "copy"))
        assert done.returncode == 0, done.stderr
        await telling
    names = json.loads((tmp_path / "copy" / "MANIFEST.json").read_text())["sha256"]
    assert {"alert.sqlite", "record.sqlite", "log.sqlite", "var/desk.sqlite"} <= names.keys()

    second = LocalStack(tmp_path / "second", root / "plans" / "hazara", extra={"RAHDAR_LOG_LEVEL": "ERROR"})
    environment = {**first.environment(), **second.environment()}
    done = await asyncio.to_thread(rahdar, environment, "restore", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    again = await asyncio.to_thread(rahdar, environment, "restore", str(tmp_path / "copy"))
    assert (again.returncode, "move it away" in again.stderr) == (1, True)
    kept = opened(second.directory)
    assert kept
    before = await read_everything(second.log_url, PARTITIONS)
    with running(second, 0.5):
        await tell(second, 120, 2)
        async with asyncio.timeout(90):
            while True:
                told = await read_everything(second.log_url, PARTITIONS)
                events = {e.seq: e for e in told.events}
                alerts = [e.alert.id for e in events.values() if e.transition == "opened"]
                begun = {c.episode.id for c in told.changes if c.kind == "begin" and c.mode == "live"}
                new = begun - {c.episode.id for c in told.changes if c.kind == "retract"}
                new -= {c.episode.id for c in before.changes}
                if new and new <= set(alerts) and opened(second.directory) >= set(alerts):
                    break
                await asyncio.sleep(1)
    assert not payloads(before.raw) - payloads(told.raw), "what was in the copy is still there"
    assert kept <= opened(second.directory)
    assert len(alerts) == len(set(alerts)), "an alert was opened twice"


def test_a_damaged_or_foreign_backup_is_refused(tmp_path: Path, root: Path) -> None:
    deployment = Deployment(tmp_path / "a")
    deployment.directory.mkdir()
    deployment.changes.update(
        mqtt_passwords_file=None,
        mqtt_tls_ca_file=None,
        mqtt_tls_cert_file=None,
        mqtt_tls_key_file=None,
        operators_file=None,
    )
    with closing(sqlite3.connect(deployment.directory / "alert.sqlite")) as db:
        db.execute("create table t (x)")
    environment = deployment.environment()
    assert rahdar(environment, "backup", str(tmp_path / "copy")).returncode == 0
    assert rahdar(environment, "backup", str(tmp_path / "copy")).returncode == 1, "one that is there is not overwritten"
    (deployment.directory / "alert.sqlite").unlink()
    with (tmp_path / "copy" / "alert.sqlite").open("r+b") as file:
        file.seek(100)
        file.write(b"?")
    damaged = rahdar(environment, "restore", str(tmp_path / "copy"))
    assert (damaged.returncode, "is not what was written" in damaged.stderr) == (1, True)
    manifest = tmp_path / "copy" / "MANIFEST.json"
    manifest.write_text(json.dumps({"version": 1, "at": "", "sha256": {"var/../../etc/x": "0"}}))
    assert "no place for it" in rahdar(environment, "restore", str(tmp_path / "copy")).stderr
    assert "no backup of ours" in rahdar(environment, "restore", str(tmp_path)).stderr


def test_influxdbs_folder_is_its_backup(tmp_path: Path) -> None:
    """Stopped, copied, started elsewhere: points, buckets and tokens are there."""
    server = started(tmp_path / "influxd", ("r",))
    try:
        with closing(Influx(server.place, server.tokens.writer.read_text().strip())) as writer:
            at = WallClock().now_us() * 1000
            assert writer.write("rahdar_system", [f"machine,host=h cpu_pct=7 {at}"]) == []
        server.stop(signal.SIGTERM)
        shutil.copytree(tmp_path / "influxd", tmp_path / "elsewhere")
        other = LocalInfluxd(tmp_path / "elsewhere")
        other.start()
        try:
            place = Place(other.place.url, server.place.org, server.place.memory)
            with closing(Influx(place, other.tokens.reader.read_text().strip())) as reader:
                rows = reader.query('from(bucket: "rahdar_system") |> range(start: 0)')
            assert [row["_value"] for row in rows] == [7.0]
        finally:
            other.stop()
    finally:
        server.stop()
