"""The builder: a few kinds of panels, laid out from left to right, and the JSON that Grafana 12 reads.

Grey is normal, colour is abnormal; each severity is a word and a sign as well as a colour (ISA-101). The colours are Okabe and Ito's,
which people with any colour vision tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DATA_SOURCE = {"type": "influxdb", "uid": "rahdar-influx"}
FLUX = Path(__file__).parent / "flux"
GREY, RED, ORANGE, YELLOW, BLUE, SKY, GREEN, PURPLE = (
    "#8a8f98", "#D55E00", "#E69F00", "#F0E442", "#0072B2", "#56B4E9", "#009E73", "#CC79A7",
)  # fmt: skip
SEVERITY = {
    "critical": (RED, "◆ CRITICAL"),
    "high": (ORANGE, "▲ HIGH"),
    "medium": (SKY, "■ medium"),
    "low": (GREY, "● low"),
}
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY, "#000000")

Kind = Literal["stat", "timeseries", "barchart", "table", "geomap", "state-timeline"]
Unit = Literal[
    "none",
    "s",
    "short",
    "percentunit",
    "percent",
    "velocityms",
    "lengthm",
    "lengthkm",
    "suffix:/s",
    "dateTimeAsIso",
    "time:HH:mm:ss",
]
Step = tuple[float | None, str]


STATES = {"open": ORANGE, "detected": ORANGE, "offline": RED, "online": GREY, "closed": GREY, "clear": GREY}
"""Words of sensors and links."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table: how a field is shown."""

    title: str
    unit: Unit = "none"
    width: int | None = None
    red_above: float | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries` are names of files in `flux/`. `steps`: from which value on which colour; the first has None."""

    title: str
    description: str
    kind: Kind
    queries: tuple[str, ...]
    width: int
    height: int
    unit: Unit = "none"
    steps: tuple[Step, ...] = ((None, GREY),)
    columns: Mapping[str, Column] = field(default_factory=dict)
    legend: str = ""
    link: tuple[str, str] | None = None
    """Title and address."""
    route: bool = False
    stacked: bool = False
    draw: Literal["line", "points", "bars"] = "line"
    names: Mapping[str, str] = field(default_factory=dict)
    """Of series: what they are called."""
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    title: str
    query: str
    sample: str
    """A value for tests and previews: of the played story."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]
    time_from: str = "now-1h"
    refresh: str = "5s"


def flux(name: str) -> str:
    return (FLUX / f"{name}.flux").read_text(encoding="utf-8")


def places(panels: Sequence[Panel]) -> list[tuple[int, int]]:
    """(x, y) of each, in order: as high as it fits, then as far left."""
    out: list[tuple[int, int]] = []
    skyline = [0] * 24
    for panel in panels:
        w = panel.width
        y, x = min((max(skyline[x : x + w]), x) for x in range(25 - w))
        skyline[x : x + w] = [y + panel.height] * w
        out.append((x, y))
    return out


def _thresholds(steps: Sequence[Step]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}


def _severity_mapping() -> dict[str, Any]:
    words = {
        word: {"text": text, "color": colour, "index": n} for n, (word, (colour, text)) in enumerate(SEVERITY.items())
    }
    return {"type": "value", "options": words}


def _override(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def _table(panel: Panel) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    overrides = []
    for name, column in panel.columns.items():
        known: dict[str, Any] = {"displayName": column.title}
        if column.unit != "none":
            known["unit"] = column.unit
            known["decimals"] = 0
        if column.width:
            known["custom__width"] = column.width
        if column.hidden:
            known["custom__hideFrom"] = {"legend": True, "tooltip": True, "viz": True}
        if column.red_above is not None:
            known["thresholds"] = _thresholds(((None, GREY), (column.red_above, RED)))
            known["custom__cellOptions"] = {"type": "color-text"}
        if name == "severity":
            known |= {
                "mappings": [_severity_mapping()],
                "custom__cellOptions": {"type": "color-background", "mode": "basic"},
            }
        if panel.link and name in ("what", "text"):
            known["links"] = [{"title": panel.link[0], "url": panel.link[1], "targetBlank": True}]
        overrides.append(_override(name, **known))
    options = {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "fields": ""},
    }
    return options, overrides


def _geomap(panel: Panel) -> dict[str, Any]:
    where = {"mode": "coords", "latitude": "lat_deg", "longitude": "lon_deg"}
    layers: list[dict[str, Any]] = [
        {
            "name": "Plan", "type": "geojson", "tooltip": False, "opacity": 0.6,
            "config": {"src": "/api/plan.geojson", "rules": [], "style": {"color": {"fixed": GREY}, "opacity": 0.4, "lineWidth": 2}},
        }
    ]  # fmt: skip
    for letter, query in zip("ABC", panel.queries, strict=False):
        marks = query == "map-alerts"
        config: dict[str, Any] = {
            "showLegend": False,
            "style": {
                "color": {"field": "severity", "fixed": RED} if marks else {"fixed": BLUE},
                "opacity": 0.9, "size": {"fixed": 11 if marks else 7, "min": 2, "max": 15},
                "symbol": {"mode": "fixed", "fixed": "img/icons/marker/" + ("square.svg" if marks else "triangle.svg")},
                "rotation": {"fixed": 0, "mode": "mod", "min": -360, "max": 360} | ({} if marks else {"field": "course_deg"}),
                "text": {"mode": "field", "field": "subject" if marks else "vehicle", "fixed": ""},
                "textConfig": {"fontSize": 11, "textAlign": "left", "textBaseline": "middle", "offsetX": 9, "offsetY": 0},
            },
        }  # fmt: skip
        kind = "route" if panel.route else "markers"
        if panel.route:
            config = {"style": {"color": {"fixed": BLUE}, "opacity": 0.9, "lineWidth": 3}, "arrow": 1}
        layers.append(
            {
                "name": "Open alerts" if marks else "Vehicles", "type": kind, "location": where, "tooltip": True,
                "config": config, "filterData": {"id": "byRefId", "options": letter},
            }
        )  # fmt: skip
    return {
        "view": {"id": "coords", "lat": 34.9, "lon": 73.2, "zoom": 8.2, "allLayers": True},
        "controls": {"showZoom": True, "mouseWheelZoom": True, "showAttribution": True, "showScale": True},
        "basemap": {"type": "xyz", "name": "Own tiles", "config": {"url": "/tiles/{z}/{x}/{y}.png", "attribution": ""}},
        "layers": layers,
        "tooltip": {"mode": "details"},
    }


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "drawStyle": panel.draw, "lineWidth": 2, "fillOpacity": 10 if panel.draw == "line" else 60, "pointSize": 6,
        "showPoints": "auto", "spanNulls": 120_000, "axisSoftMin": 0,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if len(panel.steps) > 1 else "off"},
    }  # fmt: skip


def panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    overrides: list[dict[str, Any]] = []
    defaults: dict[str, Any] = {
        "unit": panel.unit, "thresholds": _thresholds(panel.steps), "color": {"mode": "palette-classic-by-name"}, "custom": {},
    }  # fmt: skip
    options: dict[str, Any]
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/^_value$/", "values": False},
            "colorMode": "background", "graphMode": "none", "textMode": "value", "justifyMode": "center", "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard", "orientation": "auto",
        }  # fmt: skip
        defaults["noValue"] = "no data"
    elif panel.kind == "table":
        options, overrides = _table(panel)
        defaults["custom"] = {"align": "auto", "filterable": True, "cellOptions": {"type": "auto"}, "inspect": False}
    elif panel.kind == "geomap":
        options = _geomap(panel)
        defaults["mappings"] = [_severity_mapping()]
    elif panel.kind == "state-timeline":
        options = {
            "showValue": "auto", "rowHeight": 0.8, "mergeValues": True, "tooltip": {"mode": "single", "sort": "none"},
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        }  # fmt: skip
        defaults["custom"] = {"fillOpacity": 70, "lineWidth": 0}
        if panel.legend:
            defaults["displayName"] = panel.legend
        defaults["mappings"] = [
            {"type": "value", "options": {word: {"color": c, "index": n} for n, (word, c) in enumerate(STATES.items())}}
        ]
    elif panel.kind == "barchart":
        options = {
            "orientation": "horizontal", "showValue": "always", "stacking": "none", "xField": "severity", "xTickLabelRotation": 0,
            "xTickLabelMaxLength": 20, "barWidth": 0.7, "groupWidth": 0.7, "fullHighlight": False,
            "tooltip": {"mode": "single", "sort": "none"},
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        }  # fmt: skip
    else:
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }  # fmt: skip
        defaults["custom"] = _graph(panel)
        if panel.legend:
            defaults["displayName"] = panel.legend
        for series, name in panel.names.items():
            overrides.append(_override(series, displayName=name))
        overrides += [
            _override(word, color={"mode": "fixed", "fixedColor": colour}) for word, (colour, _) in SEVERITY.items()
        ]
    out: dict[str, Any] = {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.description, "datasource": DATA_SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "targets": [
            {"refId": letter, "datasource": DATA_SOURCE, "query": flux(name)}
            for letter, name in zip("ABC", panel.queries, strict=False)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options,
    }  # fmt: skip
    if panel.link and panel.kind != "table":
        out["links"] = [_link(*panel.link, "")]
    return out


def _link(title: str, url: str, tooltip: str) -> dict[str, Any]:
    return {
        "type": "link", "title": title, "url": url, "keepTime": True, "includeVars": True, "targetBlank": False,
        "asDropdown": False, "icon": "dashboard", "tags": [], "tooltip": tooltip,
    }  # fmt: skip


def dashboard_json(board: Dashboard, all_boards: Sequence[Dashboard]) -> dict[str, Any]:
    links = [_link(other.title, f"/d/{other.uid}", other.description) for other in all_boards if other.uid != board.uid]
    return {
        "uid": board.uid, "title": board.title, "description": board.description, "tags": ["rahdar"], "timezone": "Asia/Karachi",
        "schemaVersion": 41, "version": 1, "editable": False, "graphTooltip": 1, "refresh": board.refresh,
        "time": {"from": board.time_from, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "links": links,
        "templating": {
            "list": [
                {
                    "type": "query", "name": v.name, "label": v.title, "datasource": DATA_SOURCE, "query": v.query,
                    "definition": v.query, "refresh": 2, "sort": 1, "multi": False, "includeAll": False, "hide": 0, "options": [],
                }
                for v in board.variables
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts", "enable": True, "hide": False, "iconColor": RED, "datasource": DATA_SOURCE,
                    "target": {"refId": "Anno", "query": flux("transitions")},
                }
            ]
        },
        "panels": [
            panel_json(panel, n, x, y) for n, (panel, (x, y)) in enumerate(zip(board.panels, places(board.panels), strict=True), 1)
        ],
    }  # fmt: skip
