"""The rules that a plan may name, their parameters, defaults and the reason of each default (DESIGN section 6).

A rule that this program does not judge yet is known but cannot be switched on: a plan must not promise what nobody
watches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Param:
    """A number of a rule. Of a duration, `default`, `low` and `high` are seconds, the plan writes `3 min`, and the
    compiled name
    ends in `_us`."""

    default: float
    low: float
    high: float
    why: str
    kind: Literal["number", "duration"] = "number"

    def compiled_name(self, name: str) -> str:
        return f"{name}_us" if self.kind == "duration" else name


@dataclass(frozen=True, slots=True)
class RuleSpec:
    params: Mapping[str, Param] = field(default_factory=dict)
    judged: bool = True
    per_area: bool = False  # an area says where it applies
    always_live: bool = False


def _duration(default_s: float, low_s: float, high_s: float, why: str) -> Param:
    return Param(default_s, low_s, high_s, why, "duration")


_AREA: dict[str, Param] = {
    "dwell": _duration(15, 0, 3600, "two or three fixes: one stray fix is no entry, and a car at 60 km/h is 250 m in"),
    "enter_margin_m": Param(0, 0, 2000, "the border is where the plan draws it; accuracy is added to it"),
    "exit_margin_m": Param(30, 0, 2000, "wider than a parked receiver drifts: no going in and out all night"),
}  # fmt: skip
_CROSSED = _AREA | {
    "crossing_within": _duration(
        120, 0, 600, "a report a minute and one lost; a longer way is not straight. 0 s: only what a fix saw"
    ),
}
_TOGETHER: dict[str, Param] = {
    "rejoin_factor": Param(0.8, 0.1, 1, "together again within so much of the limit: at its edge they come and go by the minute"),
    "stale_after": _duration(120, 10, 600, "a report a minute and one lost; farther apart, two fixes say nothing about between"),
}  # fmt: skip
_LATER = RuleSpec(judged=False)

RULES: dict[str, RuleSpec] = {
    "area.entered": RuleSpec(_CROSSED, per_area=True),
    "area.left": RuleSpec(_CROSSED, per_area=True),
    "area.forbidden": RuleSpec(_CROSSED, per_area=True),
    "area.required": RuleSpec(_AREA, per_area=True),
    "route.deviation": RuleSpec({
        "min_duration": _duration(20, 0, 3600, "longer than a bad burst of fixes in a gorge, shorter than a side road"),
        "high_at_m": Param(300, 0, 100_000, "from here off the road it is at least high: no lay-by is that wide"),
        "critical_at_m": Param(1000, 0, 100_000, "from here it is critical: another road"),
    }),
    "stop.unscheduled": RuleSpec({
        "radius_m": Param(60, 5, 2000, "a parked phone drifts by 20 to 40 m under rock walls"),
        "min_duration": _duration(180, 5, 86_400, "longer than a herd of goats, shorter than a puncture"),
    }),
    "device.silent": RuleSpec({
        "expected_within": _duration(300, 60, 86_400, "thirty reports at one in ten seconds: no valley side is that long"),
        "reemerge_within": _duration(1200, 60, 86_400, "a tunnel of 12 min and a halt at its mouth; in coverage gaps and tunnels"),
        "coverage_margin_m": Param(600, 0, 20_000, "the last report before a gap at 70 km/h, one in 30 s"),
    }),
    "area.blackout": RuleSpec({
        "vehicles": Param(3, 2, 100, "two may meet behind a rock; three at once are no chance"),
        "silent_for": _duration(150, 30, 86_400, "half of what `device.silent` waits, so that it is told before each of them is"),
        "within": _duration(120, 5, 3600, "a jammer is heard at once, a convoy of 2 km drives into one in two minutes"),
        "near_m": Param(5000, 100, 100_000, "what one cell of a network or one jammer on a ridge reaches"),
    }),
    "clock.suspect": RuleSpec(),
    "convoy.separated": RuleSpec({
        "min_duration": _duration(60, 5, 3600, "longer than a truck between two of them, a barrier or a petrol pump"),
    } | _TOGETHER),
    "escort.missing": RuleSpec({
        "max_distance_m": Param(1500, 20, 50_000, "the middle one of five is two gaps of 500 m from either escort; 75 s at 70 km/h"),
        "min_duration": _duration(60, 5, 3600, "longer than the escort takes to turn back for a straggler"),
    } | _TOGETHER),
    "sensor.alarm": RuleSpec({
        "confirm_n": Param(2, 1, 16, "one alone is a goat, a gust or a cat; two of a site are somebody. Smoke, gas, water: at once"),
        "confirm_within": _duration(60, 1, 3600, "from a fence to the door behind it on foot"),
        "reset_for": _duration(30, 1, 3600, "a contact that rattles in the wind is one alarm and not twenty"),
        "reset_after": _duration(600, 10, 86_400, "of a sensor that never says clear: it repeats itself more often while it goes on"),
    }),
    "sensor.tamper": RuleSpec({
        "reset_for": _duration(60, 1, 3600, "a lid that is pried at is one attempt until it is left alone"),
        "reset_after": _duration(3600, 10, 86_400, "of a sensor that never says clear: long enough to drive there and look"),
    }),
    "sensor.disagrees": RuleSpec({
        "for": _duration(120, 1, 86_400, "a movement sensor holds for a minute, a door stands open while a truck passes"),
        "reset_for": _duration(30, 1, 3600, "a value counts as given up when it has been away for so long"),
        "reset_after": _duration(600, 10, 86_400, "of a sensor that never says clear: as for its alarm"),
    }),
    "sos.pressed": RuleSpec(always_live=True),
    "pipeline.stalled": RuleSpec(),
    "pipeline.notifier": RuleSpec({
        "patience": _duration(30, 5, 3600, "notify started again after a kill takes what is due within ten seconds"),
    }),
    "roster.unreachable": RuleSpec(),
    "route.reversed": _LATER, "route.late": _LATER, "checkpoint.missed": _LATER, "speed.exceeded": _LATER,
    "movement.unauthorised": _LATER, "position.implausible": _LATER,
    "patrol.overdue": _LATER,
    "curfew.absent": _LATER,
}  # fmt: skip


def table() -> str:
    """The rules as a Markdown table: what is in docs/plan.md, and what `rahdar plan rules` prints."""
    rows = ["| rule | parameter | default | from - to | why |", "|---|---|---|---|---|"]
    for rule, spec in RULES.items():
        if not spec.judged:
            continue
        for name, param in spec.params.items():
            unit = " s" if param.kind == "duration" else ""
            bounds = f"{param.low:g} - {param.high:g}{unit}"
            rows.append(f"| `{rule}` | `{name}` | {param.default:g}{unit} | {bounds} | {param.why} |")
        if not spec.params:
            rows.append(f"| `{rule}` | | | | {'always live' if spec.always_live else ''} |")
    later = ", ".join(f"`{rule}`" for rule, spec in RULES.items() if not spec.judged)
    return (
        "\n".join([*rows, "", f"Known, but not judged by this version, so only `mode: off` is taken: {later}."]) + "\n"
    )


AREA_RULES = tuple(name for name, spec in RULES.items() if spec.per_area)
