"""Every panel's question, asked of a real InfluxDB that holds a played story: the answer is what the ledgers say."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from dashboards.ask import ask
from dashboards.boards import BOARDS, COMPLIANCE, CONVOYS, OVERVIEW, PIPELINE, REGIONAL, RESPONSE, SITES, VEHICLES
from dashboards.model import SEVERITY, Dashboard, Panel
from dashboards.watchdogs import rules
from pipeline.record.influx import Influx
from tests.dashboards.conftest import Wall

pytestmark = pytest.mark.timeout(300)

EVERY = [(b, p, q) for b in BOARDS for p in b.panels for q in p.queries]


def answer(wall: Wall, board: Dashboard, query: str, now_us: int | None = None) -> list[list[dict[str, Any]]]:
    return ask(wall.reader, board, query, wall.played.start_us, wall.now_us, wall.now_us if now_us is None else now_us)


def number(wall: Wall, board: Dashboard, query: str, now_us: int | None = None) -> float:
    ((row,),) = answer(wall, board, query, now_us)
    return float(row["_value"])


@pytest.mark.parametrize(("board", "panel", "query"), EVERY, ids=[f"{b.uid}-{q}" for b, _, q in EVERY])
def test_every_panel_has_an_answer_of_its_form(wall: Wall, board: Dashboard, panel: Panel, query: str) -> None:
    """Graphs: `_time`, `_value` and labels, a frame a series. Numbers: one row. Tables and maps: one frame with the named columns."""
    frames = answer(wall, board, query)
    assert frames, "the story has something for every panel"
    first = frames[0][0]
    if panel.kind == "stat":
        assert len(frames) == len(frames[0]) == 1
        assert isinstance(first["_value"], int | float)
    elif panel.kind in ("timeseries", "state-timeline"):
        label = panel.legend.removeprefix("${__field.labels.").removesuffix("}")
        for frame in frames:
            assert {"_time", "_value"} <= frame[0].keys()
            if panel.legend.startswith("${"):
                assert len({row[label] for row in frame}) == 1, f"a frame is one {label}"
            times = [row["_time"] for row in frame]
            assert times == sorted(times)
    elif panel.kind == "barchart":
        assert len(frames) == 1, "one frame with a column of words"
        assert {row["severity"] for row in frames[0]} <= SEVERITY.keys()
    elif panel.kind == "geomap":
        assert len(frames) == 1, "each layer reads the first frame only"
        assert {"lat_deg", "lon_deg"} <= first.keys()
        assert len(frames[0]) <= 500
    else:
        assert len(frames) == 1
        shown = {name for name in first if not name.startswith("_") or name == "_time"}
        assert shown - panel.columns.keys() == set(), "a column without a title"
        if query != "outcomes":
            assert panel.columns.keys() - first.keys() == set(), "a title without a column"


@pytest.mark.parametrize("severity", ["critical", "high", "medium", "low"])
def test_the_open_alerts_are_those_of_the_ledger(wall: Wall, severity: str) -> None:
    wanted = sum(a.severity == severity for a in wall.played.open_alerts.values())
    assert number(wall, OVERVIEW, f"open-{severity}") == wanted


def test_as_of_is_the_last_tick(wall: Wall) -> None:
    assert abs(number(wall, OVERVIEW, "as-of") * 1000 - wall.now_us) <= 5_000_000


def test_the_table_of_open_alerts_is_the_ledgers(wall: Wall) -> None:
    (rows,) = answer(wall, OVERVIEW, "open-alerts")
    wanted = wall.played.open_alerts
    assert {r["alert"] for r in rows} == wanted.keys()
    late = {i: 0 < a.respond_within_us < wall.now_us - a.opened_at_us for i, a in wanted.items()}
    assert {r["alert"]: r["state"] for r in rows} == {
        i: "acknowledged" if a.acknowledged_at_us is not None else "OVERDUE" if late[i] else "NOT ACKNOWLEDGED"
        for i, a in wanted.items()
    }
    assert {r["alert"] for r in rows if r["late_s"] > 0} == {r["alert"] for r in rows if r["state"] == "OVERDUE"}
    assert any(late.values())
    assert {r["alert"]: r["what"] for r in rows} == {i: a.text for i, a in wanted.items()}
    order = ["critical", "high", "medium", "low"]
    assert [order.index(r["severity"]) for r in rows] == sorted(order.index(r["severity"]) for r in rows)


def test_every_vehicle_on_the_map_is_where_it_was_last_seen(wall: Wall) -> None:
    (rows,) = answer(wall, OVERVIEW, "map-vehicles")
    last = {f.vehicle: f for f in sorted(wall.played.fixes, key=lambda f: f.seen_at_us)}
    assert {r["vehicle"] for r in rows} == last.keys()
    for row in rows:
        fix = last[row["vehicle"]]
        if fix.device.endswith("tracker"):
            assert (round(row["lat_deg"], 6), round(row["lon_deg"], 6)) == (round(fix.lat, 6), round(fix.lon, 6))


def test_every_transition_is_in_the_log(wall: Wall) -> None:
    (rows,) = answer(wall, REGIONAL, "alert-log")
    assert Counter(r["transition"] for r in rows) == Counter(e.transition for e in wall.played.events)


def test_the_episodes_are_the_ledgers(wall: Wall) -> None:
    (rows,) = answer(wall, REGIONAL, "by-rule")
    within = [e for e in wall.played.ledger.sorted() if wall.played.start_us <= e.began_at_us < wall.now_us]
    assert {r["rule"]: r["episodes"] for r in rows} == Counter(e.rule for e in within)
    assert sum(r["still_open"] for r in rows) == sum(e.ended_at_us is None for e in within)


def test_the_positions_are_all_there(wall: Wall) -> None:
    found = wall.reader.query('from(bucket: "rahdar_hazara_raw") |> range(start: -2h) |> filter(fn: (r) => r._measurement == "positions" and r._field == "lat_deg") |> group() |> count()')  # fmt: skip
    distinct = {(f.vehicle, f.device, f.seen_at_us) for f in wall.played.fixes}
    assert found[0]["_value"] == len(distinct)


def test_what_was_not_taken_is_counted_by_reason(wall: Wall) -> None:
    """In whole minutes: the one that is not over is not shown."""
    (kept,) = answer(wall, PIPELINE, "reject-log")
    assert len(kept) == wall.played.rejects
    over = wall.now_us // 60_000_000 * 60
    wanted = Counter(r["reason"] for r in kept if r["_time"].timestamp() < over)
    found = {f[0]["reason"]: sum(row["_value"] for row in f) for f in answer(wall, PIPELINE, "rejects")}
    assert found == {reason: wanted[reason] for reason in found}
    assert wanted.keys() <= found.keys()


def test_a_convoys_gaps_are_between_its_neighbours(wall: Wall) -> None:
    members = wall.plan.convoys["alpha"].members
    pairs = {f"{a} - {b}" for a, b in itertools.pairwise(members)}
    assert {frame[0]["gap"] for frame in answer(wall, CONVOYS, "convoy-gaps")} <= pairs
    (rows,) = answer(wall, CONVOYS, "convoy-now")
    assert all(0 <= row["gap_m"] < 50_000 for row in rows)


def test_how_long_people_took(wall: Wall) -> None:
    took = [
        (e.at_us - e.alert.opened_at_us) / 1e6
        for e in wall.played.events
        if e.transition in ("acknowledged", "closed") and e.actor == "amina"
    ]
    frames = answer(wall, RESPONSE, "acknowledge-median")
    assert min(took) <= min(row["_value"] for row in frames[0])
    assert max(row["_value"] for row in frames[0]) <= max(took)
    (rows,) = answer(wall, RESPONSE, "answer-log")
    judged = Counter(r["answer"] for r in rows)
    assert judged["in time"] and judged["OVERDUE"]
    late = judged["late"] + judged["OVERDUE"] + sum(r["answer"] == "by nobody" and r["late_s"] > 0 for r in rows)
    assert number(wall, RESPONSE, "in-time") == pytest.approx(judged["in time"] / (judged["in time"] + late))


def test_how_long_it_took_until_somebody_was_told(wall: Wall) -> None:
    """And which alerts nobody has answered: those of the ledger."""
    first: dict[str, float] = {}
    for event in wall.played.events:
        if event.transition == "told" and event.reason == "RECEIPT":
            first.setdefault(event.alert.id, (event.at_us - event.alert.opened_at_us) / 1e6)
    last = {e.alert.id: e.alert for e in wall.played.events}
    (rows,) = answer(wall, RESPONSE, "answer-log")
    assert first
    assert sorted(r["told_s"] for r in rows if r["told"] == "told") == pytest.approx(sorted(first.values()))
    assert len(rows) == len({e.alert.id for e in wall.played.events if e.transition == "opened"})
    nobody = {a.text: a for a in last.values() if a.acknowledged_at_us is None and not a.held}
    assert {r["text"]: r["answer"] for r in rows if r["answer"] not in ("late", "in time")} == {
        text: "by nobody" if a.closed_at_us is not None
        else "OVERDUE" if 0 < a.respond_within_us < wall.now_us - a.opened_at_us else "not yet"
        for text, a in nobody.items()
    }  # fmt: skip


def test_who_is_off_orders_is_the_ledgers(wall: Wall) -> None:
    """Who enters its own camp is not."""
    families = ("route.", "stop.", "convoy.", "escort.", "area.forbidden", "area.left", "area.required")
    off = [e for e in wall.played.ledger.sorted() if e.rule.startswith(families)]
    assert number(wall, COMPLIANCE, "off-orders-now") == sum(e.ended_at_us is None for e in off)
    (rows,) = answer(wall, COMPLIANCE, "off-orders")
    within = Counter((e.subject, e.rule) for e in off if wall.played.start_us <= e.began_at_us < wall.now_us)
    assert {(r["subject"], r["rule"]): r["times"] for r in rows} == within


def test_the_patrols_are_those_that_reported(wall: Wall) -> None:
    patrols = {f.vehicle for f in wall.played.fixes if wall.plan.vehicles[f.vehicle].role == "patrol"}
    (rows,) = answer(wall, COMPLIANCE, "patrols")
    assert {r["vehicle"] for r in rows} == patrols
    assert number(wall, COMPLIANCE, "patrols-live") == len(patrols)
    for row in rows:
        fixes = sorted((f.seen_at_us, f.speed_mps) for f in wall.played.fixes if f.vehicle == row["vehicle"])
        drove = sum((b[0] - a[0]) / 1e9 * b[1] for a, b in itertools.pairwise(fixes))
        assert row["driven_km"] == pytest.approx(drove, abs=0.4), "windows of 10 s at 20 m/s, at both ends"


def test_a_patrol_that_was_heard_once_is_among_them(wall: Wall) -> None:
    """Nothing lasts from its first word to its first word."""
    start_us = wall.played.start_us
    heard = Counter(
        f.vehicle
        for f in wall.played.fixes
        if wall.plan.vehicles[f.vehicle].role == "patrol" and start_us <= f.seen_at_us < start_us + 10_000_000
    )
    (rows,) = ask(wall.reader, COMPLIANCE, "patrols", start_us, start_us + 10_000_000, wall.now_us)
    assert heard
    assert {r["vehicle"]: (r["heard_s"], r["driven_s"], r["driven_km"]) for r in rows} == dict.fromkeys(
        heard, (0, 0, 0)
    )


def test_a_sites_last_words_are_the_last(wall: Wall) -> None:
    (rows,) = answer(wall, SITES, "site-last")
    last = {(r.sensor, r.what): r.value for r in wall.played.readings}
    for row in rows:
        wanted = last[row["sensor"], row["what"]]
        assert row["said"] == wanted if isinstance(wanted, str) else abs(float(row["said"]) - float(wanted)) < 1e-6


def test_one_vehicle_is_one_vehicle(wall: Wall) -> None:
    (rows,) = answer(wall, VEHICLES, "vehicle-alerts")
    assert len(rows) == sum(e.alert.subject == "c-1" for e in wall.played.events)


# ---- silence is red, not empty ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["data-age", "record-lag", "notifier-age"])
@pytest.mark.parametrize(("later_s", "least"), [(0, 0), (8, 5), (12, 10), (40, 30), (7200, 3600)])
def test_what_is_stale_says_so(wall: Wall, query: str, later_s: int, least: float) -> None:
    """The record's own gauges go missing with the record: within a minute of silence they count as an hour."""
    found = number(wall, PIPELINE, query, wall.now_us + later_s * 1_000_000)
    if query != "data-age" and later_s < 60:
        assert found < 10
    else:
        assert found >= least


