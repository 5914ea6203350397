"""`make dashboards-preview`: every panel's answer, drawn into one page a dashboard, laid out as Grafana would lay it out.

No Grafana is at hand where this is built. What these pages show is the answers and the layout; how Grafana draws them is Grafana's.
"""

from __future__ import annotations

import html
import io
import itertools
import logging
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import matplotlib.dates as mdates
import matplotlib.pyplot as plt

from dashboards.ask import ask, samples
from dashboards.boards import BOARDS
from dashboards.model import CYCLE, GREY, RED, SEVERITY, STATES, Dashboard, Panel, places
from dashboards.played import play_story
from pipeline.clock import WallClock
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.record.influx import Influx
from pipeline.record.local import LocalInfluxd

ROOT = Path(__file__).resolve().parent.parent
CELL_W, CELL_H = 58, 34
PKT = timezone(timedelta(hours=5))
INK = "#1f2430"

STYLE = """
body{margin:0;background:#f3f4f6;color:#1f2430;font:14px/1.35 'DejaVu Sans',sans-serif}
header{padding:14px 18px 6px}h1{margin:0;font-size:22px}header p{margin:3px 0;color:#555}
nav a{margin-right:14px;color:#0072B2;text-decoration:none}
main{position:relative;margin:6px 12px 30px}
section{position:absolute;box-sizing:border-box;padding:5px}
section>div{background:#fff;border:1px solid #d7dae0;border-radius:3px;height:100%;box-sizing:border-box;padding:6px 9px;overflow:hidden;display:flex;flex-direction:column}
h2{font-size:13px;margin:0 0 3px;font-weight:600}h2 small{font-weight:400;color:#6b7280;margin-left:7px}
.stat{flex:1;display:flex;align-items:center;justify-content:center;font-size:27px;font-weight:700;border-radius:3px}
table{border-collapse:collapse;width:100%;font-size:12px}th{text-align:left;color:#6b7280;font-weight:600;border-bottom:1px solid #d7dae0;padding:3px 6px;white-space:nowrap}
td{padding:3px 6px;border-bottom:1px solid #eceef2;vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}td.w{white-space:nowrap}
img,svg{max-width:100%;flex:1;min-height:0}.none{color:#6b7280;margin:auto}
"""


def words(value: float | None, unit: str, decimals: int | None = None) -> str:
    """As Grafana would write it, about."""
    if value is None:
        return "-"
    if unit == "s":
        if abs(value) < 1:
            return f"{value * 1000:.0f} ms"
        if abs(value) < 60:
            return f"{value:.{0 if decimals is None else decimals}f} s"
        return f"{value / 60:.1f} min" if abs(value) < 3600 else f"{value / 3600:.1f} h"
    if unit.startswith("time:"):
        return datetime.fromtimestamp(value / 1000, PKT).strftime("%H:%M:%S")
    if unit == "percentunit":
        return f"{value * 100:.0f} %"
    if unit == "percent":
        return f"{value:.0f} %"
    if unit == "velocityms":
        return f"{value:.1f} m/s"
    if unit == "lengthm":
        return f"{value:.0f} m" if value < 1000 else f"{value / 1000:.2f} km"
    if unit == "lengthkm":
        return f"{value:.1f} km"
    if unit.startswith("suffix:"):
        return f"{value:.1f}{unit.removeprefix('suffix:')}"
    return f"{value:g}" if isinstance(value, int) else f"{value:.3g}"


def _on(colour: str) -> str:
    """Ink that can be read on this colour."""
    r, g, b = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return INK if 0.3 * r + 0.59 * g + 0.11 * b > 130 else "#fff"


def when(value: datetime) -> str:
    return value.astimezone(PKT).strftime("%d.%m. %H:%M:%S")


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg")
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _figure(panel: Panel) -> tuple[Any, Any]:
    figure, axes = plt.subplots(
        figsize=((panel.width * CELL_W - 30) / 100, (panel.height * CELL_H - 46) / 100), dpi=100
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors="#555")
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    return figure, axes


def _time_axis(axes: Any, span: tuple[datetime, datetime]) -> None:
    axes.set_xlim(*span)
    axes.xaxis.set_major_locator(cast(Any, mdates.AutoDateLocator)(minticks=3, maxticks=7))
    axes.xaxis.set_major_formatter(cast(Any, mdates.DateFormatter)("%H:%M", tz=PKT))


