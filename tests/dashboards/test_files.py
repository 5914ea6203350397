"""The files that Grafana reads: as generated, whole, and naming only what exists."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.boards import BOARDS
from dashboards.build import files
from dashboards.model import FLUX, SEVERITY, Dashboard, flux, places
from dashboards.watchdogs import rules
from pipeline.record.schema import BY_NAME

QUERIES = sorted(path.stem for path in FLUX.glob("*.flux"))
USED = {q for b in BOARDS for p in b.panels for q in p.queries} | {"transitions"}
KNOWN_WORDS = {"$__file", "__field", "__data"}


def test_what_is_committed_is_what_is_generated() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python -m dashboards.build`"
    made = {path.name for path in files()}
    assert {p.name for p in (FLUX.parent / "json").iterdir()} <= made


def test_every_query_is_used_and_every_used_one_exists() -> None:
    assert set(QUERIES) == USED


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_only_what_record_writes(name: str) -> None:
    """Every measurement and field that it filters by is in the schema, and every range is bounded."""
    text = flux(name)
    measurements = re.findall(r'r\._measurement == "([a-z]+)"', text)
    assert measurements
    assert set(measurements) <= BY_NAME.keys()
    known = {f for m in measurements for f in BY_NAME[m].fields}
    assert set(re.findall(r'r\._field == "([a-z_]+)"', text)) <= known
    tags = {t for m in measurements for t in BY_NAME[m].tags}
    made = set(re.findall(r"([a-z_]+): ", text)) | {"_time", "_value", "_field", "_measurement", "name"}
    made |= set(re.findall(r'columnName: "([a-z_]+)"', text))
    assert set(re.findall(r"\br\.([a-z_]+)", text)) <= known | tags | made
    assert text.count("from(bucket:") == len(re.findall(r"range\(start: (?:-\d+[smhd]|v\.timeRangeStart, stop: v\.timeRangeStop|date\.truncate\(t: v\.timeRangeStart, unit: 1m\), stop: date\.truncate\(t: v\.timeRangeStop, unit: 1m\))\)", text))  # fmt: skip
    assert text.startswith("//"), "a sentence on top says what it asks"


@pytest.mark.parametrize("board", BOARDS, ids=[b.uid for b in BOARDS])
def test_panels_lie_beside_one_another(board: Dashboard) -> None:
    boxes = [(x, y, p.width, p.height) for p, (x, y) in zip(board.panels, places(board.panels), strict=True)]
    assert all(x + w <= 24 for x, _, w, _ in boxes)
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(boxes, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay


@pytest.mark.parametrize("board", BOARDS, ids=[b.uid for b in BOARDS])
def test_a_dashboard_is_whole(board: Dashboard) -> None:
    made: dict[str, Any] = json.loads((FLUX.parent / "json" / f"{board.uid}.json").read_text(encoding="utf-8"))
    assert len({p["id"] for p in made["panels"]}) == len(made["panels"])
    assert made["refresh"] in made["timepicker"]["refresh_intervals"]
    assert re.fullmatch(r"now-\d+[hd]", made["time"]["from"])
    uids = {b.uid for b in BOARDS}
    for panel in made["panels"]:
        assert panel["title"]
        assert panel["description"].endswith((".", ")", "."))
        assert panel["fieldConfig"]["defaults"].get("unit"), "a panel says its unit"
        assert panel["datasource"]["uid"] == "rahdar-influx"
        for target in panel["targets"]:
            assert set(re.findall(r"\$\{([a-z_]+)\}", target["query"])) <= {v.name for v in board.variables}
    addresses = [link["url"] for link in made["links"]] + [
        link["url"] for p in made["panels"] for link in p.get("links", ())
    ]
    for address in addresses:
        assert address.removeprefix("/d/") in uids, address
    assert all(link["keepTime"] and link["includeVars"] for link in made["links"])


def test_uids_are_unique_and_short() -> None:
    uids = [b.uid for b in BOARDS]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 40 for uid in uids)


def test_each_severity_is_a_word_and_a_sign_beside_its_colour() -> None:
    texts = [text for _, text in SEVERITY.values()]
    assert len({t[0] for t in texts}) == len({c for c, _ in SEVERITY.values()}) == 4
    assert all(word in text.lower() for word, (_, text) in SEVERITY.items())


def test_stale_is_red_from_ten_seconds_on() -> None:
    for board in BOARDS:
        for panel in board.panels:
            if panel.queries[0] in ("data-age", "record-lag"):
                assert [s[0] for s in panel.steps] == [None, 10]
                assert panel.steps[1][1] == SEVERITY["critical"][0]


RULE_KEYS = {"uid", "title", "condition", "data", "for", "keepFiringFor", "noDataState", "execErrState", "isPaused", "labels", "annotations"}  # fmt: skip


def test_the_watchdogs_are_as_grafana_wants_them(root: Path) -> None:
    made = yaml.safe_load((root / "deploy" / "grafana" / "alerting.yaml").read_text(encoding="utf-8"))
    (group,) = made["groups"]
    assert group.keys() == {"orgId", "name", "folder", "interval", "rules"}
    assert int(group["interval"].removesuffix("s")) % 10 == 0, "or Grafana does not start"
    for rule in group["rules"]:
        assert rule.keys() == RULE_KEYS, "a key with a wrong spelling would be dropped in silence"
        assert [d["refId"] for d in rule["data"]] == ["A", "B", "C"]
        assert rule["condition"] == "C"
        assert "$" not in "".join(rule["labels"].values())
        assert rule["annotations"]["__dashboardUid__"] in {b.uid for b in BOARDS}
    names = {p["name"] for p in made["contactPoints"]}
    assert {p["receiver"] for p in made["policies"]} <= names
    assert len({r["uid"] for r in rules()}) == len(rules())


def test_the_data_source_is_the_one_that_panels_name(root: Path) -> None:
    (source,) = yaml.safe_load((root / "deploy" / "grafana" / "datasources.yaml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    assert source["uid"] == "rahdar-influx"
    assert source["editable"] is False
    assert source["jsonData"]["version"] == "Flux"
    assert source["secureJsonData"]["token"].startswith("$__file{")
