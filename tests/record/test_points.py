"""Points: what is written is what the schema says, once, at the observation's own time, whatever the names and words are."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.model.alert import AlertEvent
from pipeline.model.observation import Link, Press, Reading, Tick
from pipeline.model.wire import RawItem, Reject
from pipeline.notify.figures import Figures
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan, Convoy, Sensor
from pipeline.record.convoys import AlongTheRoad
from pipeline.record.influx import LANES, halve, is_influx, lanes, place_of, read_token
from pipeline.record.pending import Pending
from pipeline.record.points import Lines, Points, fields, machine_lines, notify_line, tag
from pipeline.record.schema import BY_NAME, MEASUREMENTS, SYSTEM_BUCKET, bucket_of, buckets
from pipeline.record.tables import path_of
from tests.alert.builders import alert, at, change, episode
from tests.detect import plans
from tests.detect.plans import T0, fix
from tests.record.test_record import seen

LINE = re.compile(r"^(?P<m>[a-z]+)(?P<tags>(,[a-z]+=(\\.|[^ ,=\\])+)+) (?P<fields>.+) (?P<at>\d+)$")


@pytest.fixture
def plan() -> CompiledPlan:
    plan = plans.plan(vehicles=("v1", "v2"), line=[(0, 0), (10_000, 0)])
    return replace(plan, sensors={"door": Sensor("door", "r", "c", {"en": "Door"}, "door", "camp", "d9")})


@pytest.fixture
def points(plan: CompiledPlan) -> Points:
    return Points(plan)


def lines_of(points: Points, *observations: Any) -> Lines:
    out: Lines = {}
    points.observations(seen(*observations), out)
    return out


def only(lines: Lines) -> tuple[str, str]:
    ((bucket, (line,)),) = lines.items()
    return bucket, line


EVERYTHING: list[Any] = [
    fix(0, 0, 0),
    Press(subject="v1", what="sos", seen_at_us=at(1), received_at_us=at(1), lat=35.0, lon=73.0),
    Reading(sensor="door", what="door", value="open", seen_at_us=at(1), received_at_us=at(1)),
    Reading(sensor="door", what="battery_pct", value=81, seen_at_us=at(1), received_at_us=at(1)),
    Link(device="v1-d0", state="online", seen_at_us=at(1), received_at_us=at(1)),
    Tick(source="ingest@here", at_us=at(1)),
]


def event(seq: int = 7, transition: Any = "opened", **state: Any) -> AlertEvent:
    return AlertEvent(version=1, seq=seq, at_us=at(2), transition=transition, reason="BEGAN", actor="policy", alert=alert(**state), received_at_us=at(1.9))  # fmt: skip


def test_every_line_says_only_what_the_schema_lists(points: Points) -> None:
    """Measurement, bucket, tags and fields, each with its type: what the dashboards may lean on."""
    pending = Pending()
    pending.add(seen(*EVERYTHING), points)
    pending.put(*points.change(change("begin", episode(peak=3.0))))
    for transition in ("opened", "acknowledged", "closed"):
        pending.put(*points.alert(event(transition=transition, lat=35.0, lon=73.0)))
    pending.put(*points.alert(msgspec.structs.replace(event(transition="told"), reason="RECEIPT")))
    rejected = points.reject(Reject(1, "ingest@here", "malformed", "not JSON", RawItem(5, "v1-d0", "t", b"x", at(1))))
    assert rejected
    pending.put(*rejected)
    health = {"lag_s": 1.0, "points": 1, "set_aside": 0, "retries": 0, "write_s": 0.1, "backlog_records": 0}
    machine = {"cpu_pct": 1.0, "memory_pct": 1.0, "disk_free_pct": 50.0, "disk_free_bytes": 5}
    found = dict(pending.lines())
    found[SYSTEM_BUCKET] += machine_lines("here", at(1), health, machine)
    found[SYSTEM_BUCKET].append(notify_line("here", at(1), dataclasses.asdict(Figures(0, 0.0, 0, 0, 1.0, 0, 0, 0))))
    told: dict[str, set[str]] = {}
    for bucket, lines in found.items():
        for line in lines:
            match = LINE.match(line)
            assert match, line
            m = BY_NAME[match["m"]]
            assert bucket == (SYSTEM_BUCKET if m.kind == "system" else bucket_of("r", m.kind))
            assert [t.split("=")[0] for t in match["tags"][1:].split(",")] == sorted(m.tags)
            for name, value in re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^,]+)', match["fields"]):
                kinds = {'"': "str", "t": "bool", "f": "bool"}
                kind = kinds.get(value[0], "int" if value.endswith("i") else "float")
                assert m.fields[name] == kind, (name, value)
                told.setdefault(m.name, set()).add(name)
    silent = {m.name: set(m.fields) - told.get(m.name, set()) for m in MEASUREMENTS}
    assert {k: v for k, v in silent.items() if v} == {
        "convoys": {"gap_m", "limit_m"},
        "positions": {"altitude_m", "course_deg"},
    }


def test_times_are_the_observations_own(points: Points) -> None:
    assert only(lines_of(points, fix(3, 0, 0)))[1].endswith(f" {(T0 + 3_000_000) * 1000}")


def test_what_was_not_said_is_not_written(points: Points) -> None:
    _, line = only(lines_of(points, fix(0, 0, 0, speed=None, accuracy=None)))
    assert "speed_mps" not in line
    assert "accuracy_m" not in line


@pytest.mark.parametrize(
    ("value", "written"),
    [("v-1", "v-1"), ("", "-"), ("a b", r"a\ b"), ("a,b=c", r"a\,b\=c"), ("a\nb", r"a\ b"), ("a\\", "a/"), ("x" * 500, "x" * 128)],
)  # fmt: skip
def test_tags_are_escaped_and_never_empty(value: str, written: str) -> None:
    assert tag(value) == written


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ({"a": 1.5, "b": 3, "c": True, "d": 'say "hi"\\\n'}, r'a=1.5,b=3i,c=true,d="say \"hi\"\\ "'),
        ({"a": None, "b": float("nan"), "c": float("inf"), "d": False}, "d=false"),
    ],
)
def test_fields(values: dict[str, Any], written: str) -> None:
    assert fields(values) == written


def test_a_sensor_that_invents_words_makes_no_series_without_end(points: Points) -> None:
    said = [Reading(sensor="door", what=f"w{n}", value=1, seen_at_us=at(n), received_at_us=at(n)) for n in range(200)]
    (lines,) = lines_of(points, *said).values()
    assert len({re.search("what=([^ ]+)", line)[1] for line in lines}) == 25  # type: ignore[index]


def test_two_transitions_of_one_transaction_are_two_points(points: Points) -> None:
    assert points.alert(event(1))[1].split(" ")[-1] != points.alert(event(2))[1].split(" ")[-1]


def test_the_same_again_is_the_same_line(plan: CompiledPlan) -> None:
    assert lines_of(Points(plan), *EVERYTHING) == lines_of(Points(plan), *EVERYTHING)


# ---- what is waiting --------------------------------------------------------------------------------------------------------


def test_an_episode_waits_once_as_it_stood_last(points: Points) -> None:
    pending = Pending()
    pending.put(*points.change(change("begin", episode())))
    pending.put(*points.change(change("end", episode(0, 4))))
    ((_, (line,)),) = pending.lines()
    assert "open=false" in line
    assert "duration_s=240.0" in line


def test_an_episode_that_is_replaced_before_it_was_written_keeps_its_id(points: Points) -> None:
    pending, first = Pending(), change("begin", episode())
    pending.put(*points.change(first))
    pending.put(*points.replaced(first, first.episode.began_at_us))
    ((_, (line,)),) = pending.lines()
    assert f'id="{first.episode.id}"' in line
    assert "open=false" in line
    assert "gone=true" in line


# ---- the road ---------------------------------------------------------------------------------------------------------------


def march(plan: CompiledPlan) -> CompiledPlan:
    convoy = Convoy("alpha", "r", {"en": "Alpha"}, ("v1", "v2"), ("v1",), ("v2",), 500.0)
    movements = tuple(replace(m, convoy="alpha") for m in plan.movements)
    return replace(plan, convoys={"alpha": convoy}, movements=movements)


def test_the_gap_is_along_the_road_at_the_grids_instants(plan: CompiledPlan) -> None:
    road = AlongTheRoad(march(plan))
    start = -(T0 // 1_000_000) % 10  # seconds to the next instant of the grid
    batch = seen(*[fix(start - 5 + s, 1000 + 10 * s, 0, vehicle="v1") for s in (0, 10, 20)],
                 *[fix(start - 2 + s, 400 + 10 * s, 0, vehicle="v2") for s in (0, 10, 20)])  # fmt: skip
    _, gaps = road.feed(batch.fixes)
    assert [(g.ahead, g.behind, g.at_us % 10_000_000) for g in gaps] == [("v1", "v2", 0)] * len(gaps)
    assert len(gaps) == 2
    assert all(abs(g.gap_m - 630) < 1 for g in gaps), gaps


def test_a_vehicle_off_every_movement_has_no_road(plan: CompiledPlan) -> None:
    km, gaps = AlongTheRoad(replace(plan, movements=())).feed(seen(fix(0, 0, 0)).fixes)
    assert km is None
    assert gaps == []


def test_the_road_kilometre_is_written(points: Points) -> None:
    km, _ = AlongTheRoad(points._plan).feed(seen(fix(0, 2500, 0)).fixes)
    assert km is not None
    assert np.allclose(km, [2.5], atol=0.01)
    assert "road_km=2.500" in only(lines_of(points, fix(0, 2500, 0)))[1]


# ---- bad lines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [set(), {0}, {99}, {3, 50, 51}, set(range(100))])
def test_bad_lines_are_found_by_halves_and_the_rest_is_written(bad: set[int]) -> None:
    taken: list[str] = []

    def write(some: Any) -> str | None:
        if any(int(line) in bad for line in some):
            return "400 no"
        taken.extend(some)
        return None

    aside = halve([str(n) for n in range(100)], write)
    assert {int(line) for line, _ in aside} == bad
    assert [int(line) for line in taken] == [n for n in range(100) if n not in bad]


@pytest.mark.parametrize("n", [0, 1, 5000, 5001, 40_000])
def test_requests_under_way_at_once_never_have_the_same_point(n: int) -> None:
    """Every line is in one lane, and the lines of a series are in the same one, in their order."""
    lines = [f"m,a=s\\ {k % 37} x={k} {k // 74}" for k in range(n)]
    shared = lanes(lines)
    assert sorted(line for lane in shared for line in lane) == sorted(lines)
    assert [len(lane) > 0 for lane in shared] == [True] * min(len(shared), LANES)
    of: dict[str, list[tuple[int, str]]] = {}
    for number, lane in enumerate(shared):
        for line in lane:
            of.setdefault(line.rsplit(" ", 2)[0], []).append((number, line))
    for series, found in of.items():
        assert len({number for number, _ in found}) == 1
        assert [line for _, line in found] == [line for line in lines if line.rsplit(" ", 2)[0] == series]


def test_all_dropped_is_not_halved() -> None:
    asked: list[int] = []

    def write(some: Any) -> str | None:
        asked.append(len(some))
        return f"422 partial write: dropped={len(some)}"

    assert len(halve(["a"] * 64, write)) == 64
    assert asked == [64]


# ---- where ------------------------------------------------------------------------------------------------------------------


def test_a_url_says_where() -> None:
    place = place_of("influx://db:8086/police?memory=/var/lib/rahdar/record.sqlite")
    assert (place.url, place.org, place.memory) == ("http://db:8086", "police", Path("/var/lib/rahdar/record.sqlite"))
    assert place_of("influxs://db/police").url == "https://db:8086"
    assert is_influx("influx://db/police")
    assert path_of("influx://db/police") == Path("var/record.sqlite")


@pytest.mark.parametrize("url", ["influx://db:8086", "influx:///org", "http://db/org", "influx://db/a/b"])
def test_a_url_that_says_not_where(url: str) -> None:
    with pytest.raises(ValueError, match="RAHDAR_RECORD_URL"):
        place_of(url)


def test_a_token_that_is_missing_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (None, tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(ValueError, match=r"RAHDAR_INFLUX_TOKEN_FILE.*rahdar influx setup"):
            read_token(path)


def test_the_table_of_the_document_is_the_schema(root: Path) -> None:
    text = (root / "docs" / "influx.md").read_text(encoding="utf-8")
    for m in MEASUREMENTS:
        row = next((line for line in text.splitlines() if line.startswith(f"| `{m.name}` ")), "")
        assert row, m.name
        assert set(re.findall(r"`([a-z_0-9]+)`", row)) == {m.name, *m.tags, *m.fields}
    for name, seconds in buckets(("REGION",)).items():
        assert f"`{name}` | {seconds // 86_400} days" in text


def test_the_demos_plan_has_a_bucket_for_each_kind(root: Path) -> None:
    assert len(buckets(tuple(load_plan(root / "plans" / "hazara").regions))) == 4


def test_a_change_of_severity_is_no_new_point(points: Points) -> None:
    first, graver = change("begin", episode()), change("amend", msgspec.structs.replace(episode(), severity="critical"))
    heads = {points.change(c)[1].split(" ")[0] for c in (first, graver)}
    assert len(heads) == 1
