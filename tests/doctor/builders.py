"""A deployment with nothing wrong, as settings and files, for tests that break one thing of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from agents.transport import LogStore, declare_topics
from agents.transport.address import log_directory
from pipeline.clock import WallClock
from pipeline.desk.operators import Operators
from pipeline.ingest.authority import utc
from pipeline.ingest.devices import Devices
from pipeline.model import topics
from pipeline.model.observation import Tick
from pipeline.model.wire import RAW_VERSION, RawBatch, encode_raw
from pipeline.settings import Settings

PARTITIONS = 4


class Deployment:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.changes: dict[str, object] = {}

    @classmethod
    def make(cls, directory: Path, plan: Path) -> Deployment:
        Devices(directory / "mqtt", WallClock()).setup(["localhost"])
        Operators(directory / "operators.yaml").put("amina", "operator", "a long enough password")
        shutil.copytree(plan, directory / "plan")
        return cls(directory)

    def copy(self, directory: Path) -> Deployment:
        """Keys and hashes take their time: one that is made is copied."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return Deployment(directory)

    @property
    def mqtt(self) -> Path:
        return self.directory / "mqtt"

    @property
    def settings(self) -> Settings:
        d = self.directory
        given: dict[str, object] = {
            "log_url": f"log://{d}/log", "mqtt_url": "embedded://127.0.0.1:1883", "plan": d / "plan", "var": d / "var",
            "record_url": f"sqlite:///{d}/record.sqlite", "alert_url": f"sqlite:///{d}/alert.sqlite",
            "mqtt_passwords_file": self.mqtt / "passwords", "mqtt_tls_ca_file": self.mqtt / "ca.pem",
            "mqtt_tls_cert_file": self.mqtt / "server.pem", "mqtt_tls_key_file": self.mqtt / "server.key",
            "operators_file": d / "operators.yaml", "partitions": PARTITIONS,
        }  # fmt: skip
        return Settings(**{**given, **self.changes})  # type: ignore[arg-type]  # by name

    def environment(self) -> dict[str, str]:
        """For a process of its own."""
        mine = self.settings.environment()
        return {**{k: v for k, v in os.environ.items() if not k.startswith("RAHDAR_")}, **mine}


def now() -> datetime:
    return utc(WallClock().now_us())


async def write_log(url: str, ticks: Sequence[Tick]) -> None:
    """A log with these Ticks in every partition, stamped when they say, which nobody has read."""
    await declare_topics(url, topics.ALL, PARTITIONS)
    store = LogStore.acquire(log_directory(url))
    try:
        for tick in ticks:
            value = encode_raw(RawBatch(RAW_VERSION, tick.source, "hash", [], [tick]))
            for p in range(PARTITIONS):
                for topic in (topics.RAW.name, topics.OBSERVATIONS.name):
                    await store.append(topic, p, b"_tick", value, tick.at_us)
    finally:
        await store.release()


def read_all(url: str, stage: str, topic: str) -> None:
    """As if the stage had committed everything."""
    with closing(sqlite3.connect(log_directory(url) / "log.sqlite")) as db:
        (number,) = db.execute("select id from topics where name=?", (topic,)).fetchone()
        heads = db.execute("select tp, next from heads where tp between ? and ?", (number * 4096, number * 4096 + 4095))
        rows = [(f"rahdar-{stage}", tp, head) for tp, head in heads.fetchall()]
        db.executemany("insert or replace into committed values (?, ?, ?)", rows)
        db.commit()
