"""Into a real InfluxDB: twice is once, a bad point is set aside, an outage or a kill -9 loses nothing, amended episodes end up right."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from influxdb_client import InfluxDBClient, WriteOptions
from influxdb_client.rest import ApiException

from agents.record import InfluxSink, influx_sink
from agents.transport import LogStore, declare_topics, read_topic
from agents.transport.address import log_directory
from pipeline.clock import WallClock
from pipeline.model import topics
from pipeline.model.alert import encode_event
from pipeline.model.episode import Change, encode_changes
from pipeline.model.observation import Reading, Tick
from pipeline.model.wire import ObservationBatch, decode_reject, encode_observations
from pipeline.plan.model import CompiledPlan
from pipeline.record.influx import AwayError, Influx, MisconfiguredError
from pipeline.record.local import LocalInfluxd
from pipeline.record.read import Reader
from pipeline.record.setup import Setup, downsampling
from pipeline.record.write import Taken, Writer
from pipeline.settings import Settings
from tests.alert.builders import batch, change, episode
from tests.detect import plans
from tests.detect.plans import fix
from tests.record.test_points import event
from tests.record.test_record import FATES, PLACE, seen

pytestmark = pytest.mark.timeout(
    300
)  # a server is started, killed and started again, on a machine that does other things

RAW, EVENTS = "rahdar_r_raw", "rahdar_r_events"
PARTITIONS = 2
NOW_US = WallClock().now_us()


@pytest.fixture
def plan() -> CompiledPlan:
    return plans.plan(vehicles=[f"v{n}" for n in range(20)])


def recent(n: int, vehicle: str, ago_s: float = 3600) -> Any:
    """The nth second of a drive, an hour ago: what is older than its bucket's retention would not be taken."""
    at_us = NOW_US - int(ago_s * 1e6) + n * 1_000_000
    return msgspec.structs.replace(fix(0, n, 0, vehicle=vehicle), seen_at_us=at_us, received_at_us=at_us, seq=n)


def rows(influx: Influx, bucket: str, measurement: str, where: str = "true", field: str = "") -> list[dict[str, Any]]:
    chosen = f'r._field == "{field}"' if field else "true"
    return influx.query(
        f'from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)'
        f' |> filter(fn: (r) => r._measurement == "{measurement}" and {where} and {chosen})'
        ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()'
    )


class Log:
    """An embedded log to write into."""

    def __init__(self, tmp_path: Path, server: LocalInfluxd) -> None:
        self.url = f"log://{tmp_path / 'log'}"
        self.settings = Settings(
            log_url=self.url, record_url=server.url, influx_token_file=server.tokens.writer, partitions=PARTITIONS, var=tmp_path / "var",
        )  # fmt: skip

    async def put(self, topic: str, *values: bytes, partition: int = 0) -> None:
        await declare_topics(self.url, topics.ALL, PARTITIONS)
        store = LogStore.acquire(log_directory(self.url))
        try:
            for value in values:
                await store.append(topic, partition, b"c", value)
        finally:
            await store.release()

    async def observe(self, *batches: ObservationBatch) -> None:
        await self.put(topics.OBSERVATIONS.name, *map(encode_observations, batches))

    @asynccontextmanager
    async def sink(self, plan: CompiledPlan) -> Any:
        await declare_topics(self.url, topics.ALL, PARTITIONS)
        one = influx_sink(self.settings, plan)
        await one.app.start()
        await one.started()
        try:
            yield one
        finally:
            await one.app.stop()
            await one.stopped()


@pytest.fixture
def log(tmp_path: Path, influxd: LocalInfluxd) -> Log:
    return Log(tmp_path, influxd)


async def until(what: Callable[[], Any], within_s: float = 150.0) -> Any:
    """Ask again until it is so."""
    async with asyncio.timeout(within_s):
        while not (found := await asyncio.to_thread(what)):  # noqa: ASYNC110  # a server's answer sets no event
            await asyncio.sleep(0.1)
    return found