def _label(panel: Panel, frame: list[dict[str, Any]]) -> str:
    if panel.legend.startswith("${"):
        name = str(frame[0].get(panel.legend.removeprefix("${__field.labels.").removesuffix("}"), ""))
        return panel.names.get(name, name)
    return panel.legend or panel.title


def graph(panel: Panel, frames: list[list[dict[str, Any]]], span: tuple[datetime, datetime]) -> str:
    figure, axes = _figure(panel)
    base: dict[datetime, float] = {}
    for n, frame in enumerate(frames):
        name = _label(panel, frame)
        colour = SEVERITY[name][0] if name in SEVERITY else RED if name == "limit" else CYCLE[n % len(CYCLE)]
        xs = [row["_time"] for row in frame if row["_value"] is not None]
        ys = [float(row["_value"]) for row in frame if row["_value"] is not None]
        shown = SEVERITY[name][1] if name in SEVERITY else name
        if panel.draw == "points":
            axes.plot(xs, ys, "o", color=colour, label=shown, markersize=7)
        elif panel.draw == "bars":
            wide = min((b - a for a, b in itertools.pairwise(xs)), default=timedelta(minutes=1)) * 0.8
            axes.bar(xs, ys, width=wide, align="edge", bottom=[base.get(x, 0.0) for x in xs], color=colour, label=shown)
            for x, y in zip(xs, ys, strict=True):
                base[x] = base.get(x, 0.0) + y
        else:
            axes.plot(xs, ys, color=colour, label=shown, linewidth=1.6, linestyle="--" if name == "limit" else "-")
    for step, colour in panel.steps[1:]:
        axes.axhline(step, color=colour, linewidth=1, linestyle=":")
    if panel.unit != "lengthkm":
        axes.set_ylim(0, max(axes.get_ylim()[1] * 1.04, 0.01))
    axes.yaxis.set_major_formatter(
        lambda value, _: words(float(value), panel.unit) if panel.unit != "short" else f"{value:g}"
    )
    _time_axis(axes, span)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=6)
    figure.tight_layout(pad=0.4)
    return _svg(figure)


def bars(panel: Panel, frames: list[list[dict[str, Any]]]) -> str:
    figure, axes = _figure(panel)
    rows = sorted((list(SEVERITY).index(row["severity"]), row) for row in frames[0])
    names = [SEVERITY[row["severity"]][1] for _, row in reversed(rows)]
    values = [float(row["_value"]) for _, row in reversed(rows)]
    axes.barh(names, values, color=[SEVERITY[row["severity"]][0] for _, row in reversed(rows)], height=0.55)
    for n, value in enumerate(values):
        axes.text(value, n, "  " + words(value, panel.unit), va="center", fontsize=9)
    axes.set_xlim(0, max(values) * 1.25)
    axes.grid(visible=False)
    axes.xaxis.set_visible(False)
    figure.tight_layout(pad=0.4)
    return _svg(figure)


def states(panel: Panel, frames: list[list[dict[str, Any]]], span: tuple[datetime, datetime]) -> str:
    figure, axes = _figure(panel)
    for n, frame in enumerate(frames):
        ends = [*(row["_time"] for row in frame[1:]), span[1]]
        said = ""
        for row, end in zip(frame, ends, strict=True):
            value = str(row["_value"])
            colour = STATES.get(value, GREY)
            colour = "#cfd3da" if colour == GREY else colour
            axes.barh(n, end - row["_time"], left=row["_time"], color=colour, height=0.6)
            if value != said:
                axes.text(row["_time"], n, f" {value}", va="center", fontsize=8, color=INK)
            said = value
    axes.set_yticks(range(len(frames)), [_label(panel, f) for f in frames])
    axes.grid(visible=False)
    _time_axis(axes, span)
    figure.tight_layout(pad=0.4)
    return _svg(figure)


