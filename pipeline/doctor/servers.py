"""What Rahdar speaks to: the broker, InfluxDB, its own log and databases."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from pipeline.doctor.finding import Finding, away, fault, note, ok
from pipeline.doctor.machine import when
from pipeline.ingest.bridge import parse_address
from pipeline.model.observation import Tick
from pipeline.plan.load import PlanError, load_plan
from pipeline.record.influx import is_influx, place_of, read_token
from pipeline.record.schema import buckets
from pipeline.record.tables import path_of
from pipeline.settings import Settings
from pipeline.tls import client_context

ANSWERS_WITHIN_S = 5.0
TICK_LATE_TIMES = 3
"""A Tick that is older than so many intervals: nothing comes in."""
AHEAD_S = 2.0
BEHIND_S = 60.0
"""Detect may stand at half a minute's Ticks while nothing else comes."""
CLOCKS_APART_S = 2.0
OF_INFLUX = "2.7."


class Seen(Protocol):
    """A look at the log from outside."""

    partitions: int
    tick: Tick | None
    behind: dict[str, int]
    waiting_since_us: dict[str, int]


# ---- the broker -------------------------------------------------------------------------------------------------------


def broker(s: Settings) -> Iterator[Finding]:
    """Mosquitto's TLS, both ways. No MQTT is spoken: a second session of the bridge's would throw the first one out."""
    if s.mqtt_url.startswith("embedded://"):
        return
    try:
        address = parse_address(s.mqtt_url)
    except ValueError as error:
        yield fault("broker", str(error), "docs/devices.md shows the form")
        return
    where = f"{address.host}:{address.port}"
    try:
        plain = socket.create_connection((address.host, address.port), ANSWERS_WITHIN_S)
    except OSError as error:
        yield away(
            "broker",
            f"{where} does not answer ({error})",
            "is Mosquitto up? `journalctl -u mosquitto`, or `docker compose logs mosquitto`",
        )
        return
    with plain:
        if not address.tls:
            yield ok("broker", f"{where} answers, unencrypted")
            return
        for shard in address.shards:
            yield _tls(s, address.host, address.port, shard)


def _context(s: Settings, shard: str) -> ssl.SSLContext:
    pair: list[str] = []
    if s.mqtt_tls_cert_file and s.mqtt_tls_key_file:
        pair = [str(path).replace("{shard}", shard) for path in (s.mqtt_tls_cert_file, s.mqtt_tls_key_file)]
    return client_context(s.mqtt_tls_ca_file, *pair)


