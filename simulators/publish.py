"""Simulated devices on MQTT: each with a login of its own, QoS 1, all on one event loop and no thread per device.

paho keeps the protocol (what was not acknowledged is sent again after a reconnect); the event loop watches its sockets.
Only the blocking part, to connect, happens in a helper thread, and nothing else touches the client meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.clock import Clock
from simulators.devices import SECOND_US, Message

log = logging.getLogger("rahdar.simulate")

KEEPALIVE_S = 60
TEND_EVERY_S = 10.0  # pings and timeouts are looked after this often
RETRY_S = (0.5, 15.0)  # first and longest pause between attempts to connect
HANDSHAKE_S = 20.0  # a broker that hashes passwords takes its time when hundreds connect
PORTS = {"mqtt": 1883, "embedded": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int
    tls: bool


def endpoint(mqtt_url: str) -> Endpoint:
    """`embedded://`, `mqtt://` or `mqtts://` HOST[:PORT]. Raises ValueError otherwise."""
    parts = urlsplit(mqtt_url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{mqtt_url!r} is no broker; give mqtt://HOST:PORT or mqtts://HOST:PORT")
    return Endpoint(parts.hostname, parts.port or PORTS[parts.scheme], parts.scheme == "mqtts")


class _Connection:
    """One device's session: connects, connects again, and hands its messages to paho while it is up."""

    def __init__(self, owner: Publisher, login: str, password: str) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.login = login
        self._waiting: deque[Message] = deque()
        self._up = False
        self._answered = asyncio.Event()
        self._down = asyncio.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login, protocol=mqtt.MQTTv311)
        client.username_pw_set(login, password)
        if owner.endpoint.tls:
            client.tls_set(ca_certs=str(owner.ca_file) if owner.ca_file else None)
        client.connect_timeout = 5.0
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(100)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_open = self._on_open
        client.on_socket_close = self._on_close
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_wrote
        self._client = client
        self.task = asyncio.create_task(self._keep_connected(), name=f"mqtt {login}")

    def send(self, message: Message) -> None:
        self._waiting.append(message)
        if self._up:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            self._client.publish(message.topic, message.payload, qos=1)

    async def _keep_connected(self) -> None:
        pause_s = RETRY_S[0]
        where = self._owner.endpoint
        while True:
            self._down.clear()
            self._answered.clear()
            try:
                async with self._owner.handshakes:
                    await asyncio.to_thread(self._client.connect, where.host, where.port, KEEPALIVE_S)
                    async with asyncio.timeout(HANDSHAKE_S):
                        await self._answered.wait()
            except (OSError, TimeoutError) as error:
                self._owner.note(self.login, str(error) or "no answer")
                self._client.disconnect()
            if self._up:
                pause_s = RETRY_S[0]
                await self._tend()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S[1])

    async def _tend(self) -> None:
        """While the session is up: keepalive. Returns when it is down."""
        while not self._down.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TEND_EVERY_S):
                    await self._down.wait()
            self._client.loop_misc()

    async def close(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self._client.disconnect()
        sock = self._client.socket()
        if sock is not None:  # what is still to be written (the goodbye) goes out, then the socket closes
            self._client.loop_write()
            self._client.loop_misc()
            if (sock := self._client.socket()) is not None:
                self._forget(sock)
                sock.close()

    # what paho calls; from the helper thread only while it connects

    def _in_loop(self, call: Any, *args: Any) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)

    def _on_open(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in_loop(self._watch, sock)

    def _watch(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), client_read, self._client)
            if self._client.want_write():
                self._loop.add_writer(sock.fileno(), client_write, self._client)

    def _on_close(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        self._in_loop(self._forget, sock)

    def _forget(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _on_want_write(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        def watch() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), client_write, client)

        self._in_loop(watch)

    def _on_wrote(self, client: mqtt.Client, userdata: Any, sock: Any) -> None:
        def forget() -> None:
            if sock.fileno() >= 0:
                self._loop.remove_writer(sock.fileno())

        self._in_loop(forget)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answered.set()
        if reason.is_failure:
            self._owner.note(self.login, str(reason))
            return
        self._up = True
        self._owner.errors.pop(self.login, None)
        # not from within the callback: paho first sends again what was not acknowledged, then comes what waited
        self._loop.call_soon(self._flush_if_up)

    def _flush_if_up(self) -> None:
        if self._up:
            self._flush()

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._in_loop(self._went_down)

    def _went_down(self) -> None:
        self._up = False
        self._answered.set()
        self._down.set()

    def _on_publish(self, client: mqtt.Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self._owner.was_acked()


def client_read(client: mqtt.Client) -> None:
    client.loop_read(20)


def client_write(client: mqtt.Client) -> None:
    client.loop_write()


class Publisher:
    """Publishes messages as the devices that they are from. `sent` and `acked` count; `errors`: what a login last met.

    `clock` paces: a message goes out when the clock says its instant. None: as fast as the broker acknowledges.
    """

    def __init__(
        self,
        mqtt_url: str,
        credentials: Mapping[str, str],
        clock: Clock | None = None,
        *,
        ca_file: Path | None = None,
        max_unacked: int = 5000,
        handshakes: int = 8,
    ) -> None:
        self.endpoint = endpoint(mqtt_url)
        self.ca_file = ca_file
        self.sent = 0
        self.acked = 0
        self.errors: dict[str, str] = {}
        self.met_error = asyncio.Event()
        self.unknown = 0
        """Messages of logins that we have no password for: not sent."""
        self.handshakes = asyncio.Semaphore(handshakes)
        self._credentials = credentials
        self._clock = clock
        self._max_unacked = max_unacked
        self._connections: dict[str, _Connection] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._all_acked = asyncio.Event()
        self._all_acked.set()

    async def run(self, messages: AsyncIterator[Message] | Iterator[Message], stop: asyncio.Event) -> None:
        """Until the messages have ended and are acknowledged, or `stop` is set."""
        try:
            async for message in _each(messages):
                await self._until(message.at_us, stop)
                if stop.is_set():
                    return
                self._send(message)
                if not self._room.is_set():
                    await _either(self._room, stop)
            await _either(self._all_acked, stop)
        finally:
            await asyncio.gather(*(c.close() for c in self._connections.values()))
            self._connections.clear()

    def _send(self, message: Message) -> None:
        connection = self._connections.get(message.login)
        if connection is None:
            password = self._credentials.get(message.login)
            if password is None:
                self.unknown += 1
                self.note(message.login, "no password")
                return
            connection = self._connections[message.login] = _Connection(self, message.login, password)
        self.sent += 1
        self._all_acked.clear()
        if self.sent - self.acked >= self._max_unacked:
            self._room.clear()
        connection.send(message)

    async def _until(self, at_us: int, stop: asyncio.Event) -> None:
        if self._clock is None:
            await asyncio.sleep(0)
            return
        speed = float(getattr(self._clock, "speed", 1.0))
        while not stop.is_set():
            wait_s = (at_us - self._clock.now_us()) / SECOND_US / speed
            if wait_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stop.wait()

    def was_acked(self) -> None:
        self.acked += 1
        if self.sent - self.acked < self._max_unacked:
            self._room.set()
        if self.sent == self.acked:
            self._all_acked.set()

    def note(self, login: str, error: str) -> None:
        if self.errors.get(login) != error:
            log.warning("%s: %s", login, error)
        self.errors[login] = error
        self.met_error.set()


async def _each(messages: AsyncIterator[Message] | Iterator[Message]) -> AsyncIterator[Message]:
    if isinstance(messages, AsyncIterator):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waits = [asyncio.create_task(one.wait()), asyncio.create_task(other.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