def geomap(panel: Panel, answers: list[list[list[dict[str, Any]]]], plan: CompiledPlan) -> str:
    figure, axes = _figure(panel)
    axes.grid(visible=False)
    for area in plan.areas:
        if area.kind != "residence":
            x, y = area.lonlat.exterior.xy
            axes.fill(x, y, color=RED if area.kind == "forbidden" else GREY, alpha=0.25, linewidth=0)
    for route in plan.routes.values():
        axes.plot(route.lonlat[:, 0], route.lonlat[:, 1], color="#c2c6cd", linewidth=3, zorder=1)
    rows: list[dict[str, Any]] = []
    for query, frames in zip(panel.queries, answers, strict=True):
        for row in frames[0] if frames else []:
            rows.append(row)
            if query == "map-alerts":
                colour, sign = SEVERITY[row["severity"]]
                axes.plot(
                    row["lon_deg"], row["lat_deg"], "s", color=colour, markersize=13, zorder=4, markeredgecolor=INK
                )
                axes.annotate(
                    f"{sign}  {row['subject']}", (row["lon_deg"], row["lat_deg"]), xytext=(12, 9), textcoords="offset points",
                    fontsize=9, fontweight="bold", zorder=5, bbox={"facecolor": "white", "edgecolor": colour, "pad": 2},
                )  # fmt: skip
            elif not panel.route:
                axes.plot(
                    row["lon_deg"],
                    row["lat_deg"],
                    marker=(3, 0, -float(row.get("course_deg") or 0)),
                    color="#0072B2",
                    markersize=8,
                    zorder=3,
                )
    if panel.route:
        axes.plot([r["lon_deg"] for r in rows], [r["lat_deg"] for r in rows], color="#0072B2", linewidth=2.5, zorder=3)
        axes.plot(rows[-1]["lon_deg"], rows[-1]["lat_deg"], "^", color="#0072B2", markersize=11, zorder=4)
    elif rows:
        _name_vehicles(axes, [r for r in rows if "vehicle" in r])
    lats, lons = [r["lat_deg"] for r in rows], [r["lon_deg"] for r in rows]
    for place in plan.places:
        axes.text(
            place.lon - 0.03,
            place.lat,
            place.name["en"],
            ha="right",
            fontsize=8,
            color="#6b7280",
            clip_on=True,
            zorder=2,
        )
    if rows:
        pad = max(max(lons) - min(lons), max(lats) - min(lats), 0.02) * 0.12
        axes.set_xlim(min(lons) - pad, max(lons) + pad)
        axes.set_ylim(min(lats) - pad, max(lats) + pad)
    axes.set_aspect(1 / 0.82, adjustable="datalim")
    axes.tick_params(labelsize=7)
    figure.tight_layout(pad=0.3)
    return _svg(figure)


