"""A real Mosquitto with the configuration that is deployed: only its paths and ports are others. And devices that speak to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agents.local import free_port
from pipeline.clock import WallClock
from pipeline.ingest.acl import SHARDS
from pipeline.ingest.authority import write_private
from pipeline.ingest.credentials import mosquitto_hash
from pipeline.ingest.devices import Devices
from tests.programs import program

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "deploy" / "mosquitto" / "rahdar.conf"
PASSWORDS = {"v1": "one-one-one-one-one", "v2": "two-two-two-two-two"}


class Mosquitto:
    def __init__(self, directory: Path, shards: Iterable[str] = SHARDS, replace: dict[str, str] | None = None) -> None:
        self.program = program("mosquitto")
        self.directory = directory
        self.shards = tuple(shards)
        self.port, self.password_port = free_port(), free_port()
        self.devices = Devices(directory, WallClock())
        self.process: subprocess.Popen[bytes] | None = None
        self.devices.setup(["localhost", "127.0.0.1"], self.shards)
        lines = [f"{login}:{mosquitto_hash(password)}\n" for login, password in PASSWORDS.items()]
        write_private(directory / "passwords", "".join(lines))
        conf = CONF.read_text(encoding="utf-8")
        for old, new in {
            "/etc/rahdar/mqtt": str(directory),
            "/var/lib/mosquitto/rahdar/": f"{directory}/",
            "/run/mosquitto/rahdar.pid": f"{directory}/mosquitto.pid",
            "listener 8883": f"listener {self.port} 127.0.0.1",
            "listener 8884": f"listener {self.password_port} 127.0.0.1",
            "sys_interval 10": "sys_interval 1",
            **(replace or {}),
        }.items():
            assert old in conf, f"{CONF} no longer says {old!r}"
            conf = conf.replace(old, new)
        if os.geteuid() == 0:
            conf += "user root\n"
        (directory / "mosquitto.conf").write_text(conf, encoding="utf-8")

    def certificate(self, login: str) -> tuple[Path, Path]:
        issued = self.directory / "issued" / login
        if not issued.exists():
            self.devices.enrol(login, "certificate", renew=True)
        return issued / "device.pem", issued / "device.key"

    def context(self, login: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        if login is not None:
            made.load_cert_chain(*self.certificate(login))
        return made

    def start(self) -> Mosquitto:
        log = (self.directory / "mosquitto.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.directory / "mosquitto.conf")], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.password_port), 1):
                return self
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(f"mosquitto does not listen\n{self.log()}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            if number != signal.SIGHUP:
                self.process.wait(10)
                self.process = None

    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text(errors="replace")


class Device:
    """A publisher in MQTT 5 (or 3.1.1), with events instead of callbacks."""

    def __init__(
        self,
        broker: Mosquitto,
        login: str | None,
        *,
        certificate: str | None = None,
        password: str | None = None,
        client_id: str = "device",
        protocol: Any = paho.MQTTv5,
        persistent: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """With `certificate` on the trackers' port; else with a password on the phones'."""
        self.login = login or certificate
        self.port = broker.port if password is None else broker.password_port
        self.paho = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=protocol, reconnect_on_failure=False
        )
        client.tls_set_context(context or broker.context(certificate))
        if login is not None:
            client.username_pw_set(login, password)
        self.protocol, self.persistent = protocol, persistent
        self.connected, self.gone, self.subscribed = threading.Event(), threading.Event(), threading.Event()
        self.acks: dict[int, Any] = {}
        self.heard: list[tuple[str, bytes]] = []
        self.reason: Any = None
        self.granted: Any = None

        def on_connect(_c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            self.reason = reason
            self.connected.set()

        def on_publish(_c: Any, _u: Any, mid: int, reason: Any, _p: Any) -> None:
            self.acks[mid] = reason

        def on_subscribe(_c: Any, _u: Any, _m: Any, reasons: Any, _p: Any) -> None:
            self.granted = reasons
            self.subscribed.set()

        client.on_connect = on_connect
        client.on_publish = on_publish
        client.on_subscribe = on_subscribe
        client.on_disconnect = lambda *_: self.gone.set()
        client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))

    def come(self) -> Device:
        """Whether it was let in is in `reason`; None: not even TLS."""
        more: dict[str, Any] = {}
        if self.protocol == paho.MQTTv5 and self.persistent:
            more["clean_start"] = False
            more["properties"] = Properties(PacketTypes.CONNECT)
            more["properties"].SessionExpiryInterval = 600
        try:
            self.paho.connect("127.0.0.1", self.port, 30, **more)
        except (OSError, ValueError):
            self.gone.set()
            return self
        self.paho.loop_start()
        wait_for(lambda: self.connected.is_set() or self.gone.is_set(), 5)
        return self

    @property
    def let_in(self) -> bool:
        return self.reason is not None and not self.reason.is_failure and not self.gone.is_set()

    def say(self, payload: bytes, topic: str = "v1/0/v1/native", qos: int = 1, retain: bool = False) -> int:
        return self.paho.publish(topic, payload, qos, retain).mid

    def said(self, payload: bytes, topic: str = "v1/0/v1/native") -> Any:
        """Publish and wait for the reason code of its acknowledgement; None: there was none."""
        mid = self.say(payload, topic)
        wait_for(lambda: mid in self.acks or self.gone.is_set(), 5)
        return self.acks.get(mid)

    def leave(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


def wait_for(what: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