def _tls(s: Settings, host: str, port: int, shard: str) -> Finding:
    who = f"{host}:{port} as {shard}"
    try:
        context = _context(s, shard)
    except (OSError, ssl.SSLError) as error:
        return fault(
            "broker",
            f"our certificate for {shard} cannot be used ({error})",
            "RAHDAR_MQTT_TLS_CERT_FILE and …_KEY_FILE; `rahdar device setup`",
        )
    try:
        with (
            socket.create_connection((host, port), ANSWERS_WITHIN_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            tls.settimeout(0.5)
            with contextlib.suppress(TimeoutError):  # it waits for us to speak: we are let in
                tls.recv(1)  # under TLS 1.3 a refusal of our certificate comes only now
            return ok("broker", f"{who}: {tls.version()}, both certificates are taken")
    except ssl.SSLCertVerificationError as error:
        return fault(
            "broker",
            f"{host}:{port}: its certificate does not convince us ({error.verify_message})",
            "RAHDAR_MQTT_TLS_CA_FILE names its authority; `rahdar device setup --host` adds a name",
        )
    except (ssl.SSLError, ConnectionError) as error:
        return fault(
            "broker",
            f"{who}: it refuses our certificate ({error})",
            "is it revoked, run out or of another authority? `rahdar device setup`",
        )
    except OSError as error:
        return away("broker", f"{who} does not answer ({error})", "is Mosquitto up?")


# ---- InfluxDB -----------------------------------------------------------------------------------------------------------


def influx(s: Settings, now_us: int) -> Iterator[Finding]:
    """Version, clock, token and buckets. Asked by writing nothing: an empty write is refused after the token was looked at."""
    if not is_influx(s.record_url):
        return
    try:
        place, token = place_of(s.record_url), read_token(s.influx_token_file)
    except ValueError as error:
        yield fault("influx", str(error), "docs/influx.md; `rahdar influx setup`")
        return
    try:
        with urllib.request.urlopen(f"{place.url}/health", timeout=ANSWERS_WITHIN_S) as answer:  # noqa: S310  # http or https, by place_of
            health, date = json.load(answer), answer.headers.get("Date")
    except (urllib.error.URLError, OSError, ValueError) as error:
        yield away(
            "influx",
            f"{place.url} does not answer ({error})",
            "start it; until then the wall stands still and nothing is lost",
        )
        return
    version = str(health.get("version", "")).removeprefix("v")
    if not version.startswith(OF_INFLUX):
        yield fault(
            "influx", f"{place.url} is InfluxDB {version or '?'}", "2.7 is what this is written for and tested with"
        )
    if date:
        apart_s = parsedate_to_datetime(date).timestamp() - now_us / 1e6
        if abs(apart_s) > CLOCKS_APART_S + 1:  # the header has whole seconds
            yield fault("influx", f"its clock and ours are {abs(apart_s):.0f} s apart", "keep both by one time service")
    try:
        # means of a minute are written by a task of InfluxDB's own
        wanted = [name for name in buckets(tuple(load_plan(s.plan).regions)) if not name.endswith("_1m")]
    except PlanError:
        return  # said by `plan`
    refused = [found for bucket in wanted if (found := _refusal(place.url, place.org, bucket, token))]
    yield from refused
    if not refused:
        yield ok("influx", f"{place.url}: InfluxDB {version}, {len(wanted)} buckets may be written to")


def _refusal(url: str, org: str, bucket: str, token: str) -> Finding | None:
    """None: it would be taken."""
    request = urllib.request.Request(  # noqa: S310  # as above
        f"{url}/api/v2/write?org={quote(org)}&bucket={quote(bucket)}", data=b"\n", method="POST",
        headers={"Authorization": f"Token {token}", "Content-Type": "text/plain"},
    )  # fmt: skip
    try:
        urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return fault(
                "influx",
                f"{bucket}: the token is refused ({error.code})",
                "RAHDAR_INFLUX_TOKEN_FILE; `rahdar influx setup` makes a writer's token",
            )
        if error.code == 404:
            return fault(
                "influx",
                f"there is no bucket {bucket}, or no organisation {org}",
                "`rahdar influx setup`, again after the plan got a region",
            )
        return None
    except (urllib.error.URLError, OSError) as error:
        return away("influx", f"{bucket}: {error}", "look at InfluxDB's own log")
    return None


# ---- the log --------------------------------------------------------------------------------------------------------------


def ticks(s: Settings, seen: Seen, now_us: int) -> Iterator[Finding]:
    """Ingest's word that it lives, against our clock."""
    if not seen.partitions:
        yield fault(
            "ticks", "the log has no topics yet", "start `rahdar run ingest` (or all): every stage declares them"
        )
        return
    if seen.partitions != s.partitions:
        yield fault(
            "ticks",
            f"rahdar.raw has {seen.partitions} partitions, RAHDAR_PARTITIONS says {s.partitions}",
            f"set RAHDAR_PARTITIONS={seen.partitions}",
        )
    tick = seen.tick
    if tick is None:
        yield fault(
            "ticks", "there is no Tick in the log: ingest has never run, or long ago", "start `rahdar run ingest`"
        )
        return
    age_s = (now_us - tick.at_us) / 1e6
    if age_s < -AHEAD_S:
        yield fault(
            "ticks", f"ingest's clock is {-age_s:.0f} s ahead of ours", "keep both machines' clocks by one time service"
        )
    elif age_s > TICK_LATE_TIMES * s.tick_s:
        yield fault(
            "ticks",
            f"the newest Tick is {age_s:.0f} s old ({when(tick.at_us)}): nothing comes in",
            "start `rahdar run ingest`, or look at its log",
        )
    elif not tick.clock_trusted:
        yield fault(
            "ticks",
            "ingest does not trust its clock: it is behind what was stamped before",
            "set the clock right; it is trusted again once it has caught up",
        )
    elif not tick.healthy:
        yield fault(
            "ticks",
            "ingest is not well: the session with the broker is lost, the broker drops messages, or a device says more than can be kept",
            "look at ingest's log and at `broker` here",
        )
    else:
        yield ok("ticks", f"the newest is {max(age_s, 0):.0f} s old, by {tick.source}")


def lag(seen: Seen, now_us: int) -> Iterator[Finding]:
    """How long the oldest record waits that a stage has not dealt with."""
    for stage, count in seen.behind.items():
        since = seen.waiting_since_us.get(stage)
        waits_s = 0.0 if since is None else (now_us - since) / 1e6
        if waits_s > BEHIND_S:
            yield fault(
                "lag",
                f"{stage} is {count} records behind, the oldest {waits_s:.0f} s old",
                f"start `rahdar run {stage}`, look at its log, or start another worker",
            )
        else:
            yield ok("lag", f"{stage}: {count} records, {max(waits_s, 0):.0f} s")


# ---- our own databases ------------------------------------------------------------------------------------------------------


def databases(s: Settings) -> Iterator[Finding]:
    """Alerts and the record: whole, as far as a quick look tells."""
    files: dict[str, Path] = {}
    if s.alert_url.startswith("sqlite:///"):
        files["RAHDAR_ALERT_URL"] = Path(s.alert_url.removeprefix("sqlite:///"))
    else:
        yield _server_of_alerts(s.alert_url)
    try:
        files["RAHDAR_RECORD_URL"] = path_of(s.record_url)
    except ValueError as error:
        yield fault("databases", str(error), "docs/influx.md shows the form")
    for setting, path in files.items():
        if not path.exists():
            yield note("databases", f"{setting}: {path} is not there yet", "the stage makes it at its first start")
            continue
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                said = str(db.execute("pragma quick_check(1)").fetchone()[0])
        except sqlite3.Error as error:
            said = str(error)
        if said == "ok":
            yield ok("databases", f"{path}: whole, {path.stat().st_size / (1 << 20):.0f} MiB")
        else:
            yield fault(
                "databases", f"{path} is damaged ({said[:120]})", "stop its stage and restore it (docs/deploy.md)"
            )


def _server_of_alerts(url: str) -> Finding:
    import sqlalchemy as sa

    from pipeline.alert.tables import make_engine

    shown = re.sub(r"//[^@/]*@", "//…@", url)  # without name and password
    try:
        engine = make_engine(url)
        try:
            with engine.connect() as connection:
                version = connection.execute(sa.text("show server_version")).scalar_one()
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        why = str(getattr(error, "orig", error)).strip().splitlines()[0][:200]
        return away(
            "databases",
            f"{shown} does not answer ({why})",
            "is PostgreSQL up? RAHDAR_ALERT_URL says where it should be",
        )
    return ok("databases", f"{shown}: PostgreSQL {version}")
