"""Which alerts belong together, and which one makes another needless: two tables, and what of the plan they mean. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pipeline.model.alert import Alert
from pipeline.plan.model import CompiledPlan

type_same = Callable[[CompiledPlan, Alert, Alert], bool]
POWER = frozenset({"power", "mains"})
CAMERA = "camera"


def _cell(plan: CompiledPlan, source: Alert, target: Alert) -> bool:
    return target.cell != "" and target.cell in (source.cell, source.subject, source.object)


def _powered(plan: CompiledPlan, source: Alert, target: Alert) -> bool:
    """The source is a site's mains, and the target one of its cameras."""
    camera = plan.sensors.get(target.subject)
    if camera is None or camera.kind != CAMERA or source.id == target.id:
        return False
    mains = plan.sensors.get(source.subject)
    dark = source.object in POWER or (mains is not None and mains.kind in POWER)
    return dark and camera.site == (mains.site if mains is not None else source.evidence.get("site", source.subject))


def _anything(plan: CompiledPlan, source: Alert, target: Alert) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert of `source` is active, those of `targets` that are about the same are needless."""

    source: str
    targets: frozenset[str]
    same: type_same


INHIBITIONS = (
    Inhibition(
        "pipeline.stalled",
        frozenset({"device.silent", "area.blackout", "patrol.overdue", "checkpoint.missed"}),
        _anything,
    ),
    Inhibition("area.blackout", frozenset({"device.silent"}), _cell),
    Inhibition(
        "sensor.alarm", frozenset({"sensor.alarm", "sensor.tamper", "sensor.disagrees", "device.silent"}), _powered
    ),
)

BY_CONVOY = frozenset({
    "route.deviation", "stop.unscheduled", "speed.exceeded", "area.entered", "area.left", "area.forbidden", "area.required",
    "route.reversed", "route.late", "checkpoint.missed", "movement.unauthorised", "device.silent",
})  # fmt: skip
BY_SITE = frozenset({"sensor.tamper", "sensor.disagrees"})


@lru_cache(maxsize=64)
def sources_of(rule: str) -> tuple[str, ...]:
    return tuple(i.source for i in INHIBITIONS if rule in i.targets)


@lru_cache(maxsize=64)
def targets_of(rule: str) -> tuple[str, ...]:
    return tuple(sorted({t for i in INHIBITIONS if i.source == rule for t in i.targets}))


def inhibits(plan: CompiledPlan, source: Alert, target: Alert) -> bool:
    return source.id != target.id and any(
        i.source == source.rule and target.rule in i.targets and i.same(plan, source, target) for i in INHIBITIONS
    )


def _convoy(plan: CompiledPlan, vehicle: str) -> str | None:
    return next((convoy.id for convoy in plan.convoys.values() if vehicle in convoy.members), None)


def group_of(plan: CompiledPlan, alert: Alert) -> tuple[str, str] | None:
    """What alerts of one rule are told as one: those of a convoy's vehicles, of a site's sensors. None: it is told by itself."""
    if alert.rule in BY_CONVOY:
        convoy = _convoy(plan, alert.subject)
        return ("convoy", convoy) if convoy else None
    if alert.rule in BY_SITE:
        sensor = plan.sensors.get(alert.subject)
        return ("site", sensor.site) if sensor else None
    return None
