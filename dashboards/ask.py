"""Asks a panel's question as Grafana would: its variables filled in, `v` in front."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dashboards.model import Dashboard, flux
from pipeline.model.times import format_us
from pipeline.record.influx import Influx

VARIABLE = re.compile(r"\$\{([a-z_]+)(?::[a-z]+)?\}")
PIXELS = 1000


def samples(board: Dashboard) -> dict[str, str]:
    return {v.name: v.sample for v in board.variables}


def filled(query: str, values: Mapping[str, str], start_us: int, stop_us: int, now_us: int | None = None) -> str:
    """Raises KeyError for a variable that the dashboard has not. `now_us` sets Flux's own now."""
    window_ms = max(1000, (stop_us - start_us) // 1000 // PIXELS)
    text = VARIABLE.sub(lambda match: values[match.group(1)], query)
    head = (
        f"option v = {{timeRangeStart: {format_us(start_us)}, timeRangeStop: {format_us(stop_us)},"
        f' windowPeriod: {window_ms}ms, defaultBucket: "rahdar_system"}}\n'
    )
    if now_us is not None:
        head += f"option now = () => {format_us(now_us)}\n"
    imports = re.findall(r'^import "[^"]+"\n', text, re.M)
    rest = re.sub(r'^import "[^"]+"\n', "", text, flags=re.M)
    return "".join(imports) + head + rest


def ask(
    influx: Influx, board: Dashboard, query: str, start_us: int, stop_us: int, now_us: int | None = None
) -> list[list[dict[str, Any]]]:
    """The frames: tables, each a list of rows."""
    rows = influx.query(filled(flux(query), samples(board), start_us, stop_us, now_us))
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        frames.setdefault(row["table"], []).append({k: v for k, v in row.items() if k not in ("result", "table")})
    return [frames[n] for n in sorted(frames)]