async def written(sink: InfluxSink, least: int) -> None:
    async with asyncio.timeout(150):
        while sink.health.points < least:  # noqa: ASYNC110  # a counter of the product's, read from outside
            await asyncio.sleep(0.05)


# ---- the client -------------------------------------------------------------------------------------------------------------


def test_twice_is_once_for_a_reader(influx: Influx, reader: Influx) -> None:
    lines = [f"links,region=r,device=once online=1i {(NOW_US + n) * 1000}" for n in range(10)]
    for _ in range(3):
        influx.write(RAW, lines)
    assert len(rows(reader, RAW, "links", 'r.device == "once"')) == 10


POISON = [
    ("not of its form", "positions,region=r lat_deg= 5"),
    ("another type", f'sensors,region=r,sensor=poison value="x" {NOW_US * 1000}'),
    ("older than its bucket keeps", "sensors,region=r,sensor=poison value=1 5"),
]


@pytest.mark.parametrize("bad", [p[1] for p in POISON], ids=[p[0] for p in POISON])
@pytest.mark.parametrize("place", [0, 333, 999])
def test_one_poison_point_costs_one_point(influx: Influx, reader: Influx, bad: str, place: int) -> None:
    """Set aside with InfluxDB's own reason; every other line of the request is there."""
    tag = f"good{place}{POISON.index(next(p for p in POISON if p[1] == bad))}"
    lines = [f"sensors,region=r,sensor={tag} value={n} {(NOW_US + n) * 1000}" for n in range(999)]
    lines.insert(place, bad)
    (aside,) = influx.write(RAW, lines)
    assert aside.line == bad
    assert aside.reason.startswith(("400 ", "422 "))
    assert len(rows(reader, RAW, "sensors", f'r.sensor == "{tag}"')) == 999


def test_what_somebody_has_to_mend_is_said_and_nothing_is_set_aside(influxd: LocalInfluxd, influx: Influx) -> None:
    with pytest.raises(MisconfiguredError, match="rahdar influx setup"):
        influx.write("rahdar_none_raw", ["m,a=b x=1"])
    with closing(Influx(influxd.place, "wrong")) as stranger, pytest.raises(MisconfiguredError, match="401"):
        stranger.write(RAW, ["m,a=b x=1"])


def test_an_influxdb_that_is_not_there_is_away(influxd: LocalInfluxd) -> None:
    nowhere = replace(influxd.place, url="http://127.0.0.1:1")
    with closing(Influx(nowhere, "t")) as client, pytest.raises(AwayError):
        client.write(RAW, ["m,a=b x=1"])


# ---- set-up -----------------------------------------------------------------------------------------------------------------


def test_set_up_twice_says_nothing_new(influxd: LocalInfluxd) -> None:
    before = influxd.tokens.writer.read_text()
    said: list[str] = []
    Setup(influxd.place, influxd.admin.read_text().strip(), said.append).run(("r",), influxd.tokens)
    assert said == []
    assert influxd.tokens.writer.read_text() == before