def _name_vehicles(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Names of those that stand close together on one line, or nobody could read any."""
    near: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        near.setdefault((round(row["lat_deg"] / 0.035), round(row["lon_deg"] / 0.06)), []).append(row)
    for some in near.values():
        names = sorted(str(r["vehicle"]) for r in some)
        said = ", ".join(names[:4]) + (f" +{len(names) - 4}" if len(names) > 4 else "")
        first = max(some, key=lambda r: float(r["lon_deg"]))
        axes.annotate(
            said, (first["lon_deg"], first["lat_deg"]), xytext=(7, -3), textcoords="offset points", fontsize=8, zorder=3
        )


def table(panel: Panel, frames: list[list[dict[str, Any]]]) -> str:
    rows = frames[0] if frames else []
    shown = [
        (name, column)
        for name, column in panel.columns.items()
        if not column.hidden and (not rows or any(name in r for r in rows))
    ]
    numbers = {
        n for n, _ in shown if any(isinstance(r.get(n), int | float) and not isinstance(r.get(n), bool) for r in rows)
    }
    head = "".join(f'<th class="{"n" if n in numbers else ""}">{html.escape(c.title)}</th>' for n, c in shown)
    body = []
    for row in rows[: max(1, (panel.height * CELL_H - 60) // 23)]:
        cells = []
        for name, column in shown:
            value, style, kind = row.get(name), "", ""
            if name == "severity":
                colour, text = SEVERITY[str(value)]
                style, kind = f"background:{colour};color:{_on(colour)};font-weight:700", "w"
            elif value is None:
                text = ""
            elif isinstance(value, datetime):
                text, kind = when(value), "w"
            elif isinstance(value, bool):
                text = "yes" if value else "no"
            elif isinstance(value, int | float):
                text, kind = words(value, column.unit, 0), "n"
                if column.red_above is not None and value > column.red_above:
                    style = f"color:{RED};font-weight:700"
            else:
                text = str(value)
            if value == "NOT ACKNOWLEDGED":
                style, kind = "font-weight:700", "w"
            shown_text = html.escape(text)
            if panel.link and name in ("what", "text"):
                shown_text = f'<a href="#" style="color:#0072B2">{shown_text}</a>'
            cells.append(f'<td class="{kind}" style="{style}">{shown_text}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    if not rows:
        return '<p class="none">nothing</p>'
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def stat(panel: Panel, frames: list[list[dict[str, Any]]]) -> str:
    value = float(frames[0][0]["_value"]) if frames else None
    colour = GREY
    for step, shade in panel.steps:
        if value is not None and (step is None or value >= step):
            colour = shade
    calm = colour == GREY
    look = f"background:#eceef2;color:{INK}" if calm else f"background:{colour};color:{_on(colour)}"
    shown = (
        "no data"
        if value is None
        else words(int(value) if value == int(value) and panel.unit == "none" else value, panel.unit, panel.decimals)
    )
    return f'<div class="stat" style="{look}">{shown}</div>'


def page(board: Dashboard, influx: Influx, plan: CompiledPlan, start_us: int, end_us: int) -> str:
    span = (datetime.fromtimestamp(start_us / 1e6, UTC), datetime.fromtimestamp(end_us / 1e6, UTC))
    parts, bottom = [], 0
    for panel, (x, y) in zip(board.panels, places(board.panels), strict=True):
        answers = [ask(influx, board, query, start_us, end_us, end_us) for query in panel.queries]
        frames = [frame for one in answers for frame in one]
        if panel.kind == "stat":
            drawn = stat(panel, frames)
        elif panel.kind == "table":
            drawn = table(panel, frames)
        elif panel.kind == "geomap":
            drawn = geomap(panel, answers, plan)
        elif not frames:
            drawn = '<p class="none">nothing</p>'
        elif panel.kind == "barchart":
            drawn = bars(panel, frames)
        elif panel.kind == "state-timeline":
            drawn = states(panel, frames, span)
        else:
            drawn = graph(panel, frames, span)
        bottom = max(bottom, (y + panel.height) * CELL_H)
        where = (
            f"left:{x * CELL_W}px;top:{y * CELL_H}px;width:{panel.width * CELL_W}px;height:{panel.height * CELL_H}px"
        )
        small = "" if panel.width < 7 else f"<small>{html.escape(panel.description)}</small>"
        parts.append(
            f'<section style="{where}" title="{html.escape(panel.description)}"><div><h2>{html.escape(panel.title)}{small}</h2>{drawn}</div></section>'
        )
    chosen = " · ".join(f"{v.title}: {samples(board)[v.name]}" for v in board.variables)
    links = "".join(f'<a href="{b.uid}.html">{b.title}</a>' for b in BOARDS)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{board.title}</title><style>{STYLE}</style>'
        f"<header><nav>{links}</nav><h1>{board.title}</h1><p>{html.escape(board.description)}</p>"
        f"<p>{html.escape(chosen)} · as of {when(span[1])} PKT · a preview of the answers, not of Grafana's drawing</p></header>"
        f'<main style="width:{24 * CELL_W}px;height:{bottom}px">{"".join(parts)}</main>'
    )


def main() -> int:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    plt.switch_backend("Agg")
    out = ROOT / "dashboards" / "preview"
    out.mkdir(exist_ok=True)
    plan = load_plan(ROOT / "plans" / "hazara")
    with tempfile.TemporaryDirectory(prefix="rahdar-preview-") as directory:
        server = LocalInfluxd(Path(directory))
        try:
            server.start()
            server.set_up(tuple(plan.regions))
            with closing(Influx(server.place, server.tokens.writer.read_text().strip())) as writer:
                played = play_story(plan, writer, WallClock().now_us())
            with closing(Influx(server.place, server.tokens.reader.read_text().strip())) as reader:
                for board in BOARDS:
                    text = page(board, reader, plan, played.start_us, played.end_us)
                    (out / f"{board.uid}.html").write_text(text, encoding="utf-8")
        except FileNotFoundError as error:
            print(f"rahdar: {error}", file=sys.stderr)  # noqa: T201  # a command
            return 3
        finally:
            server.stop()
    print(f"rahdar: open {out / 'rahdar-overview.html'}", file=sys.stderr)  # noqa: T201  # a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
