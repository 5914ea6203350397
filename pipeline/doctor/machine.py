"""The machine and what is installed on it: settings, plan, versions, disk, clock, ports."""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import importlib.metadata
import json
import os
import re
import socket
import sqlite3
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from pipeline.doctor.finding import Finding, away, fault, note, ok
from pipeline.model.times import format_us
from pipeline.plan.load import PlanError, load_plan
from pipeline.record.tables import path_of
from pipeline.settings import Settings

LOW_PCT, FULL_PCT = 10.0, 3.0
LOW_BYTES = 2 << 30
OTHERS = ("RAHDAR_ADDRESS_", "RAHDAR_KAFKA_", "RAHDAR_TEST_", "RAHDAR_PARENT_", "RAHDAR_TOOLS_")
"""Read by scripts beside the program."""
OF_COMPOSE = {"RAHDAR_HOST", "RAHDAR_PLAN_DIR", "RAHDAR_INFLUX_ORG", "RAHDAR_WATCHDOG_URL"}
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
MOST_ERROR_US = 1_000_000


def settings(s: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Names that nobody reads, and settings that do not go together."""
    known = {f"RAHDAR_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(n for n in environment if n.startswith("RAHDAR_")):
        if name in known or name in OF_COMPOSE or name.startswith(OTHERS):
            continue
        near = difflib.get_close_matches(name, known, 1)
        meant = f"you may have meant {near[0]}" if near else "README.md lists the settings"
        yield fault("settings", f"{name} is set, and nothing reads it", f"{meant}; unset it")
    embedded = s.mqtt_url.startswith("embedded://")
    if embedded and s.mqtt_passwords_file is None and s.mqtt_tls_ca_file is None:
        yield fault(
            "settings", "no device may connect to the embedded broker: it knows neither passwords nor an authority",
            "set RAHDAR_MQTT_PASSWORDS_FILE, or RAHDAR_MQTT_TLS_CA_FILE with certificate and key (docs/devices.md)",
        )  # fmt: skip
    host = urlsplit(s.mqtt_url).hostname or ""
    if ((embedded and not s.mqtt_tls_cert_file) or s.mqtt_url.startswith("mqtt://")) and host not in LOOPBACK:
        yield fault(
            "settings", f"{s.mqtt_url}: positions and passwords travel unencrypted",
            "give the embedded broker RAHDAR_MQTT_TLS_CERT_FILE and …_KEY_FILE, or use mqtts://",
        )  # fmt: skip
    if s.operators_file is None:
        yield fault(
            "settings", "nobody may log in to the desk: RAHDAR_OPERATORS_FILE is not set",
            "set it, then `rahdar operator add NAME --role operator`",
        )  # fmt: skip
    desk = urlsplit(s.desk_url)
    if desk.scheme == "http" and desk.hostname not in LOOPBACK:
        yield fault(
            "settings", f"RAHDAR_DESK_URL is {s.desk_url}: passwords travel unencrypted",
            "put TLS in front of it (deploy/nginx/rahdar.conf) and say https://, or listen on 127.0.0.1",
        )  # fmt: skip
    if s.speed != 1.0:
        yield fault("settings", f"RAHDAR_SPEED is {s.speed:g}: the clock is a demonstration's", "unset RAHDAR_SPEED")
    yield ok("settings", f"log {s.log_url}, broker {s.mqtt_url}, record {s.record_url.split('?')[0]}")


def plan(s: Settings) -> Iterator[Finding]:
    try:
        found = load_plan(s.plan)
    except PlanError as error:
        rest = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        yield fault(
            "plan", f"{error.faults[0]}{rest}", f"`rahdar plan check {s.plan}` names all of them with their cure"
        )
        return
    yield ok("plan", f"{', '.join(sorted(found.regions))}: {len(found.vehicles)} vehicles, hash {found.hash[:12]}")


def versions() -> Iterator[Finding]:
    """Python, and the packages that the program is written against to the last digit."""
    if sys.version_info[:2] != (3, 11):
        yield fault("versions", f"Python is {sys.version.split()[0]}", "run it with Python 3.11: `make setup`")
    try:
        wanted = importlib.metadata.requires("rahdar") or []
        mine = importlib.metadata.version("rahdar")
    except importlib.metadata.PackageNotFoundError:
        yield fault("versions", "rahdar itself is not installed", "`make setup`, and call .venv/bin/rahdar")
        return
    for name, version in _pinned(wanted):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != version:
            yield fault(
                "versions", f"{name} is {found}, not {version}", "`make setup` installs what the lock file says"
            )
    if sqlite3.sqlite_version_info < (3, 35):
        yield fault("versions", f"SQLite is {sqlite3.sqlite_version}", "3.35 or newer is needed; update Python")
    yield ok(
        "versions",
        f"rahdar {mine}, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}",
    )


def _pinned(requires: list[str]) -> Iterator[tuple[str, str]]:
    for line in requires:
        if found := re.match(r"([A-Za-z0-9._-]+)==([^;\s]+)", line):
            yield found[1], found[2]


def _folders(s: Settings) -> Mapping[str, Path]:
    out = {"RAHDAR_VAR": s.var}
    if s.log_url.startswith("log://"):
        out["RAHDAR_LOG_URL"] = Path(s.log_url.removeprefix("log://"))
    with contextlib.suppress(ValueError):  # `databases` and `influx` say so
        out["RAHDAR_RECORD_URL"] = path_of(s.record_url).parent
    if s.alert_url.startswith("sqlite:///"):
        out["RAHDAR_ALERT_URL"] = Path(s.alert_url.removeprefix("sqlite:///")).parent
    return out


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def disk(s: Settings, low_bytes: int = LOW_BYTES) -> Iterator[Finding]:
    """Room where we write, and whether we may."""
    looked: set[int] = set()
    for setting, folder in _folders(s).items():
        there = _existing(folder.absolute())
        if not os.access(there, os.W_OK | os.X_OK):
            yield fault(
                "disk", f"{setting}: {there} may not be written to", f"chown it to who runs rahdar ({os.geteuid()})"
            )
            continue
        device = there.stat().st_dev
        if device in looked:
            continue
        looked.add(device)
        use = psutil.disk_usage(str(there))
        free_pct = 100.0 * use.free / max(use.total, 1)
        said = f"{there}: {use.free / (1 << 30):.1f} GiB free, {free_pct:.0f} %"
        inodes = os.statvfs(there)
        if free_pct < FULL_PCT or use.free < low_bytes or (inodes.f_files and inodes.f_favail < 1000):
            yield fault(
                "disk", said, "make room now: when it is full no message is acknowledged any more (docs/deploy.md)"
            )
        elif free_pct < LOW_PCT:
            yield note("disk", said, "make room, or move it to a larger disk")
        else:
            yield ok("disk", said)


class _Timex(ctypes.Structure):
    _fields_ = [  # as ctypes wants it; struct timex of adjtimex(2) on 64-bit Linux
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("constant", ctypes.c_long), ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long), ("sec", ctypes.c_long), ("usec", ctypes.c_long), ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    ]  # fmt: skip


def kernel_clock() -> tuple[bool, int] | None:
    """Whether the kernel's clock is kept by a time service, and its largest error in microseconds. None: it does not say."""
    found = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else (not found.status & UNSYNCHRONISED, int(found.maxerror))


def clock(kept: tuple[bool, int] | None) -> Iterator[Finding]:
    if kept is None:
        yield note("clock", "the kernel does not say whether its clock is kept by a time service")
    elif not kept[0]:
        yield fault(
            "clock", "no time service keeps this machine's clock (the kernel says: unsynchronised)",
            "install chrony and give it a time source that is there without the internet; then `chronyc tracking`",
        )  # fmt: skip
    elif kept[1] > MOST_ERROR_US:
        yield fault("clock", f"the clock may be {kept[1] / 1e6:.1f} s off", "look at `chronyc sources`")
    else:
        yield ok("clock", f"kept by a time service, at most {kept[1] / 1000:.0f} ms off")


def ports(s: Settings, runs: bool) -> Iterator[Finding]:
    """Where our own stages listen. `runs`: Ticks are fresh, so the system should be up."""
    desk = urlsplit(s.desk_url)
    host = "127.0.0.1" if desk.hostname in (None, "0.0.0.0", "::") else desk.hostname or "127.0.0.1"  # noqa: S104  # compared, not listened on
    port = desk.port or (443 if desk.scheme == "https" else 80)
    if not _is_listened_on(host, port):
        if runs:
            yield away(
                "ports", f"the desk does not answer on {host}:{port}", "start `rahdar run desk`, or look at its log"
            )
        else:
            yield ok("ports", f"{host}:{port} is free for the desk")
    else:
        yield _who_is_at(host, port)
    mqtt = urlsplit(s.mqtt_url)
    if mqtt.scheme == "embedded":
        there = _is_listened_on(mqtt.hostname or "127.0.0.1", mqtt.port or 1883)
        if runs and not there:
            yield away("ports", f"the embedded broker does not listen on {mqtt.netloc}", "start `rahdar run ingest`")
        elif there and not runs:
            yield fault(
                "ports", f"{mqtt.netloc} is taken, and not by a Rahdar that runs",
                f"`ss -ltnp sport = :{mqtt.port or 1883}` says by whom; stop that, or change RAHDAR_MQTT_URL",
            )  # fmt: skip
        else:
            yield ok("ports", f"{mqtt.netloc} is {'the embedded broker' if there else 'free for the embedded broker'}")


def _is_listened_on(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True


def _who_is_at(host: str, port: int) -> Finding:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/api/health", timeout=5) as answer:  # http, by the line above
            said = json.load(answer)
        flows, age_s = bool(said["ok"]), said["data_age_s"]
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
        return fault(
            "ports", f"{host}:{port} is taken, and not by a desk",
            f"`ss -ltnp sport = :{port}` says by whom; stop that, or change RAHDAR_DESK_URL",
        )  # fmt: skip
    if not flows:
        old = "nothing yet" if age_s is None else f"{age_s:.0f} s old"
        return fault(
            "ports", f"the desk answers on {host}:{port}, but its newest data is {old}", "look at ticks and lag"
        )
    return ok("ports", f"the desk answers on {host}:{port}, data {age_s} s old")


def when(us: int) -> str:
    return format_us(us)[:19] + "Z"