def test_a_token_may_do_what_it_is_for_and_nothing_else(influxd: LocalInfluxd, influx: Influx, reader: Influx) -> None:
    for path in (influxd.tokens.writer, influxd.tokens.reader, influxd.admin):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(MisconfiguredError):
        reader.write(RAW, ["m,a=b x=1"])
    with pytest.raises(AwayError):
        rows(influx, RAW, "positions")  # the writer cannot read where vehicles were
    assert rows(influx, EVENTS, "none") == []
    with (
        InfluxDBClient(
            url=influxd.place.url, token=influxd.tokens.reader.read_text().strip(), org=influxd.place.org
        ) as client,
        pytest.raises(ApiException),
    ):
        client.delete_api().delete("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "", RAW, influxd.place.org)


def test_the_means_of_a_minute(influxd: LocalInfluxd, influx: Influx, reader: Influx) -> None:
    """The task's own Flux, run by hand: one row a minute and vehicle, also when it runs twice."""
    minute = WallClock().now_us() // 60_000_000 * 60_000_000 - 3 * 60_000_000
    lines = [
        f"positions,region=r,vehicle=mean,device=d,role=escort lat_deg=35.{n},lon_deg=73,speed_mps={n} {(minute + n * 1_000_000) * 1000}"
        for n in range(10)
    ]
    influx.write(RAW, lines)
    flux = downsampling("r", "x", "1m", "-15m").replace('option task = {name: "x", every: 1m, offset: 5s}', "")
    with closing(Influx(influxd.place, influxd.admin.read_text().strip())) as admin:
        for _ in range(2):
            admin.query(flux)
    (row,) = rows(reader, "rahdar_r_1m", "positions", 'r.vehicle == "mean"')
    assert row["speed_mps"] == 4.5
    assert int(row["_time"].timestamp() * 1e6) == minute


# ---- the stage --------------------------------------------------------------------------------------------------------------


async def test_from_the_log_into_influxdb_and_acknowledged(log: Log, plan: CompiledPlan, reader: Influx) -> None:
    await log.observe(seen(*[recent(n, "v1") for n in range(50)], Tick(source="ingest@t", at_us=NOW_US)))
    await log.put(topics.EPISODES.name, encode_changes(batch(change("begin", episode(subject="v1")))))
    await log.put(topics.ALERTS.name, encode_event(event(1)), encode_event(event(2, "acknowledged")))
    async with log.sink(plan) as sink:
        await written(sink, 54)
        assert len(await asyncio.to_thread(rows, reader, RAW, "positions", 'r.vehicle == "v1"')) == 50
        assert {r["transition"] for r in await asyncio.to_thread(rows, reader, EVENTS, "alerts")} >= {"opened", "acknowledged"}  # fmt: skip
    async with log.sink(plan) as again:
        await log.observe(seen(recent(60, "v1")))
        await written(again, 1)
        assert again.health.points == 1, "what was acknowledged is not read again"


async def test_a_poison_point_is_kept_among_the_rejects(log: Log, plan: CompiledPlan, reader: Influx) -> None:
    """The sensor once said a number under this name; a point that is too old is set aside, those beside it are written."""
    old = msgspec.structs.replace(recent(0, "v2"), seen_at_us=NOW_US - 40 * 86_400_000_000)
    await log.observe(seen(recent(1, "v2"), old, recent(2, "v2")), seen(Reading(sensor="s", what="w", value=1, seen_at_us=NOW_US, received_at_us=NOW_US)))  # fmt: skip
    async with log.sink(plan) as sink:
        await written(sink, 3)
        assert sink.health.set_aside == 1
    found = [decode_reject(v) async for _, _, v in read_topic(log.url, topics.REJECTS.name, 0) if v]
    assert [(r.source, "retention" in r.detail, r.item.topic) for r in found] == [("record", True, RAW)]
    assert found[0].item.payload.startswith(b"positions,device=v2-d0,region=r")


@pytest.mark.parametrize("apart", [False, True], ids=["one owner", "a new process for each"])
@pytest.mark.parametrize(("name", "changes"), [row[:2] for row in FATES], ids=[row[0] for row in FATES])
async def test_late_and_amended_episodes_end_up_right(
    tmp_path: Path, log: Log, plan: CompiledPlan, reader: Influx, name: str, changes: list[Change], apart: bool
) -> None:
    """What InfluxDB shows at the end is what the fold of all changes is."""
    obj = f"{name}{apart}".replace(" ", "").replace(",", "")
    known: dict[str, str] = {}

    def here(e: Any) -> Any:
        from pipeline.model.episode import episode_id

        new = episode_id(e.rule, e.subject, obj, e.began_at_us)
        known[e.id] = new
        return msgspec.structs.replace(e, object=obj, id=new)

    mine = [msgspec.structs.replace(c, episode=here(c.episode)) for c in changes]
    for e in (episode(0), episode(5), episode(9, subject="v2")):
        here(e)
    mine = [msgspec.structs.replace(c, was_ids=tuple(known[i] for i in c.was_ids)) for c in mine]
    with closing(Writer(tmp_path / "right.sqlite")) as right:
        right.write(Taken(changes=[(PLACE, batch(*mine))], offsets={PLACE: 1}))
    wanted = {(e["id"], e["ended_at_us"] or 0) for e in Reader(tmp_path / "right.sqlite").episodes(0, 2**60)}
    for some in [[c] for c in mine] if apart else [mine]:
        await log.put(topics.EPISODES.name, encode_changes(batch(*some)))
        async with log.sink(plan) as sink:
            await written(sink, 1)
    found = await asyncio.to_thread(rows, reader, EVENTS, "episodes", f'r.object == "{obj}"')
    assert {(r["id"], r["ended_us"]) for r in found if not r["gone"] and r.get("id")} == wanted


async def test_an_owner_that_was_replaced_is_not_heard(log: Log, plan: CompiledPlan, reader: Influx) -> None:
    first = msgspec.structs.replace(episode(), object="epoch")
    await log.put(topics.EPISODES.name, encode_changes(batch(change("begin", first), epoch=3)))
    async with log.sink(plan) as sink:
        await written(sink, 1)
    await log.put(topics.EPISODES.name, encode_changes(batch(change("retract", first), epoch=2)), encode_changes(batch(change("begin", msgspec.structs.replace(episode(7), object="epoch7")), epoch=3)))  # fmt: skip
    async with log.sink(plan) as sink:
        await written(sink, 1)
    (row,) = await asyncio.to_thread(rows, reader, EVENTS, "episodes", 'r.object == "epoch"')
    assert row["gone"] is False


# ---- outages and crashes: rows 12 and 13 of the table of faults -----------------------------------------------------------


def counted(reader: Influx, prefix: str) -> int:
    found = reader.query(
        f'from(bucket: "{RAW}") |> range(start: -2d, stop: 1d) |> filter(fn: (r) => r._measurement == "positions" and r._field == "lat_deg")'
        f" |> filter(fn: (r) => r.vehicle =~ /^{prefix}/) |> group() |> count()"
    )
    return int(found[0]["_value"]) if found else 0


@pytest.mark.slow
async def test_an_hour_away_is_caught_up(tmp_path: Path, plan: CompiledPlan, own_influxd: LocalInfluxd) -> None:
    """Row 12. An hour of twenty vehicles, a fix every second, arrives while InfluxDB is dead, longer than any budget of retries of the
    batching client; none is lost, at most so many lines wait in memory, and nobody who writes the log waits."""
    log = Log(tmp_path, own_influxd)
    with closing(Influx(own_influxd.place, own_influxd.tokens.reader.read_text().strip())) as reader:
        async with log.sink(plan) as sink:
            await log.observe(seen(*[recent(0, f"v{v}") for v in range(20)]))
            await written(sink, 20)
            own_influxd.stop(signal.SIGKILL)
            began = time.monotonic()
            for start in range(1, 3600, 50):
                await log.observe(
                    *[seen(*[recent(n, f"v{v}") for n in range(start, min(start + 50, 3600))]) for v in range(20)]
                )
            took = time.monotonic() - began
            await until(lambda: sink.health.retries >= 3)
            assert sink.pending.rows < 40_000
            own_influxd.start()
            await written(sink, 20 * 3600)
        assert await asyncio.to_thread(counted, reader, "v") == 20 * 3600
    assert took < 60, "the log was written while InfluxDB was away"


def test_row_12_the_batching_client_drops_what_ours_keeps(own_influxd: LocalInfluxd) -> None:
    """The fault itself, so that the test above is known to be able to see it: an outage longer than its retries, and points are gone."""
    token = own_influxd.tokens.writer.read_text().strip()
    lost: list[Any] = []
    with InfluxDBClient(url=own_influxd.place.url, token=token, org=own_influxd.place.org, timeout=1000) as client:
        options = WriteOptions(
            batch_size=100, flush_interval=100, retry_interval=200, max_retries=1, max_retry_time=500
        )
        api = client.write_api(write_options=options, error_callback=lambda *_: lost.append(1))
        own_influxd.stop(signal.SIGKILL)
        for n in range(100):
            api.write(RAW, own_influxd.place.org, f"positions,region=r,vehicle=lost lat_deg=1 {(NOW_US + n) * 1000}")
        deadline = time.monotonic() + 30
        while not lost and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        own_influxd.start()
        api.close()
    with closing(Influx(own_influxd.place, own_influxd.tokens.reader.read_text().strip())) as reader:
        assert counted(reader, "lost") == 0, "it dropped them"
    assert lost


COMMITTED_WITHIN_S = 6.0

SINK = """
import asyncio, sys
from pathlib import Path
from agents.record import influx_sink
from pipeline.settings import Settings
from tests.detect import plans
async def main():
    sink = influx_sink(Settings(), plans.plan(vehicles=[f"v{n}" for n in range(20)]))
    await sink.app.start()
    await sink.started()
    print("ready", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_row_13_kill_9_loses_nothing(
    tmp_path: Path, plan: CompiledPlan, own_influxd: LocalInfluxd, root: Path
) -> None:
    """Row 13. The writer is killed again and again while the log fills; what it had taken and not written is read again."""
    log = Log(tmp_path, own_influxd)
    await declare_topics(log.url, topics.ALL, PARTITIONS)
    held = LogStore.acquire(log_directory(log.url))
    env = {
        **os.environ, "RAHDAR_LOG_URL": log.url, "RAHDAR_RECORD_URL": own_influxd.url, "RAHDAR_PARTITIONS": str(PARTITIONS),
        "RAHDAR_INFLUX_TOKEN_FILE": str(own_influxd.tokens.writer), "RAHDAR_VAR": str(tmp_path / "var"), "PYTHONPATH": str(root),
    }  # fmt: skip
    n = 0

    async def drive(batches: int) -> None:
        nonlocal n
        for _ in range(batches):
            await log.observe(seen(*[recent(k, f"v{k % 20}") for k in range(n, n + 100)]))
            n += 100

    try:
        for kill in range(4):
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", SINK, env=env, stdout=subprocess.PIPE)
            try:
                assert child.stdout
                await asyncio.wait_for(child.stdout.readline(), 60)
                await drive(20)
                await asyncio.sleep(0.2 + 0.23 * kill)
                if (
                    kill == 2
                ):  # what it has taken waits for an answer, for longer than Faust takes to commit what is acknowledged
                    own_influxd.stop(signal.SIGKILL)
                    await drive(20)
                    await asyncio.sleep(COMMITTED_WITHIN_S)
            finally:
                child.send_signal(signal.SIGKILL)
                await child.wait()
            if kill == 2:
                own_influxd.start()
            await drive(3)
        async with log.sink(plan):
            with closing(Influx(own_influxd.place, own_influxd.tokens.reader.read_text().strip())) as reader:
                await until(lambda: counted(reader, "v") >= n)
                assert await asyncio.to_thread(counted, reader, "v") == n
    finally:
        await held.release()


@pytest.mark.slow
async def test_one_who_joins_takes_over_what_was_not_answered(
    tmp_path: Path, plan: CompiledPlan, own_influxd: LocalInfluxd
) -> None:
    """InfluxDB is away, lines wait in one process, and a second joins the group: partitions change hands, nothing is left out."""
    log = Log(tmp_path, own_influxd)
    async with log.sink(plan) as first:
        await log.observe(seen(recent(0, "v0")))
        await written(first, 1)
        own_influxd.stop(signal.SIGKILL)
        for partition in range(PARTITIONS):
            for n in range(1, 40):
                record = encode_observations(seen(*[recent(n, f"v{v}") for v in range(20)[partition::PARTITIONS]]))
                await log.put(topics.OBSERVATIONS.name, record, partition=partition)
        await until(lambda: first.pending.rows > 0 or first.health.retries > 0)
        async with log.sink(plan) as second:
            await until(lambda: len(second.app.consumer.assignment()) > 0)
            own_influxd.start()
            with closing(Influx(own_influxd.place, own_influxd.tokens.reader.read_text().strip())) as reader:
                await until(lambda: counted(reader, "v") == 39 * 20 + 1)
