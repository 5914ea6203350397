"""The one place that speaks to a running Grafana. What is static is provisioned from files; this asks whether it has taken.

`grafana-api` 1.0.3 is thin and old: an empty answer raises a JSON error, which is told here as what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaClientError, GrafanaException
from grafana_api.grafana_face import GrafanaFace

DATA_SOURCE = "rahdar-influx"
FOLDER = "rahdar"
OLDEST = (12, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was asked, whether it is so, and what to do if not."""

    what: str
    good: bool
    say: str


class UnreachableError(ConnectionError):
    """No Grafana answers there."""


class Grafana:
    def __init__(self, url: str, token: str, timeout_s: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"RAHDAR_GRAFANA_URL is {url!r}; give http://HOST:PORT or https://HOST")
        prefix = parts.path.strip("/")
        self.url = url
        self._face = GrafanaFace(
            auth=token, host=parts.hostname, port=parts.port, protocol=parts.scheme, timeout=timeout_s,
            url_path_prefix=f"{prefix}/" if prefix else "",
        )  # fmt: skip

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Raises UnreachableError, GrafanaException."""
        try:
            return call()
        except requests.exceptions.JSONDecodeError:
            return None  # an empty answer
        except requests.exceptions.RequestException as error:
            raise UnreachableError(f"{self.url}: {error}") from error

    def annotate(self, text: str, tags: Iterable[str], from_ms: int, to_ms: int | None = None) -> int:
        """Mark a stretch of time on every dashboard that shows these tags, e.g. a movement. Returns its id."""
        answer = self._ask(
            lambda: self._face.api.POST(
                "/annotations", json={"time": from_ms, "timeEnd": to_ms or from_ms, "tags": list(tags), "text": text}
            )
        )
        return int(answer["id"])

    def check(self, dashboards: Iterable[str], rules: Iterable[str]) -> list[Finding]:
        """Health, version, data source, dashboards and watchdog rules. Raises UnreachableError."""
        health = self._ask(lambda: self._face.api.GET("/health")) or {}
        version = str(health.get("version", "?"))
        numbers = tuple(int(n) if n.isdigit() else 0 for n in version.split("-")[0].split(".")[:2])
        out = [
            Finding("database", health.get("database") == "ok", "Grafana's own database is not well: see its log"),
            Finding(f"version {version}", numbers >= OLDEST, "use grafana/grafana:12.4"),
        ]
        out.append(
            self._finding(
                "data source", lambda: self._face.api.GET(f"/datasources/uid/{DATA_SOURCE}/health"),
                lambda a: (a or {}).get("status") == "OK",
                "the reader's token, the organisation or InfluxDB's address is wrong: see deploy/grafana/datasources.yaml",
            )
        )  # fmt: skip
        for uid in dashboards:
            out.append(
                self._finding(
                    f"dashboard {uid}", lambda uid=uid: self._face.dashboard.get_dashboard(uid),  # type: ignore[misc]
                    lambda a: bool((a or {}).get("meta", {}).get("provisioned")),
                    "it is not there, or not provisioned: mount dashboards/json and deploy/grafana/dashboards.yaml",
                )
            )  # fmt: skip
        there = self._finding_rules()
        for uid in rules:
            out.append(Finding(f"watchdog {uid}", uid in there, "mount deploy/grafana/alerting.yaml"))
        return out

    def _finding(self, what: str, ask: Callable[[], Any], good: Callable[[Any], bool], cure: str) -> Finding:
        try:
            return Finding(what, good(self._ask(ask)), cure)
        except GrafanaException as error:
            return Finding(what, False, f"{error.message}: {cure}")

    def _finding_rules(self) -> set[str]:
        try:
            return {
                str(r.get("uid")) for r in self._ask(lambda: self._face.api.GET("/v1/provisioning/alert-rules")) or []
            }
        except GrafanaClientError:
            return set()
