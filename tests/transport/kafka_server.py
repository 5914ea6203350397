"""A real Kafka for the tests: one node, started as deploy/kafka/start starts it, in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kafka"
STARTS_WITHIN_S = 90.0
STOPS_WITHIN_S = 20.0


class NoKafkaError(Exception):
    """There is no Kafka on this machine, and none was asked for."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody has; different from one another."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def kafka_home() -> Path:
    """The folder with Kafka's jars. In CI they are fetched when they are missing. Raises NoKafkaError."""
    fetch = [str(DEPLOY / "fetch")]
    if os.environ.get("CI"):
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoKafkaError(f"deploy/kafka/fetch: {done.stderr.strip()[-500:]}")
        return Path(done.stdout.strip())
    done = subprocess.run([*fetch, "--offline"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoKafkaError("no Kafka on this machine: run deploy/kafka/fetch (Maven and Java 17 are needed)")
    return Path(done.stdout.strip())


class KafkaServer:
    """`start`, `kill`, `start` again: the data stays in the folder."""

    def __init__(self, folder: Path, tier: int = 1, tls: Path | None = None) -> None:
        """tier: how far Java compiles. 1 starts fast, 4 is as in production. tls: a folder with server.pem and ca.pem."""
        self.folder = folder
        self.tier = tier
        self.tls = tls
        self.port, self._controller_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}"

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def start(self) -> None:
        """Returns when it listens. Raises TimeoutError, ChildProcessError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [str(DEPLOY / "start"), str(self.folder), str(self.port), str(self._controller_port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "RAHDAR_KAFKA_TIER": str(self.tier), "RAHDAR_KAFKA_TLS": str(self.tls or "")},
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ChildProcessError(f"Kafka ended with {self._process.returncode}: {self._last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.stop()
        raise TimeoutError(f"Kafka did not listen within {STARTS_WITHIN_S:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        return self.output.read_text(errors="replace")[-1500:]

    def send(self, number: signal.Signals) -> None:
        """To the broker and whatever its script has started."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """As a power switch would, except that the machine's page cache survives."""
        assert self._process is not None
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.send(signal.SIGTERM)
        try:
            self._process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def discard(self) -> None:
        """Nobody will want its data again."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
