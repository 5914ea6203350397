"""One InfluxDB 2, written to synchronously: an answer is a fact. Nothing here waits or tries again; the stage does.

Good lines of a refused request are told from the bad by halving it, and writing a line twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import urllib3

if TYPE_CHECKING:  # half a second and some megabytes, which whoever records into SQLite alone does not pay
    from influxdb_client.rest import ApiException

SETTING = "RAHDAR_RECORD_URL"
FORM = "influx://HOST:PORT/ORG (influxs:// for TLS)"
MOST_LINES = 10_000
"""Of a request: InfluxDB syncs its log once for each."""
LANES = 2
"""Requests under way at once: while one is synced or parsed, which is one core's work, the other's go on."""
_DROPPED = re.compile(r"dropped[= ](\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is. `memory` is the desk's own short memory in SQLite, which no outage of InfluxDB may take away."""

    url: str
    org: str
    memory: Path


def place_of(url: str) -> Place:
    """Raises ValueError that names the setting."""
    parts = urlsplit(url)
    scheme = {"influx": "http", "influxs": "https"}.get(parts.scheme)
    org = parts.path.strip("/")
    if scheme is None or not parts.hostname or not org or "/" in org:
        raise ValueError(f"{SETTING} is {url!r}; give {FORM}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    memory = parse_qs(parts.query).get("memory", ["var/record.sqlite"])[0]
    return Place(f"{scheme}://{host}:{parts.port or 8086}", org, Path(memory))


def is_influx(url: str) -> bool:
    return url.startswith(("influx://", "influxs://"))


class AwayError(ConnectionError):
    """Not reachable, or too busy: try again."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class MisconfiguredError(AwayError):
    """A token or bucket is missing: nothing gets better before somebody has set it up."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A line that InfluxDB does not take, and its word on why."""

    bucket: str
    line: str
    reason: str


def read_token(path: Path | None) -> str:
    """Raises ValueError that names the setting."""
    if path is None:
        raise ValueError("RAHDAR_INFLUX_TOKEN_FILE is not set; `rahdar influx setup` writes the file")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"RAHDAR_INFLUX_TOKEN_FILE: {error}; `rahdar influx setup` writes it") from error
    if not token:
        raise ValueError(f"RAHDAR_INFLUX_TOKEN_FILE: {path} is empty; `rahdar influx setup` writes it")
    return token


def halve(lines: Sequence[str], write: Callable[[Sequence[str]], str | None]) -> list[tuple[str, str]]:
    """Write all that can be written. `write` returns None, or why the server refused; `dropped n` in that word means that the
    rest of the request was taken. Returns the bad lines with the reason."""
    refused = write(lines)
    if refused is None:
        return []
    dropped = _DROPPED.search(refused)
    if len(lines) == 1 or (dropped and int(dropped.group(1)) >= len(lines)):
        return [(line, refused) for line in lines]
    middle = len(lines) // 2
    return halve(lines[:middle], write) + halve(lines[middle:], write)


def lanes(lines: Sequence[str]) -> list[list[str]]:
    """Shared out among the lanes by their series, so that lines of one point stay in their order. None is empty."""
    if len(lines) <= MOST_LINES // LANES:
        return [list(lines)] if lines else []
    out: list[list[str]] = [[] for _ in range(LANES)]
    for line in lines:
        out[hash(line[: line.find(" ")]) % LANES].append(line)
    return [lane for lane in out if lane]


class Influx:
    """A client. Its methods block; call them from one thread."""

    def __init__(self, place: Place, token: str, timeout_s: float = 15.0) -> None:
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        self.place = place
        # the client packs as tight as it can, which costs more than all else that we do to a point: only for a way that leaves the site
        self._client = InfluxDBClient(
            url=place.url, token=token, org=place.org, timeout=int(timeout_s * 1000),
            enable_gzip=urlsplit(place.url).scheme == "https", retries=urllib3.Retry(0, redirect=0),
        )  # fmt: skip
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)
        self._lanes = ThreadPoolExecutor(LANES, "influx-lane")

    def close(self) -> None:
        self._lanes.shutdown()
        self._write_api.close()
        self._client.close()

    def write(self, bucket: str, lines: Sequence[str]) -> list[SetAside]:
        """All of them, but those that the server says are bad. Raises AwayError: then nothing is certain, and all may be written again."""
        shared = lanes(lines)
        if len(shared) < LANES:
            return [bad for lane in shared for bad in self._lane(bucket, lane)]
        under_way = [self._lanes.submit(self._lane, bucket, lane) for lane in shared]
        wait(under_way)  # an answer is given when none is under way any more, also when one has failed
        return [bad for done in under_way for bad in done.result()]

    def _lane(self, bucket: str, lines: Sequence[str]) -> list[SetAside]:
        out: list[SetAside] = []
        for start in range(0, len(lines), MOST_LINES):
            bad = halve(lines[start : start + MOST_LINES], lambda some: self._request(bucket, some))
            out += [SetAside(bucket, line, reason) for line, reason in bad]
        return out

    def _request(self, bucket: str, lines: Sequence[str]) -> str | None:
        from influxdb_client.domain.write_precision import WritePrecision
        from influxdb_client.rest import ApiException

        try:
            self._write_api.write(bucket, self.place.org, "\n".join(lines), cast(Any, WritePrecision.NS))
        except ApiException as error:
            return _refused(error, bucket)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AwayError(f"{self.place.url}: {error}") from error
        return None

    def query(self, flux: str, **params: Any) -> list[dict[str, Any]]:
        """Rows of all tables. Raises AwayError."""
        from influxdb_client.rest import ApiException

        try:
            tables = self._client.query_api().query(flux, org=self.place.org, params=params)
        except ApiException as error:
            raise AwayError(f"query: {error.status} {_said(error)}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AwayError(f"{self.place.url}: {error}") from error
        return [dict(record.values) for table in tables for record in table.records]

    def began_at_us(self, bucket: str, rule: str, subject: str, obj: str, episode: str) -> int | None:
        """When the episode of this id began, of one rule, subject and object; None when it was never written."""
        rows = self.query(
            f"""from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)
  |> filter(fn: (r) => r._measurement == "episodes" and r.rule == rule and r.subject == subject and r.object == object)
  |> filter(fn: (r) => r._field == "id" and r._value == episode)""",
            rule=rule, subject=subject, object=obj or "-", episode=episode,
        )  # fmt: skip
        if not rows:
            return None
        from pipeline.model.times import to_us

        return to_us(rows[0]["_time"])


def _said(error: ApiException) -> str:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or error.reason)
    return body.strip()[:400]


def _refused(error: ApiException, bucket: str) -> str | None:
    """Why it was refused for good; raises AwayError for what passes, MisconfiguredError for what somebody has to mend."""
    said = _said(error)
    if error.status in (401, 403, 404):
        raise MisconfiguredError(
            f"bucket {bucket}: {error.status} {said}; run `rahdar influx setup`, or look at the token"
        ) from error
    if error.status in (400, 413, 422):
        return f"{error.status} {said}"
    headers: Mapping[str, str] = error.headers or {}
    after = headers.get("Retry-After", "0")
    raise AwayError(f"bucket {bucket}: {error.status} {said}", float(after) if after.isdigit() else 0.0) from error
