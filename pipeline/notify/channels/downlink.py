"""To the vehicles themselves, by the broker that they speak to: `v1/<shard>/<login>/down`, QoS 1, short, signed, and good for ten minutes.

The payload is a JSON object `{"id","alert","revision","kind","severity","text","lat","lon","at","expires_at","repeat","nonce","sig"}`; `sig` is
Ed25519 over the object without it, keys sorted, no blanks. A handset drops what has expired, what it has shown (`id`), and what is not
signed by us; it answers `{"id": ...}` on `v1/<shard>/<login>/receipt`. Taken by the broker is `Accepted`; told is only who sent the receipt.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson
import paho.mqtt.client as paho
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion

from pipeline.ingest.acl import NOTIFY, RECEIPTS
from pipeline.model.times import format_us
from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Accepted, Outcome, Passing, Permanent, Unknown

PUBACK_S = 5.0
LONGEST_RECEIPT = 1024


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is, and who we are there: a password or a certificate (CN `rahdar-notify`)."""

    host: str
    port: int
    password: str | None = None
    tls: ssl.SSLContext | None = None


class Receipt(msgspec.Struct):
    id: str


_receipt = msgspec.json.Decoder(Receipt).decode


def read_key(path: Path) -> Ed25519PrivateKey:
    """The downlink's key; made when there is none, its public half beside it in `.pub`, for the handsets. Raises OSError, ValueError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(found, Ed25519PrivateKey):
            raise ValueError(f"{path} is no Ed25519 key") from None
        return found
    made = Ed25519PrivateKey.generate()
    with os.fdopen(handle, "wb") as file:
        file.write(
            made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    path.with_suffix(".pub").write_bytes(
        made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return made


def signed(key: Ed25519PrivateKey, letter: Letter, nonce: str) -> bytes:
    body: dict[str, Any] = {
        "id": letter.id, "alert": letter.alert, "revision": letter.revision, "kind": letter.kind, "severity": letter.severity,
        "text": letter.short, "lat": letter.lat, "lon": letter.lon, "at": format_us(letter.at_us),
        "expires_at": format_us(letter.expires_us), "repeat": letter.repeat, "nonce": nonce,
    }  # fmt: skip
    told = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    body["sig"] = base64.b64encode(key.sign(told)).decode()
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


class DownlinkChannel:
    """`on_receipt(receipt, delivered, why)` is called on the connection's thread."""

    def __init__(
        self, broker: Broker, key: Ed25519PrivateKey, shard_of: Callable[[str], str], now_us: Callable[[], int],
        on_receipt: Callable[[str, bool, str], None],
    ) -> None:  # fmt: skip
        self._key, self._shard_of, self._now_us, self._on_receipt = key, shard_of, now_us, on_receipt
        self._loop = asyncio.get_running_loop()
        self._acked: dict[int, asyncio.Future[None]] = {}
        self._there = False
        self._nonce = 0
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, NOTIFY, clean_session=True, protocol=paho.MQTTv311
        )
        if broker.password is not None:
            client.username_pw_set(NOTIFY, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._gone
        client.on_publish = self._published
        client.on_message = self._heard
        client.connect_async(broker.host, broker.port, keepalive=20)
        client.loop_start()

    @property
    def ready(self) -> bool:
        """We are connected, and hear receipts."""
        return self._there

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    async def send(self, address: str, letter: Letter) -> Outcome:
        if letter.expires_us and letter.expires_us <= self._now_us():
            return Permanent("it has expired")
        if not self._there:
            return Passing("the broker is away")
        self._nonce += 1
        payload = signed(self._key, letter, f"{self._now_us():x}-{self._nonce}")
        acked: asyncio.Future[None] = self._loop.create_future()
        info = self._client.publish(f"v1/{self._shard_of(address)}/{address}/down", payload, 1)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return Passing("the broker is away")
        self._acked[info.mid] = acked
        try:
            if not info.is_published():  # it may have been acknowledged before we wrote down its number
                await asyncio.wait_for(acked, PUBACK_S)
        except TimeoutError:
            return Unknown("the broker does not acknowledge")
        except ConnectionError:
            return Unknown("the connection broke")
        finally:
            self._acked.pop(info.mid, None)
        left_s = max(1.0, (letter.expires_us - self._now_us()) / 1e6)
        return Accepted(f"down {address} {letter.id}", left_s)

    # ---- on the connection's thread ---------------------------------------------------------------------------------------

    def _connected(self, client: paho.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if not reason.is_failure:
            client.subscribe(RECEIPTS, 1)

    def _subscribed(self, *_: Any) -> None:
        self._there = True  # not before: a receipt would pass us by

    def _gone(self, *_: Any) -> None:
        self._there = False
        self._loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        for waiting in self._acked.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError())

    def _published(self, _c: Any, _u: Any, mid: int, _r: Any, _p: Any) -> None:
        self._loop.call_soon_threadsafe(self._ack, mid)

    def _ack(self, mid: int) -> None:
        waiting = self._acked.get(mid)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _heard(self, _c: Any, _u: Any, message: paho.MQTTMessage) -> None:
        """Never raises: that would end the thread."""
        parts = message.topic.split("/")
        if len(parts) != 4 or parts[3] != "receipt" or len(message.payload) > LONGEST_RECEIPT:
            return
        try:
            found = _receipt(message.payload)
        except (msgspec.MsgspecError, RecursionError):
            return
        self._on_receipt(f"down {parts[2]} {found.id}", True, "shown in the vehicle")
