"""The doctor at real servers: a Mosquitto, an influxd and a Kafka that are as they should be, and are not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient

from agents.look import look
from agents.transport import RAW_RECORDS, declare_topics, make_app
from pipeline.clock import WallClock
from pipeline.doctor import servers
from pipeline.doctor.finding import Finding
from pipeline.ingest.authority import write_private
from pipeline.model import topics
from pipeline.model.wire import RAW_VERSION, RawBatch, encode_raw
from pipeline.record.local import LocalInfluxd
from pipeline.settings import Settings
from tests.doctor.test_doctor import tick, wrong
from tests.ingest.mosquitto import Mosquitto
from tests.record.servers import started
from tests.transport.kafka_server import KafkaServer

HOUR_US = 3_600_000_000


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    folder = tmp_path / "mqtt"
    folder.mkdir()
    server = Mosquitto(folder).start()
    yield server
    server.kill()


def of_broker(server: Mosquitto, **changes: Any) -> Settings:
    d = server.directory
    given: dict[str, Any] = {
        "mqtt_url": f"mqtts://localhost:{server.port}", "mqtt_tls_ca_file": d / "ca.pem",
        "mqtt_tls_cert_file": d / "issued" / "{shard}" / "device.pem",
        "mqtt_tls_key_file": d / "issued" / "{shard}" / "device.key",
    }  # fmt: skip
    return Settings(**{**given, **changes})


def test_mosquitto_and_our_certificates(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Good; without one of ours; with a stranger's; against another authority."""
    found = list(servers.broker(of_broker(mosquitto)))
    assert [f.state for f in found] == ["ok", "ok"], found
    none = wrong(servers.broker(of_broker(mosquitto, mqtt_tls_cert_file=None)))
    assert all("refuses our certificate" in f.what for f in none)
    assert len(none) == 2
    other = tmp_path / "other"
    other.mkdir()
    stranger = Mosquitto(other)
    pair = {f"mqtt_tls_{n}_file": other / "issued" / "0" / f"device.{s}" for n, s in (("cert", "pem"), ("key", "key"))}
    assert "refuses our certificate" in wrong(servers.broker(of_broker(mosquitto, **pair)))[0].what
    distrust = wrong(servers.broker(of_broker(mosquitto, mqtt_tls_ca_file=stranger.directory / "ca.pem")))
    assert "does not convince us" in distrust[0].what
    missing = wrong(servers.broker(of_broker(mosquitto, mqtt_tls_key_file=other / "nothing")))
    assert "cannot be used" in missing[0].what


def test_a_broker_by_a_name_that_its_certificate_does_not_have(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    issued = mosquitto.devices.authority.issue_server(["elsewhere.example"])
    write_private(mosquitto.directory / "server.key", issued.key_pem)
    write_private(mosquitto.directory / "server.pem", issued.certificate_pem)
    mosquitto.start()
    found = wrong(servers.broker(of_broker(mosquitto)))
    assert "does not convince us" in found[0].what
    assert "rahdar device setup --host" in found[0].do


def test_the_bridges_session_is_left_alone(mosquitto: Mosquitto) -> None:
    """A look is no connection of MQTT's: the broker tells of no client that came."""
    list(servers.broker(of_broker(mosquitto)))
    mosquitto.kill(15)
    assert "as 0 (" not in mosquitto.log()
    assert "New client connected" not in mosquitto.log()


@pytest.fixture(scope="module")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalInfluxd]:
    server = started(tmp_path_factory.mktemp("influxd"), ("hazara",))
    yield server
    server.stop(signal.SIGKILL)


def of_influx(server: LocalInfluxd, root: Path, token: Path | None = None) -> Settings:
    return Settings(
        record_url=server.url, influx_token_file=token or server.tokens.writer, plan=root / "plans" / "hazara"
    )


def influx(s: Settings, ahead_us: int = 0) -> list[Finding]:
    return list(servers.influx(s, WallClock().now_us() + ahead_us))


def test_influxdb_as_it_should_be(influxd: LocalInfluxd, root: Path) -> None:
    (found,) = influx(of_influx(influxd, root))
    assert found.state == "ok", found
    assert "3 buckets" in found.what


def test_influxdb_s_clock(influxd: LocalInfluxd, root: Path) -> None:
    found = wrong(iter(influx(of_influx(influxd, root), HOUR_US)))
    assert [("3600 s apart" in f.what or "3599 s apart" in f.what or "3601 s apart" in f.what) for f in found] == [True]


def test_a_token_that_may_only_read_and_one_that_is_none(influxd: LocalInfluxd, root: Path, tmp_path: Path) -> None:
    reader = wrong(iter(influx(of_influx(influxd, root, influxd.tokens.reader))))
    assert len(reader) == 3
    assert all("token is refused" in f.what for f in reader), reader
    (tmp_path / "token").write_text("nonsense\n")
    none = wrong(iter(influx(of_influx(influxd, root, tmp_path / "token"))))
    assert all("token is refused (401)" in f.what for f in none), none


def test_a_bucket_that_is_gone(influxd: LocalInfluxd, root: Path) -> None:
    """Last: it takes the bucket away."""
    admin = influxd.admin.read_text().strip()
    with InfluxDBClient(url=influxd.place.url, token=admin, org=influxd.place.org) as client:
        buckets = client.buckets_api()
        buckets.delete_bucket(buckets.find_bucket_by_name("rahdar_hazara_raw"))
    (found,) = wrong(iter(influx(of_influx(influxd, root))))
    assert "no bucket rahdar_hazara_raw" in found.what
    assert "rahdar influx setup" in found.do


@pytest.fixture
def kafka(kafka_jars: None, tmp_path: Path) -> Iterator[KafkaServer]:
    """Of its own: the stages' topics have fixed names."""
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    yield server
    server.discard()


async def test_a_look_at_kafka(kafka: KafkaServer) -> None:
    """Nothing yet; a Tick and what nobody has read; and Kafka away."""
    s = Settings(log_url=kafka.url, partitions=4)
    empty = await look(kafka.url)
    assert "no topics yet" in wrong(servers.ticks(s, empty, WallClock().now_us()))[0].what
    await declare_topics(kafka.url, topics.ALL, 4)
    app = make_app("rahdar-test", kafka.url)
    raw = app.topic(topics.RAW.name, partitions=4, **RAW_RECORDS)
    await app.maybe_start_producer()
    one = tick()
    value = encode_raw(RawBatch(RAW_VERSION, one.source, "hash", [], [one]))
    for p in range(4):
        await (await raw.send(key=b"_tick", value=value, partition=p))
    await app.producer.stop()
    seen = await look(kafka.url)
    now_us = WallClock().now_us()
    assert wrong(servers.ticks(s, seen, now_us)) == []
    assert seen.behind == {"normalise": 4, "detect": 0, "alert": 0}
    assert wrong(servers.lag(seen, now_us)) == []
    (found,) = wrong(servers.lag(seen, now_us + HOUR_US))
    assert "normalise is 4 records behind" in found.what
    kafka.stop()
    with pytest.raises(ConnectionError, match="cannot reach Kafka"):
        await look(kafka.url)
