"""Everything on one machine, in a directory: credentials, settings, the supervised processes. For the demo, the bench and the tests."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from agents.supervise import Supervisor
from pipeline.ingest.acl import NOTIFY
from pipeline.ingest.authority import write_private
from pipeline.ingest.credentials import write_machine_credentials
from pipeline.plan.load import load_plan


def free_port(host: str = "127.0.0.1", wanted: int | None = None) -> int:
    """`wanted` when nobody has it, else one that is free."""
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port or 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")


@dataclass
class LocalStack:
    """A whole Rahdar under `directory`. What was there goes on: the log, the alerts, the credentials."""

    directory: Path
    plan: Path
    host: str = "127.0.0.1"
    mqtt_port: int = 0
    desk_port: int = 0
    speed: float = 1.0
    extra: Mapping[str, str] = field(default_factory=dict)
    more_logins: Iterable[str] = ()

    def __post_init__(self) -> None:
        self.directory = self.directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.mqtt_port = self.mqtt_port or free_port(self.host)
        self.desk_port = self.desk_port or free_port(self.host)
        self.compiled = load_plan(self.plan)
        self.credentials = self._credentials()
        self.supervisor: Supervisor | None = None

    def _credentials(self) -> dict[str, str]:
        """A password for every login of the plan, made once. The clear ones stay in a file that only we can read."""
        clear = self.directory / "demo-passwords.json"
        known: dict[str, str] = json.loads(clear.read_text()) if clear.exists() else {}
        wanted = {*self.compiled.logins, *self.more_logins, NOTIFY}
        if missing := wanted - known.keys():
            known |= {login: secrets.token_urlsafe(18) for login in sorted(missing)}
            clear.touch(mode=0o600)
            clear.write_text(json.dumps(known))
            write_machine_credentials(self.directory / "mqtt-passwords", known)
            write_private(self.directory / "notify-password", known[NOTIFY])
        return known

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{self.host}:{self.mqtt_port}"

    @property
    def desk_url(self) -> str:
        return f"http://{self.host}:{self.desk_port}"

    @property
    def log_url(self) -> str:
        return f"log://{self.directory}/log"

    def environment(self) -> dict[str, str]:
        d = self.directory
        environment = {
            "RAHDAR_LOG_URL": self.log_url,
            "RAHDAR_MQTT_URL": f"embedded://{self.host}:{self.mqtt_port}",
            "RAHDAR_RECORD_URL": f"sqlite:///{d}/record.sqlite",
            "RAHDAR_ALERT_URL": f"sqlite:///{d}/alert.sqlite",
            "RAHDAR_PLAN": str(Path(self.plan).resolve()),
            "RAHDAR_DESK_URL": self.desk_url,
            "RAHDAR_VAR": str(d / "var"),
            "RAHDAR_MQTT_PASSWORDS_FILE": str(d / "mqtt-passwords"),
            "RAHDAR_NOTIFY_PASSWORD_FILE": str(d / "notify-password"),
            "RAHDAR_OPERATORS_FILE": str(d / "operators.yaml"),
            "RAHDAR_SPEED": repr(self.speed),
        }
        return {**environment, **self.extra}

    def start(self, **supervision: object) -> None:
        self.supervisor = Supervisor(self.environment(), **supervision)  # type: ignore[arg-type]  # passed through
        self.supervisor.start()

    def healthy(self) -> bool:
        """The desk answers and has seen time pass (a Tick went through ingest, normalise and the log)."""
        try:
            with urllib.request.urlopen(self.desk_url + "/api/health", timeout=2) as answer:  # noqa: S310  # our own loopback
                return bool(json.load(answer).get("ok"))
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def wait_ready(self, within_s: float = 60.0) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.supervisor:
                self.supervisor.poll()
            if self.healthy() and self._broker_listens():
                return True
            time.sleep(0.1)
        return False

    def _broker_listens(self) -> bool:
        try:
            with socket.create_connection((self.host, self.mqtt_port), 1):
                return True
        except OSError:
            return False

    def close(self) -> None:
        if self.supervisor:
            self.supervisor.close()
            self.supervisor = None


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes, shared pages counted once each (PSS where the kernel tells it)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = psutil.Process(pid).memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    return total