SILENT = ["data-age", "record-lag", "notifier-age", "told-due"]
EMPTY = [
    "data-age",
    "record-lag",
    "open-critical",
    "open-low",
    "alarm-budget",
    "vehicles-live",
    "set-aside",
    "notifier-age",
    "told-due",
    "off-orders-now",
    "patrols-live",
]


@pytest.mark.parametrize("query", EMPTY)
def test_a_number_is_there_when_nothing_is(wall: Wall, query: str) -> None:
    """A year from now, nothing is in range: a stat that is empty would read as all quiet."""
    found = number(wall, OVERVIEW, query, wall.now_us + 365 * 86_400_000_000)
    assert found == (3600 if query in SILENT else 0)


@pytest.mark.parametrize("rule", rules(), ids=[r["uid"] for r in rules()])
def test_a_watchdogs_question_ends_in_one_series_of_time_and_value(wall: Wall, rule: dict[str, Any]) -> None:
    """Long frames would be refused by Grafana's evaluation: `_time`, `_value`, and no text beside them."""
    query = rule["data"][0]["model"]["query"]
    rows = wall.reader.query(query)
    assert len(rows) == 1
    assert {k for k in rows[0] if k not in ("result", "table")} == {"_time", "_value"}
    assert isinstance(wall.reader, Influx)
