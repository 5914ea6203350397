"""An influxd of one's own, in a directory, on this machine: for the bench, the previews and the tests."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.record.influx import Place
from pipeline.record.setup import Setup, Tokens, onboard, write_secret

BUILT = Path.home() / ".cache" / "rahdar" / "bin" / "influxd"
"""Where deploy/influxdb/install.sh puts it."""
ORG = "rahdar"
STARTS_WITHIN_S = 60.0


def find_influxd() -> Path | None:
    """On the PATH, or where the install script put it."""
    found = shutil.which("influxd")
    if found:
        return Path(found)
    return BUILT if BUILT.exists() else None


class LocalInfluxd:
    """What was there goes on: data, tokens, port. Raises FileNotFoundError when there is no influxd, TimeoutError when it does not come up."""

    def __init__(self, directory: Path, port: int = 0, config: Path | None = None) -> None:
        """config: a file as deploy/influxdb/influxd.yaml; paths and port in it count for nothing here."""
        self.directory = directory
        self.config = config
        directory.mkdir(parents=True, exist_ok=True)
        if not port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
        self.port = port
        self.tokens = Tokens(directory / "writer.token", directory / "reader.token")
        self.admin = directory / "admin.token"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"influx://127.0.0.1:{self.port}/{ORG}"

    @property
    def place(self) -> Place:
        return Place(f"http://127.0.0.1:{self.port}", ORG, self.directory / "memory.sqlite")

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        binary = find_influxd()
        if binary is None:
            raise FileNotFoundError("no influxd on the PATH; `deploy/influxdb/install.sh` builds InfluxDB 2.7")
        d = self.directory
        environment = {**os.environ, "HOME": str(d)}
        if self.config is not None:
            environment["INFLUXD_CONFIG_PATH"] = str(self.config)
        with (d / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own server, found above
                [
                    str(binary), f"--bolt-path={d / 'influxd.bolt'}", f"--sqlite-path={d / 'influxd.sqlite'}",
                    f"--engine-path={d / 'engine'}", f"--http-bind-address=127.0.0.1:{self.port}",
                    "--reporting-disabled", "--log-level=error", "--ui-disabled",
                ],
                stdout=log, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):  # our own loopback
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.stop()
        said = (d / "influxd.log").read_text(encoding="utf-8", errors="replace")
        raise TimeoutError(f"influxd did not come up: {said[-500:]}")

    def set_up(self, regions: tuple[str, ...]) -> None:
        """First user, organisation, buckets, tasks, tokens. Twice is once."""
        if not self.admin.exists():
            write_secret(self.admin, onboard(self.place, "admin", secrets.token_urlsafe(18)))
        Setup(self.place, self.admin.read_text(encoding="utf-8").strip(), lambda _: None).run(regions, self.tokens)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
