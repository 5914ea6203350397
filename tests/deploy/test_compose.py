"""docker-compose.yml: valid in every profile, what each starts, what a container may do, and that all that it mounts is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.kafka_url import kafka_place
from tests.deploy.compose import PROFILES, ROOT, ask, config

GIB = 1 << 30
SERVERS = {"mosquitto", "influxdb", "grafana", "nginx"}
STAGES = {"ingest", "worker", "alert", "notify", "desk"}
WRITTEN_LATER = {"influx-writer.token", "influx-reader.token"}
"""By `rahdar influx setup`, which deploy/setup runs once InfluxDB is up (tests/cli/test_influx.py)."""


@pytest.fixture(scope="module", params=(*PROFILES, "tools"))
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(config(request.param)["services"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `rahdar setup` makes."""
    directory = tmp_path_factory.mktemp("secrets")
    words = ["setup", "--dir", str(directory), "--host", "wall.example.pk", "--host", "192.0.2.10", "--demo"]
    subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        ("full", {"kafka", *STAGES}),
        ("small", {"rahdar"}),
        ("demo", {"kafka", "simulators", *STAGES}),
        ("small-demo", {"rahdar", "simulators"}),
    ],
)
def test_a_profile_starts(profile: str, more: set[str]) -> None:
    assert set(config(profile)["services"]) == SERVERS | more


def test_up_takes_the_full_one() -> None:
    """As it is cloned: `.env` names the profile."""
    done = ask("config", "--services")
    assert set(done.stdout.split()) == SERVERS | STAGES | {"kafka"}, done.stderr


def test_two_deployments_at_once_are_refused() -> None:
    """Two bridges with one session would throw each other out without end."""
    done = ask("--profile", "small", "--profile", "demo", "config", "--quiet")
    assert done.returncode != 0
    assert "rahdar-ingest" in done.stderr


@pytest.mark.parametrize("profile", ["small", "small-demo"])
def test_the_small_one_fits_into_four_gigabytes(profile: str) -> None:
    limits = {name: int(s["mem_limit"]) for name, s in config(profile)["services"].items()}
    assert sum(limits.values()) <= 4 * GIB, limits


def test_every_container_is_bounded_and_bare(services: dict[str, Any]) -> None:
    for name, s in services.items():
        assert s["read_only"], name
        assert s["cap_drop"] == ["ALL"], name
        assert s["security_opt"] == ["no-new-privileges:true"], name
        assert s["mem_limit"], name
        assert s["cpus"], name
        assert s["pids_limit"], name
        assert "privileged" not in s, name
        assert re.fullmatch(r".+:\d+(\.\d+)+(-alpine)?", s["image"]), f"{name}: {s['image']} is no pinned version"
        if name != "tools":
            assert int(s["user"].split(":")[0]) > 0, name
            assert not s.get("cap_add"), name


def test_what_is_always_on_says_how_it_is(services: dict[str, Any]) -> None:
    for name, s in services.items():
        if s.get("restart") == "unless-stopped" and name != "simulators":
            assert s["healthcheck"]["test"], name


def test_only_the_edge_is_published() -> None:
    for profile in PROFILES:
        found = config(profile)
        published = {name for name, s in found["services"].items() if s.get("ports")}
        assert published == {"nginx", "mosquitto"}
        assert all(found["networks"][name]["internal"] for name in ("core", "front"))


def test_no_secret_is_in_the_file_or_the_environment(services: dict[str, Any]) -> None:
    for name, s in services.items():
        for key, value in (s.get("environment") or {}).items():
            if re.search(r"TOKEN|PASSWORD|SECRET|KEY", key):
                assert key.endswith("FILE"), f"{name}: {key}"
                assert str(value).startswith(("/run/secrets/", "/etc/rahdar/")), f"{name}: {key}"


