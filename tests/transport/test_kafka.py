"""What only Kafka has: settings of topics, replicas, and a broker that may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaTimeoutError

from agents.transport import declare_topics, end_offset, kafka, make_app, read_topic
from agents.transport.kafka import bootstrap, keep_readers, replicas_of, settings_of
from pipeline.model import topics
from pipeline.model.topics import TopicSpec
from tests.transport.apps import RAW, WITHIN_S, collecting, make_topic, running
from tests.transport.kafka_server import KafkaServer

type_fresh = Callable[[str], str]


@pytest.mark.parametrize(("brokers", "replicas", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (5, 3, "2")])
def test_as_many_copies_as_there_are_brokers_up_to_three(brokers: int, replicas: int, in_sync: str) -> None:
    """With three, two must have a record before it counts as written: one broker may be lost, and one may be away."""
    assert replicas_of(brokers) == replicas
    assert settings_of(topics.RAW, brokers)["min.insync.replicas"] == in_sync


def test_a_single_broker_writes_alerts_and_commands_to_the_disk_at_once() -> None:
    """An acknowledgement of Kafka's is a page in memory; with several brokers the others have it, with one nobody does."""
    for spec in (topics.ALERTS, topics.COMMANDS):
        assert settings_of(spec, 1)["flush.messages"] == "1"
        assert "flush.messages" not in settings_of(spec, 3)
    assert "flush.messages" not in settings_of(topics.OBSERVATIONS, 1)


async def described(url: str, names: list[str]) -> dict[str, dict[str, str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap(url))
    await admin.start()
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
        return {
            name: {key: value for key, value, *_ in entries}
            for answer in answers
            for _, _, _, name, entries in answer.resources
        }
    finally:
        await admin.close()


async def test_topics_have_the_settings_that_were_declared(kafka_url: str, fresh: type_fresh) -> None:
    """Also those that exist already."""
    day, compact = TopicSpec(fresh("day"), True, 86_400), TopicSpec(fresh("compact"), True, None, compacted=True)
    await declare_topics(kafka_url, [TopicSpec(day.name, True, 7), TopicSpec(compact.name, True, None)], 3)
    await declare_topics(kafka_url, [day, compact], 3)
    wanted = {spec.name: settings_of(spec, 1) for spec in (day, compact)}
    found: dict[str, dict[str, str]] = {}
    async with asyncio.timeout(WITHIN_S):  # the broker learns of it a moment after the controller has said yes
        while not all(found and found[name][key] == value for name in wanted for key, value in wanted[name].items()):
            found = await described(kafka_url, [day.name, compact.name])
    assert (found[day.name]["cleanup.policy"], found[day.name]["retention.ms"]) == ("delete", "86400000")
    assert found[compact.name]["cleanup.policy"] == "compact"


@pytest.fixture
def own_kafka(kafka_jars: None, tmp_path: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    try:
        yield server
    finally:
        server.discard()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_while_the_broker_is_away_records_wait_and_none_comes_twice(
    own_kafka: KafkaServer, fresh: type_fresh
) -> None:
    """It is killed in the middle of writing, and started again on its data."""
    topic = fresh("outage")
    await make_topic(own_kafka.url, topic)
    app = make_app(fresh("app"), own_kafka.url)
    seen = collecting(app, topic)
    count = 3000
    async with running(app):
        target = app.topic(topic, **RAW)

        async def send() -> None:
            for first in range(0, count, 50):
                sent = [await target.send(key=b"k", value=b"%d" % n, partition=0) for n in range(first, first + 50)]
                for delivery in sent:
                    await delivery

        sending = asyncio.ensure_future(send())
        await seen.until_count(200)
        own_kafka.kill()
        await asyncio.to_thread(own_kafka.start)
        await asyncio.wait_for(sending, 90)
        await seen.until_count(count)
        assert not app._crashed.is_set()
    written = [int(value or b"-1") async for _, _, value in read_topic(own_kafka.url, topic, 0)]
    assert written == list(range(count))
    assert sorted({int(value) for value in seen.values}) == written


class _Gone:
    """A reader whose broker goes away while it is asked."""

    stopped = False

    async def end_offsets(self, tps: object) -> object:
        raise KafkaTimeoutError

    async def stop(self) -> None:
        self.stopped = True


async def test_a_broker_that_goes_away_while_it_is_asked_is_an_outage() -> None:
    """Whoever looks at a log from outside waits for the outage's end, and knows it by one kind of error."""
    async with keep_readers():
        gone = _Gone()
        kept = kafka._kept.get()
        assert kept is not None
        kept["kafka://gone"] = [gone]
        with pytest.raises(ConnectionError, match="does not answer"):
            await end_offset("kafka://gone", "a-topic", 0)
        assert gone.stopped
        assert kept == {"kafka://gone": []}, "it is not asked again"
