"""Faust, made safe: its consumer, its producer's buffer and its app with the faults of 0.15.3 cured, and options that
lose nothing.

- Nothing is committed past what is delivered and not acknowledged (`deliveries`).
- A commit waits until the producer's buffer is empty and nothing of it is on its way (Faust gives up after 0.1 s).
- What an agent held when it raised or was cancelled is not acknowledged: an agent that raises ends the process.
- `stream.take()` is refused: when it is cancelled, it acknowledges the whole batch.
- A partition may be repositioned before its records flow, and let go of before it is taken away.
- Records that were read for a partition before it was taken away, or put elsewhere, are dropped; none that belongs to
  it now is (Faust abandons a read when partitions go, which then takes records of the next assignment along).
- The flow does not resume before `on_assigned` is done, however long that takes (Faust waits 30 s).
- A partition whose buffer is full is read again as soon as there is room (Faust sleeps a second when it is the only
  one).

And made quiet: what Faust does for every record and every second beside the work itself is most of what a quiet region costs.

- A record that can be handed to its agent at once is, without the four tasks that Faust makes to notice that the flow stops meanwhile.
- A commit draws no table of its offsets for a log that nobody reads.
- Faust's own monitor, which nobody asks, hears of nothing and samples nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, TypeVar, cast

import faust
from aiokafka.errors import IllegalStateError  # type: ignore[import-untyped]  # it ships no types
from faust.app.base import BootStrategy
from faust.sensors import Sensor
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import Transport as KafkaTransport
from faust.transport.producer import Producer, ProducerBuffer
from faust.types import TP, AgentT, Message
from faust.types.transports import ProducerT, TransportT
from faust.types.tuples import FutureMessage, ack_lock
from mode.types import ServiceT
from mode.utils.futures import notify

from agents.transport import kafka_clients
from agents.transport.address import broker_url, is_log, log_directory
from agents.transport.deliveries import Deliveries
from agents.transport.kafka import keep_readers
from agents.transport.producer import partition_of_key
from pipeline.kafka_url import is_kafka, kafka_place

log = logging.getLogger("rahdar.faust")

FAUST_VERSION = "0.15.3"
AGENT_FAILED = 70
STOP_WITHIN_S = 10.0
READ_S = 1.0  # a read that finds nothing is over then, and begins anew
MOST_IN_TURN = 100  # records handed over before others have their turn

T = TypeVar("T")
type_hook = Callable[[set[TP]], Awaitable[None]]


def check_version(found: str = faust.__version__) -> None:
    """Raises RuntimeError unless this is the very version whose inner parts are replaced here."""
    if found != FAUST_VERSION:
        raise RuntimeError(
            f"faust-streaming {found} is installed; the guards are written against {FAUST_VERSION}. Install "
            f"that one, or read the guards "
            f"against the new one and run tests/transport."
        )


class GuardedConsumer(Consumer):
    """Mixed in before a transport's own consumer."""

    app: App

    def __init__(
        self, transport: TransportT, callback: Callable[[Message], Awaitable[None]], *args: Any, **kwargs: Any
    ) -> None:
        self.deliveries = Deliveries()
        self._room = asyncio.Event()
        self._positioning = asyncio.Lock()
        self._positioned = -1
        self._pins: dict[TP, int] = {}
        self._leaving = False
        self.interruptions = 0
        self._read_during = 0

        async def deliver(message: Message) -> None:
            if self.app.topics.acks_enabled_for(message.topic):
                self.deliveries.delivered(message.tp, message.offset)
            await callback(message)

        super().__init__(transport, deliver, *args, **kwargs)

    # ---- what may be committed -------------------------------------------------------------------------------------

    def ack(self, message: Message) -> bool:
        """Count a message as processed, unless its stream only skipped it, or it was delivered in an older
        generation."""
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            notify(self._waiting_for_ack)
            current = message.generation_id == self.app.consumer_generation_id
            if not (message.tracked and current and self.deliveries.acknowledged(message.tp, message.offset)):
                return False
            self._n_acked += 1
            return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.deliveries.partitions() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.deliveries.committable(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps need no bookkeeping: what was not delivered holds nothing back."""

    async def wait_empty(self) -> None:
        """Wait for agents that are at work, but not for ever; what is not acknowledged then is delivered again."""
        await self._until_idle()
        await self.commit_and_end_transactions()

    async def _until_idle(self) -> None:
        deadline = monotonic() + self.app.patience_s
        # Faust tells nobody when a stream's body is done
        while self.app.busy_streams() and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    # ---- coming and going of partitions ----------------------------------------------------------------------------

    def stop_flow(self) -> None:
        """Whatever is being read now is of no use: before the flow resumes, every partition is repositioned."""
        self.interruptions += 1
        super().stop_flow()
        self.look_again()

    def resume_flow(self) -> None:
        """Only where every partition is where `on_assigned` put it: Faust also resumes when partitions were taken away while it
        waited for that, and then reads the next assignment from wherever."""
        positioned = self._positioned == self.app.consumer_generation_id
        if self._leaving or not (positioned or self.app.in_recovery or self.app.client_only):
            return
        super().resume_flow()

    def _halt(self) -> None:
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()

    async def let_go(self, tps: set[TP]) -> None:
        """Stop the flow, let agents finish what they are at, tell `on_revoked`, commit."""
        self._leaving = True
        self._halt()
        await self._until_idle()
        async with self._positioning:
            for hook in self.app.revoked_hooks:
                await hook(set(tps))
        await self.commit()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if revoked and not self.app.should_stop:
            try:
                await self.let_go(revoked)
            except Exception as error:
                log.critical("letting go of partitions failed", exc_info=True)
                await self.app.crash(error)
                raise
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._halt()
        self.deliveries.forget(self.deliveries.partitions())  # or they would be committed as this generation's
        self._leaving = False
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """To the committed offsets; then `on_assigned` may seek elsewhere. The flow resumes after that."""
        async with self._positioning:
            await super().perform_seek()
            tps = set(self.assignment())
            if self._positioned == self.app.consumer_generation_id:
                for tp, offset in self._pins.items():
                    await self.put_at(tp, offset)
                return
            self._pins.clear()
            generation = self.app.consumer_generation_id
            try:
                async with keep_readers():
                    for hook in self.app.assigned_hooks:
                        await hook(set(tps))
            except IllegalStateError:
                raise  # they are gone again: Faust waits for the next assignment
            except Exception as error:
                log.critical("taking partitions failed", exc_info=True)
                await self.app.crash(error)
                raise
            self._positioned = generation

    async def put_at(self, tp: TP, offset: int) -> None:
        """Read on from `offset`."""
        self._pins[tp] = offset
        await self.seek_wait({tp: offset})
        self._read_offset[tp] = offset or None

    # ---- flow ------------------------------------------------------------------------------------------------------

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._room.set()
        self.look_again()

    def look_again(self) -> None:
        """A read that is waiting elsewhere should look again what it may take."""
        if look := getattr(super(), "look_again", None):
            look()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  # Faust's signature
        """What was read before the flow was interrupted is dropped: Faust would take it for records of the next assignment,
        or, when it cannot, seek while partitions are being taken."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        for tp, record in self.scheduler.iterate(records):
            if self._read_during != self.interruptions or not self.flow_active:
                return
            if active is None or tp in active or tp in self._buffered_partitions:
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, cast(Message, self._to_message(tp, record))

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        self._read_during = self.interruptions
        return await super()._getmany(active_partitions, timeout)  # type: ignore[safe-super]  # the transport's own

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109
        if self.flow_active and not self.app.client_only and not self._get_active_partitions():
            self._room.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._room.wait()
            except TimeoutError:
                return None, None
        return await super()._wait_next_records(timeout)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self._room.set()

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Read and hand over, until we or the fetcher are stopped. As Faust's, but what need not wait makes no tasks."""
        try:
            while not (self.should_stop or cast(Any, fetcher).should_stop):
                await asyncio.sleep(0)  # a read that finds something does not wait, and others want their turn
                if not self.should_stop:
                    await self._hand_over(self.getmany(timeout=READ_S))
        except (asyncio.CancelledError, *self.consumer_stopped_errors):  # type: ignore[misc]  # Faust's, unannotated
            if not self.transport.app.should_stop:  # else it was we who wanted it
                raise

    async def _hand_over(self, messages: AsyncIterator[tuple[TP, Message]]) -> None:
        since_turn = 0
        async for tp, message in messages:
            since_turn += 1
            if since_turn > MOST_IN_TURN or not self._has_room(tp):
                since_turn = 0
                await asyncio.sleep(0)  # most often the agents then take what waits for them
                if self._read_during != self.interruptions or not self.flow_active:
                    continue  # the flow stopped: there is nothing more of this read, it is read again from wherever it then begins
            offset, expected = message.offset, self._read_offset[tp]
            if expected is not None and offset < expected:
                continue  # read before
            if self._has_room(tp):
                await self.callback(message)
            else:
                await self.wait_first(self.callback(message), self.suspend_flow.wait())
            self._read_offset[tp] = offset

    def _has_room(self, tp: TP) -> bool:
        """Whether whoever takes this partition's records takes the next one without anybody having to wait: nothing that could stop the flow
        runs in between."""
        topics, buffer = cast(Any, self.app.topics), cast(Any, self.app.producer).buffer
        return (
            self.app.flow_control.is_active()
            and not topics._tp_to_callback_lock.locked()
            and buffer.size <= buffer.max_messages
            and not any(channel.queue.full() for channel in topics._tp_index.get(tp, ()))
        )

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """As Faust's, without transactions."""
        assignment = self.assignment()
        ours = {tp: offset for tp, offset in offsets.items() if tp in assignment}
        if not ours:
            return False
        await self.app.producer.flush()
        committed = await self._commit(ours)
        if committed:
            self.app.tables.on_commit(ours)
        self._committed_offset.update(ours)
        self.app.monitor.on_tp_commit(ours)
        return committed


class FlushingBuffer(ProducerBuffer):
    """A buffer whose flush means it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sending = 0
        self._taken = asyncio.Event()

    @property
    def size(self) -> int:
        """How many records wait. Asked for every record that comes in, and Faust's looks through its settings each time."""
        return int(self.pending.qsize())

    async def _send_pending(self, fut: FutureMessage) -> None:
        self._sending += 1
        try:
            await super()._send_pending(fut)
        finally:
            self._sending -= 1
            self._taken.set()

    async def flush(self) -> None:
        """Returns when the buffer is empty and nothing of it is on its way to the producer. Raises RuntimeError when
        that cannot be."""
        while self.size or self._sending:
            if self.state != "running":
                raise RuntimeError(f"cannot flush: {self.size} records wait and the producer is {self.state}")
            self._taken.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self._taken.wait()
            except TimeoutError:
                log.warning("flush: %d records wait", self.size + self._sending)


class GuardedProducer(Producer):
    def __init__(self, transport: TransportT, *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        self.buffer = FlushingBuffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app


class GuardedStream(Stream[Any]):
    def __aiter__(self) -> AsyncIterator[Any]:
        """Faust's compiled iterator acknowledges without calling the consumer's `ack`."""
        iterator = self._py_aiter()
        self._active_agens.add(cast(Any, iterator))
        return iterator

    def take(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "stream.take() acknowledges what was not processed; use events(), with noack() and event.ack() for batches"
        )

    take_events = take_with_timestamp = take


class PatientRecovery(Recovery):
    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109  # Faust's signature
        """Until it is done, or another rebalance began. Faust goes on after 30 s, as if partitions were taken that are not."""
        await super()._wait(coro)


class PromptTableManager(TableManager):
    """Without the second that Faust waits for tables to be registered: ours are, before the app starts."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = PatientRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


def end_process(error: BaseException) -> None:
    """At once, so that no `finally` acknowledges anything. The offset stays; whoever starts again begins there."""
    logging.shutdown()
    os._exit(AGENT_FAILED)


class QuietBoot(BootStrategy):
    """Starts no sensors: Faust's monitor would sample every second what nobody asks it for."""

    enable_sensors = False


class App(faust.App):
    """A Faust app on either transport, with the guards. `on_failure`: what to do when an agent raised; ends the
    process."""

    BootStrategy = QuietBoot

    def __init__(
        self,
        id: str,  # Faust's name
        *,
        log_url: str = "",
        on_failure: Callable[[BaseException], None] = end_process,
        stop_within_s: float = STOP_WITHIN_S,
        unhurried: Iterable[str] = (),
        **options: Any,
    ) -> None:
        check_version()
        self.log_url = log_url or str(options.get("broker", ""))
        self.unhurried = frozenset(unhurried)
        self.assigned_hooks: list[type_hook] = []
        self.revoked_hooks: list[type_hook] = []
        self._on_failure = on_failure
        self._stop_within_s = stop_within_s
        self._stopping = False
        super().__init__(id, **options)

    @property
    def patience_s(self) -> float:
        """How long agents may take to finish what they are at: a stop has more time than a rebalance, where others
        wait."""
        return self._stop_within_s if self._stopping else float(self.conf.broker_session_timeout) * 0.6

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        self.sensors.add(Sensor())  # hears everything and does nothing; without any Faust warns at every rebalance
        return services

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:
        consumer = self._consumer
        if isinstance(consumer, GuardedConsumer):
            consumer.deliveries.seal()  # before anything is awaited: Faust acknowledges when the stream is collected
        log.critical("agent %s failed", agent.name, exc_info=exc)
        self._on_failure(exc)

    def busy_streams(self) -> int:
        """How many agents are at work on an event."""
        return sum(
            actor.stream.current_event is not None
            for agent in self.agents.values()
            for actor in cast(Any, agent)._actors
        )

    async def _stop_consumer(self) -> None:
        consumer = self._consumer
        self._stopping = True
        if isinstance(consumer, GuardedConsumer):
            if tps := consumer.assignment():
                await consumer.let_go(tps)
            await super()._stop_consumer()
            consumer.deliveries.seal()
        else:
            await super()._stop_consumer()

    @staticmethod
    def guard(transport: TransportT) -> TransportT:
        """Let this transport make guarded consumers and producers."""
        changed = cast(Any, transport)
        made = kafka_clients if isinstance(transport, KafkaTransport) else type(transport)
        changed.Consumer = _with(GuardedConsumer, made.Consumer)
        changed.Producer = _with(GuardedProducer, made.Producer)
        return transport

    def _new_transport(self) -> TransportT:
        return self.guard(super()._new_transport())

    def _new_producer_transport(self) -> TransportT:
        return self.guard(super()._new_producer_transport())

    def _new_producer(self) -> ProducerT:
        return self.transport.create_producer(beacon=self.beacon)


_guarded: dict[tuple[type, type], type] = {}


def _with(guard: type[T], inner: type) -> type[T]:
    made = _guarded.get((guard, inner))
    if made is None:
        made = _guarded[guard, inner] = type(f"Guarded{inner.__name__}", (guard, inner), {})
    return made


def _partitioner(key: bytes | None, all_partitions: list[int], available: list[int]) -> int:
    """As Kafka's producer asks for it."""
    return all_partitions[partition_of_key(key, len(all_partitions))]


RAW_RECORDS: dict[str, Any] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}
"""How a topic of ours is declared: it carries bytes, since Faust decodes inside the stream, and throws there."""


def app_options(**more: Any) -> dict[str, Any]:
    """Faust's options as every stage has them; `more` overrides."""
    return {
        "store": "memory://",
        "web_enabled": False,                   # its /table and /router are open to all
        "topic_disable_leader": True,
        "topic_partitions": 1,                  # of topics that nobody declared
        "table_standby_replicas": 0,
        "key_serializer": "raw",                # Faust decodes inside the stream, and throws there
        "value_serializer": "raw",
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": 6.0,
        "broker_heartbeat_interval": 2.0,
        "broker_request_timeout": 30.0,
        "broker_commit_interval": 2.0,         # so much is done again after a crash, and counts once
        "stream_wait_empty": True,
        "stream_buffer_maxsize": 16,            # records carry many observations
        "stream_recovery_delay": 0.0,
        "producer_acks": -1,
        "producer_partitioner": _partitioner,
        "processing_guarantee": "at_least_once",
        "Stream": GuardedStream,
        "TableManager": PromptTableManager,
        **more,
    }  # fmt: skip


def make_app(app_id: str, log_url: str, **more: Any) -> App:
    """An app of ours on this log. Several may run in one process and loop: `await app.start()`, `await app.stop()`.

    more: `on_failure(error)`, called when an agent raised (ends the process); `stop_within_s`, what agents may take
    to finish when the app stops; `unhurried`, topics that the embedded log need not wake this app for: they are read
    four times a second; and Faust's options.
    """
    more.setdefault("datadir", _data_directory(app_id, log_url))
    if is_kafka(log_url):
        place = kafka_place(log_url)
        if (context := place.context()) is not None:
            more.setdefault("broker_credentials", faust.SSLCredentials(context))
        return App(app_id, log_url=log_url, broker=place.faust_url, **app_options(**more))
    return App(app_id, log_url=log_url, broker=broker_url(log_url), **app_options(**more))


def _data_directory(app_id: str, log_url: str) -> str:
    """Faust wants a directory of its own, and would else make one wherever the process was started. We keep nothing in it."""
    root = log_directory(log_url) if is_log(log_url) else Path(tempfile.gettempdir()) / "rahdar"
    directory = root / "faust" / app_id
    directory.mkdir(parents=True, exist_ok=True)  # Faust makes the last step only
    return str(directory)


def _ours(app: faust.App) -> App:
    if not isinstance(app, App):
        raise TypeError(f"{app!r} was not made by make_app; its partitions cannot be guarded")
    return app


def on_assigned(app: faust.App, callback: type_hook) -> None:
    """Call `callback(partitions)` when partitions were assigned, before any of their records flows; it may `seek`.

    Every rebalance takes all partitions away (`on_revoked`) and assigns anew, on both transports."""
    _ours(app).assigned_hooks.append(callback)


def on_revoked(app: faust.App, callback: type_hook) -> None:
    """Call `callback(partitions)` before they are taken away, and when the app stops: no record flows any more,
    agents are idle (or out of patience), and what the callback acknowledges is still committed."""
    _ours(app).revoked_hooks.append(callback)


async def seek(app: faust.App, topic: str, partition: int, offset: int) -> None:
    """Read this partition from `offset` on, whatever is committed. To be called by an `on_assigned` callback."""
    await cast(GuardedConsumer, _ours(app).consumer).put_at(TP(topic, partition), offset)
