"""A real nginx with the configuration that is deployed: only paths, ports and the names behind it are others."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

from agents.local import free_port
from pipeline.clock import WallClock
from pipeline.ingest.authority import Authority, utc, write_private
from tests.programs import program

CONF = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "rahdar.conf"


class Nginx:
    def __init__(self, directory: Path, desk_port: int, grafana_port: int) -> None:
        self.program, self.directory = program("nginx"), directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self.plain_port = free_port(), free_port()
        authority = Authority(directory, utc(WallClock().now_us()))
        authority.create("test")
        issued = authority.issue_server(["localhost", "127.0.0.1"])
        write_private(directory / "server.key", issued.key_pem)
        write_private(directory / "server.pem", issued.certificate_pem)
        self.ca = directory / "ca.pem"
        (directory / "tmp").mkdir()
        conf = CONF.read_text(encoding="utf-8")
        for old, new in {
            " /tmp/": f" {directory}/tmp/",
            "/etc/rahdar/web": str(directory),
            "/srv;": f"{directory}/srv;",
            "listen 8080 ": f"listen 127.0.0.1:{self.plain_port} ",
            "listen 8443 ": f"listen 127.0.0.1:{self.port} ",
            "desk:8080": f"127.0.0.1:{desk_port}",
            "grafana:3000": f"127.0.0.1:{grafana_port}",
            "/dev/stdout": f"{directory}/access.log",
            "/dev/stderr": f"{directory}/error.log",
            "worker_processes auto": "worker_processes 1",
        }.items():
            assert old in conf, f"{CONF} no longer says {old!r}"
            conf = conf.replace(old, new)
        if os.geteuid() == 0:
            conf = "user root;\n" + conf
        self.conf = directory / "nginx.conf"
        self.conf.write_text(conf, encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def start(self) -> None:
        with (self.directory / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.conf), "-p", str(self.directory), "-g", "daemon off;"],
                stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log("output.txt") + self.log("error.log")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("nginx does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    def log(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""