@pytest.mark.parametrize("profile", ["full", "demo"])
def test_kafka_is_spoken_to_over_tls_only(profile: str) -> None:
    """By every stage, with the files that `rahdar setup` makes and the container mounts."""
    found = config(profile)["services"]
    assert found["kafka"]["environment"]["RAHDAR_KAFKA_TLS"] in {v["target"] for v in found["kafka"]["volumes"]}
    for name in STAGES:
        place = kafka_place(found[name]["environment"]["RAHDAR_LOG_URL"])
        assert place.servers == ("kafka:9093",)
        assert place.files is not None
        assert {str(Path(file).parent) for file in place.files} <= {v["target"] for v in found[name]["volumes"]}, name
    tools = kafka_place(config("tools")["services"]["tools"]["environment"]["RAHDAR_LOG_URL"])
    assert tools.files is not None
    assert all(file.startswith("/etc/rahdar/secrets/stages/") for file in tools.files)


def _below_secrets(path: str) -> str | None:
    folder = f"{ROOT}/deploy/secrets"
    return path.removeprefix(folder).lstrip("/") if path.startswith(folder) else None


def test_all_that_is_mounted_is_there(services: dict[str, Any], made: Path) -> None:
    """In the tree, or made by `rahdar setup`."""
    for name, s in services.items():
        for volume in s.get("volumes", []):
            if volume["type"] != "bind":
                continue
            secret = _below_secrets(volume["source"])
            there = Path(volume["source"]) if secret is None else made / secret
            assert there.exists(), f"{name}: {volume['source']}"
            if secret is None:
                assert volume["read_only"], f"{name}: {volume['source']}"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_secret_is_made_for_its_reader_alone(profile: str, made: Path) -> None:
    found = config(profile)
    for name, s in found["services"].items():
        for secret in s.get("secrets", []):
            file = _below_secrets(found["secrets"][secret["source"]]["file"])
            assert file is not None
            if file in WRITTEN_LATER:
                continue
            status = (made / file).stat()
            assert status.st_mode & 0o077 == 0, file
            if os.geteuid() == 0:
                assert status.st_uid == int(s["user"].split(":")[0]), f"{name} cannot read {file}"


def test_keys_lie_where_only_their_reader_looks(made: Path) -> None:
    for path in made.rglob("*"):
        if path.suffix in (".key", ".password", ".token") or path.name in ("passwords", "operators.yaml"):
            assert path.stat().st_mode & 0o077 == 0, path
    if os.geteuid() == 0:
        for folder, user in {
            "mqtt": 1883,
            "kafka": 1000,
            "stages": 10001,
            "bridge": 10001,
            "bridge/0": 10001,
            "web": 101,
            "desk": 10001,
        }.items():
            assert (made / folder).stat().st_uid == user
        assert (made / "mqtt" / "ca.key").stat().st_uid == 0, "the broker could sign devices"
        assert (made / "kafka-authority" / "ca.key").stat().st_uid == 0, "the broker could sign stages"
    assert {p.name for p in (made / "kafka").iterdir()} == {"ca.pem", "server.pem"}


def test_setup_again_changes_nothing(made: Path) -> None:
    before = {p: p.read_bytes() for p in made.rglob("*") if p.is_file() and p.name != "crl.pem"}
    words = ["setup", "--dir", str(made), "--host", "wall.example.pk", "--host", "192.0.2.10", "--demo"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == ""
    assert {p: p.read_bytes() for p in made.rglob("*") if p.is_file() and p.name != "crl.pem"} == before


def test_versions_are_those_that_are_tested() -> None:
    """The jars that the tests start and Kafka's image; influxd's module and image; the dashboards' Grafana; Rahdar's own."""
    images = {name: s["image"] for name, s in config("full")["services"].items()}
    jars = (ROOT / "deploy/kafka/jars.sha256").read_text()
    assert f"kafka_2.13-{images['kafka'].split(':')[1]}.jar" in jars
    influx = (ROOT / "deploy/influxdb/install.sh").read_text()
    assert f"version=v{images['influxdb'].split(':')[1]}\n" in influx
    assert images["grafana"].startswith("grafana/grafana:12.4.")
    assert f'version = "{images["ingest"].split(":")[1]}"' in (ROOT / "pyproject.toml").read_text()
