"""`rahdar influx` against a real influxd, and `rahdar grafana check` against a server that answers in the recorded shape of Grafana's API."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dashboards.boards import BOARDS
from dashboards.watchdogs import rules
from pipeline.cli import cli
from pipeline.record.grafana import Grafana
from pipeline.record.local import LocalInfluxd
from tests.record.servers import need_influxd


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LocalInfluxd]:
    """A new server, with nobody in it."""
    need_influxd()
    server = LocalInfluxd(tmp_path / "influxd")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def run(*words: str, **env: str) -> Any:
    return CliRunner().invoke(cli, words, env=env)


def setup(server: LocalInfluxd, tmp_path: Path, root: Path) -> Any:
    where = ("--admin-token-file", str(tmp_path / "admin.token"), "--tokens", str(tmp_path / "secrets"))
    return run("influx", "setup", *where, RAHDAR_RECORD_URL=server.url, RAHDAR_PLAN=str(root / "plans" / "hazara"))


def test_a_new_server_is_set_up_and_a_second_time_changes_nothing(
    empty: LocalInfluxd, tmp_path: Path, root: Path
) -> None:
    first = setup(empty, tmp_path, root)
    assert first.exit_code == 0, first.output
    for line in ("bucket rahdar_hazara_raw, kept for 30 days", "bucket rahdar_hazara_1m, kept for 366 days", "task 'rahdar hazara: one-minute means'"):  # fmt: skip
        assert line in first.output
    files = [tmp_path / "admin.token", *(tmp_path / "secrets" / f"influx-{w}.token" for w in ("writer", "reader"))]
    assert [stat.S_IMODE(f.stat().st_mode) for f in files] == [0o600] * 3
    assert len({f.read_text() for f in files}) == 3
    for path in files:
        assert path.read_text().strip() not in first.output
    second = setup(empty, tmp_path, root)
    assert second.exit_code == 0
    assert second.output.splitlines() == [first.output.splitlines()[-1]]


def test_a_server_that_is_set_up_already_wants_its_token(empty: LocalInfluxd, tmp_path: Path, root: Path) -> None:
    setup(empty, tmp_path, root)
    (tmp_path / "admin.token").unlink()
    again = setup(empty, tmp_path, root)
    assert again.exit_code == 1
    assert "--admin-token-file" in again.output
    (tmp_path / "admin.token").write_text("wrong")
    assert "refuses the administrator's token" in setup(empty, tmp_path, root).output


@pytest.mark.parametrize(("url", "code"), [("sqlite:///x", 1), ("influx://127.0.0.1:1/org", 3)])
def test_what_is_wrong_has_its_exit_code(tmp_path: Path, root: Path, url: str, code: int) -> None:
    where = ("--admin-token-file", str(tmp_path / "a"), "--tokens", str(tmp_path))
    found = run("influx", "setup", *where, RAHDAR_RECORD_URL=url, RAHDAR_PLAN=str(root / "plans" / "hazara"))
    assert found.exit_code == code, found.output


def test_the_schema_is_told() -> None:
    assert "positions\traw\tregion,vehicle,device,role" in run("influx", "schema").output


# ---- Grafana: no real one can be had here; this server answers as its documentation and source say ------------------------


class Recorded(BaseHTTPRequestHandler):
    """What a well provisioned Grafana 12 answers; `server.changed` replaces answers."""

    def do_GET(self) -> None:
        answers: dict[str, tuple[int, Any]] = {
            "/api/health": (200, {"commit": "c", "database": "ok", "version": "12.4.1"}),
            "/api/datasources/uid/rahdar-influx/health": (200, {"message": "datasource is working. 4 buckets found", "status": "OK"}),
            "/api/v1/provisioning/alert-rules": (200, [{"uid": r["uid"], "title": r["title"]} for r in rules()]),
        }  # fmt: skip
        answers |= {f"/api/dashboards/uid/{b.uid}": (200, {"meta": {"provisioned": True}, "dashboard": {"uid": b.uid}}) for b in BOARDS}  # fmt: skip
        answers |= self.server.changed  # type: ignore[attr-defined]
        if self.headers["Authorization"] != "Bearer good":
            code, body = 401, {"message": "Invalid API key"}
        else:
            code, body = answers.get(self.path, (404, {"message": "Not found"}))
        self._say(code, body)

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, said))  # type: ignore[attr-defined]
        self._say(200, {"id": 7, "message": "Annotation added"})

    def _say(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Recorded)
    server.changed, server.posted = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.token = tmp_path / "token"
    server.token.write_text("good\n")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def check(fake: Any, root: Path) -> Any:
    return run(
        "grafana", "check", "--root", str(root), RAHDAR_GRAFANA_URL=fake.url, RAHDAR_GRAFANA_TOKEN_FILE=str(fake.token)
    )


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_good_grafana_is_good(fake: Any, root: Path) -> None:
    found = check(fake, root)
    assert found.exit_code == 0, found.output
    assert found.output.count("ok  ") == 3 + len(BOARDS) + len(rules())


WRONG = [
    ("old", "/api/health", (200, {"database": "ok", "version": "11.2.0"}), "use grafana/grafana:12.4"),
    ("its database is down", "/api/health", (200, {"database": "failing", "version": "12.4.1"}), "its log"),
    ("the data source is not well", "/api/datasources/uid/rahdar-influx/health", (400, {"message": "unauthorized", "status": "ERROR"}), "reader's token"),
    ("a dashboard is missing", "/api/dashboards/uid/rahdar-overview", (404, {"message": "Dashboard not found"}), "dashboard rahdar-overview"),
    ("a dashboard was made by hand", "/api/dashboards/uid/rahdar-overview", (200, {"meta": {"provisioned": False}}), "not provisioned"),
    ("no watchdogs", "/api/v1/provisioning/alert-rules", (200, []), "watchdog rahdar_data_age"),
    ("watchdogs are not for us to see", "/api/v1/provisioning/alert-rules", (403, {"message": "no"}), "alerting.yaml"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(("path", "answer", "told"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_missing_is_told_with_its_cure(fake: Any, root: Path, path: str, answer: Any, told: str) -> None:
    fake.changed[path] = answer
    found = check(fake, root)
    assert found.exit_code == 1
    assert told in found.output


def test_no_grafana_is_exit_code_3_and_no_token_says_which_setting(tmp_path: Path, root: Path) -> None:
    (tmp_path / "t").write_text("t")
    away = run("grafana", "check", "--root", str(root), RAHDAR_GRAFANA_URL="http://127.0.0.1:1", RAHDAR_GRAFANA_TOKEN_FILE=str(tmp_path / "t"))  # fmt: skip
    assert away.exit_code == 3, away.output
    assert "RAHDAR_GRAFANA_TOKEN_FILE" in run("grafana", "check", "--root", str(root)).output


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_movement_is_marked(fake: Any) -> None:
    assert Grafana(fake.url, "good").annotate("Alpha to Dasu", ["movement", "alpha"], 1000, 2000) == 7
    assert fake.posted == [
        ("/api/annotations", {"time": 1000, "timeEnd": 2000, "tags": ["movement", "alpha"], "text": "Alpha to Dasu"})
    ]


def test_the_committed_rules_are_those_that_are_checked(root: Path) -> None:
    made = yaml.safe_load((root / "deploy" / "grafana" / "alerting.yaml").read_text())
    assert [r["uid"] for g in made["groups"] for r in g["rules"]] == [r["uid"] for r in rules()]
