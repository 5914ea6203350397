"""Kafka behind TLS: who has a certificate of its authority gets in, nobody else; the whole of the transport speaks so."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.transport import RAW_RECORDS, declare_topics, end_offset, make_app, read_topic
from pipeline.kafka_url import kafka_place
from pipeline.model.topics import TopicSpec
from tests.transport.apps import WITHIN_S, collecting, running
from tests.transport.kafka_server import DEPLOY, KafkaServer


def certificates(folder: Path, *names: str) -> Path:
    subprocess.run([str(DEPLOY / "certificates"), str(folder), "127.0.0.1,localhost", *names], check=True)
    return folder


def url(server: KafkaServer, ca: Path, identity: Path, name: str) -> str:
    return f"kafkas://{server.address}?ca={ca / 'ca.pem'}&cert={identity / name}.pem&key={identity / name}.key"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return certificates(tmp_path / "ours", "worker-1", "worker-2")


@pytest.fixture
def server(kafka_jars: None, tmp_path: Path, ours: Path) -> Iterator[KafkaServer]:
    made = KafkaServer(tmp_path / "kafka", tls=ours)
    made.start()
    yield made
    made.discard()


async def test_only_a_certificate_of_its_authority_opens_it(server: KafkaServer, ours: Path, tmp_path: Path) -> None:
    mine = url(server, ours, ours, "worker-1")
    spec = TopicSpec("sealed", True, 86_400)
    await declare_topics(mine, [spec], 2)
    app = make_app("reader", mine)
    topic = app.topic(spec.name, partitions=2, **RAW_RECORDS)
    got = collecting(app, spec.name, 2)
    async with running(app):
        await (await topic.send(key=b"k", value=b"sealed", partition=1))
        await got.until_count(1)
    assert await end_offset(url(server, ours, ours, "worker-2"), spec.name, 1) == 1
    assert [value async for _, _, value in read_topic(mine, spec.name, 1)] == [b"sealed"]

    theirs = certificates(tmp_path / "theirs", "intruder")
    for refused in (
        url(server, ours, theirs, "intruder"),  # another authority's certificate
        url(server, theirs, ours, "worker-1"),  # a broker that we have no reason to trust
        server.url,  # no TLS at all
    ):
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(WITHIN_S):
                await end_offset(refused, spec.name, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        "kafkas://a:9093",
        "kafkas://a:9093?ca=x&cert=y",
        "kafkas://a:9093?ca=x&cert=y&key=",
        "kafkas://a:9093?ca=x&cert=y&key=z&verify=no",
        "kafka://a:9092?ca=x&cert=y&key=z",
        "kafkas://?ca=x&cert=y&key=z",
        "kafka://a:9092/topic",
    ],
)
def test_a_url_that_says_too_little_or_too_much_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="RAHDAR_LOG_URL"):
        kafka_place(wrong)


def test_several_servers_and_their_files() -> None:
    place = kafka_place("kafkas://a:9093,b:9093?ca=/x/ca.pem&cert=/x/w.pem&key=/x/w.key")
    assert place.servers == ("a:9093", "b:9093")
    assert place.files == ("/x/ca.pem", "/x/w.pem", "/x/w.key")
    assert kafka_place("kafka://a:1;kafka://b:2").servers == ("a:1", "b:2")
    with pytest.raises(ConnectionError, match="RAHDAR_LOG_URL"):
        place.context()
