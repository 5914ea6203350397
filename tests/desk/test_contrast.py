"""The colours of both themes can be told apart: what tokens.css says of its ratios holds (WCAG 2.2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOKENS = Path(__file__).resolve().parents[2] / "pipeline" / "desk" / "static" / "tokens.css"
SEVERITIES = ("critical", "high", "medium", "low")


def themes() -> dict[str, dict[str, str]]:
    css = re.sub(r"/\*.*?\*/", "", TOKENS.read_text(encoding="utf-8"), flags=re.DOTALL)
    night = re.search(r":root \{(.*?)\}", css, re.DOTALL)
    day = re.search(r"\[data-theme=day\] \{(.*?)\}", css, re.DOTALL)
    assert night and day
    found = {
        name: dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", body[1]))
        for name, body in (("night", night), ("day", day))
    }
    return {"night": found["night"], "day": found["night"] | found["day"]}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def ratio(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


TEXT = [
    *(("ink", "panel"), ("ink", "raised"), ("ink-2", "panel"), ("btn-ink", "btn"), ("ink", "bg")),
    *((s, "panel") for s in SEVERITIES),
    *((f"{s}-on", f"{s}-fill") for s in SEVERITIES),
    ("critical", "tint"), ("ink", "tint"),
]  # fmt: skip
SHAPES = [
    *((f"{s}", "panel") for s in SEVERITIES),
    *((f"{s}", "map") for s in SEVERITIES),
    ("mark", "panel"), ("vehicle", "map"), ("road", "map"), ("focus", "panel"), ("area", "map"),
]  # fmt: skip


@pytest.mark.parametrize("theme", ["night", "day"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_can_be_read(theme: str, ink: str, ground: str) -> None:
    colours = themes()[theme]
    assert ratio(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["night", "day"])
@pytest.mark.parametrize(("shape", "ground"), SHAPES)
def test_shapes_can_be_seen(theme: str, shape: str, ground: str) -> None:
    colours = themes()[theme]
    assert ratio(colours[shape], colours[ground]) >= 3.0


def test_black_on_white_is_21() -> None:
    assert ratio("#000000", "#ffffff") == pytest.approx(21)
