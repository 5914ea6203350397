"""docker-compose.yml without Docker: the same configuration files, commands and settings; only hosts, ports and paths are others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agents.local import free_port
from pipeline.record.influx import Influx, place_of
from pipeline.record.local import LocalInfluxd
from tests.deploy.compose import config
from tests.deploy.nginx import Nginx
from tests.ingest.mosquitto import Mosquitto
from tests.record.servers import need_influxd
from tests.transport.kafka_server import KafkaServer

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 420.0  # the first start compiles the rules
LOOK_EVERY_S = 0.2
READY = {
    "ingest": ("ingest",),
    "worker": ("normalise", "detect"),
    "alert": ("alert", "record"),
    "notify": ("notify",),
    "desk": ("desk",),
    "rahdar": ("ingest", "normalise", "detect", "alert", "record", "notify", "desk"),
}


@dataclass
class Service:
    """One container, as a process. What ends is started again, as compose does."""

    name: str
    command: list[str]
    environment: dict[str, str]
    output: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *self.command],
                env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class ControlRoom:
    """Mosquitto, Kafka (not in the profile `small`), InfluxDB, nginx and Rahdar's stages, under `directory`."""

    directory: Path
    profile: str = "full"
    plan: Path = ROOT / "plans" / "hazara"
    services: list[Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        need_influxd()
        d = self.directory
        self.secrets = d / "secrets"
        (self.secrets / "mqtt").mkdir(parents=True)
        self.mosquitto = Mosquitto(self.secrets / "mqtt")
        self.kafka = KafkaServer(d / "kafka", tls=self.secrets / "kafka")
        self.influxd = LocalInfluxd(d / "influxd", config=ROOT / "deploy" / "influxdb" / "influxd.yaml")
        self.desk_port = free_port()
        self.nginx = Nginx(d / "nginx", self.desk_port, free_port())
        self.compose: dict[str, Any] = config(self.profile)["services"]
        self.known = config("demo")["services"]["simulators"]

    def here(self, text: str) -> str:
        """A value of the compose file's, as it is on this machine."""
        for there, here in {
            "mosquitto:8883": f"localhost:{self.mosquitto.port}",
            "mosquitto:8884": f"localhost:{self.mosquitto.password_port}",
            "kafka:9093": self.kafka.address,
            "influxdb:8086": f"127.0.0.1:{self.influxd.port}",
            "0.0.0.0:8080": f"127.0.0.1:{self.desk_port}",
            "172.31.253.2": "127.0.0.1",
            "/etc/rahdar/plan": f"{self.plan}",
            "/etc/rahdar/ca.pem": f"{self.secrets}/bridge/ca.pem",
            "/etc/rahdar/bridge": f"{self.secrets}/bridge",
            "/etc/rahdar/desk": f"{self.secrets}/desk",
            "/etc/rahdar/notify": f"{self.secrets}/notify",
            "/etc/rahdar/people": f"{self.secrets}/people",
            "/etc/rahdar/stages": f"{self.secrets}/stages",
            "/run/secrets/influx_writer_token": f"{self.secrets}/influx-writer.token",
            "/run/secrets/demo_passwords": f"{self.secrets}/demo-passwords.json",
            "/var/lib/rahdar": f"{self.directory}/state",
        }.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        mine = {k: self.here(str(v)) for k, v in self.compose[name]["environment"].items() if k != "NUMBA_CACHE_DIR"}
        return {**{k: v for k, v in os.environ.items() if not k.startswith("RAHDAR_")}, **mine}

    @property
    def log_url(self) -> str:
        """As a stage is told it."""
        stage = next(name for name in ("worker", "rahdar") if name in self.compose)
        return self.environment(stage)["RAHDAR_LOG_URL"]

    @property
    def stage_of_the_desk(self) -> str:
        return "desk" if "desk" in self.compose else "rahdar"

    def rahdar(self, *words: str, of: str = "") -> subprocess.CompletedProcess[str]:
        """A command with a service's settings."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            env=self.environment(of or self.stage_of_the_desk), cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def set_up(self) -> None:
        """As deploy/setup does."""
        where = ("--dir", str(self.secrets), "--host", "localhost", "--host", "127.0.0.1")
        done = self.rahdar("setup", *where, "--plan", str(self.plan), "--demo")
        assert done.returncode == 0, done.stderr
        self.influxd.start()
        tokens = ("--admin-token-file", str(self.secrets / "influx-admin.token"), "--tokens", str(self.secrets))
        done = self.rahdar("influx", "setup", *tokens)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """All servers, then all stages; returns when each has said that it is ready, and the desk that data flows."""
        (self.directory / "state").mkdir(exist_ok=True)
        self.mosquitto.start()
        if "kafka" in self.compose:
            self.kafka.start()
        for name, service in self.compose.items():
            if name not in READY:
                continue
            for number in range(int(service.get("deploy", {}).get("replicas", 1))):
                output = self.directory / f"{name}-{number}.txt"
                self.services.append(Service(name, service["command"], self.environment(name), output))
                self.services[-1].start()
        self.nginx.start()

    async def until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        for service in self.services:
            while not all(f"{stage}: ready" in service.said for stage in READY[service.name]):
                assert time.monotonic() < deadline, f"{service.name} did not start: {service.said[-2000:]}"
                await asyncio.sleep(LOOK_EVERY_S)

    async def watch(self) -> None:
        """`restart: unless-stopped`."""
        while True:
            for service in self.services:
                if service.process is not None and service.process.poll() is not None:
                    service.start()
            await asyncio.sleep(LOOK_EVERY_S)

    def simulators(self, *more: str) -> subprocess.Popen[str]:
        """The service of the profile `demo`."""
        words = [self.here(word) for word in self.known["command"]]
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words, *more],
            env=self.environment(self.stage_of_the_desk), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def browser(self, timeout: httpx.Timeout | float = 20) -> httpx.AsyncClient:
        """Speaks to nginx, and trusts its authority alone."""
        return httpx.AsyncClient(base_url=self.nginx.url, verify=self.nginx.context(), timeout=timeout)

    async def log_in(self, web: httpx.AsyncClient) -> None:
        """As the first operator."""
        password = (self.secrets / "first-operator.password").read_text().strip()
        entered = await web.post("/login", data={"name": "operator", "password": password})
        assert entered.status_code == 303, entered.text[-500:]

    def in_influx(self, flux: str) -> list[dict[str, Any]]:
        """What Grafana, by its token, is answered."""
        stage = next(name for name in ("alert", "rahdar") if name in self.compose)
        place = place_of(self.environment(stage)["RAHDAR_RECORD_URL"])
        with closing(Influx(place, (self.secrets / "influx-reader.token").read_text().strip())) as reader:
            return reader.query(flux)

    def of(self, name: str) -> list[Service]:
        return [service for service in self.services if service.name == name]

    def close(self) -> None:
        """What was to be seen has been seen: nothing is waited for."""
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                service.kill()
        self.nginx.stop()
        self.mosquitto.kill()
        self.influxd.stop(signal.SIGKILL)
        self.kafka.discard()
