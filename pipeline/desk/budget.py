"""How many alerts people get, against what the alarm-management standards say that they can handle (EEMUA 191, IEC 62682).

Fed with every event of an alert, in any order and however often; asked for figures. It knows one day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.model.alert import AlertEvent
from pipeline.model.episode import SEVERITIES

WINDOW_US = 600_000_000
KEPT_US = 86_400_000_000
MOST_IN_WINDOW, MOST_ON_AVERAGE = 10, 1.0
MOST_STANDING, MOST_STALE = 10, 5
MOST_TOP_SHARE = 0.05
SHARES = {"critical": 0.05, "high": 0.05, "medium": 0.15, "low": 0.80}
"""About 80/15/5 % low, medium and high; of critical ones there is no right number, and more than a few in a hundred are none."""
CHATTERS = 3
TOP = 10
AGAIN = frozenset({"FLAPPING", "WITHIN_OFF_DELAY", "BEGAN_AGAIN"})

type_key = tuple[str, str]  # rule, subject


@dataclass(frozen=True, slots=True)
class Line:
    """One alert that an operator was told."""

    at_us: int
    rule: str
    subject: str
    severity: str
    region: str


class Budget:
    def __init__(self) -> None:
        self._lines: dict[tuple[str, int], Line] = {}
        self._begins: dict[tuple[str, int], Line] = {}
        self._held: dict[tuple[str, int], tuple[str, str]] = {}  # reason, region
        self._newest_us = 0

    def apply(self, event: AlertEvent) -> None:
        if event.at_us < self._newest_us - KEPT_US:
            return
        self._newest_us = max(self._newest_us, event.at_us)
        a, key = event.alert, (event.alert.id, event.at_us)
        line = Line(event.at_us, a.rule, a.subject, a.severity, a.region)
        if event.transition == "opened":
            self._lines[key] = line
        if event.transition == "held":
            self._held[key] = event.reason, a.region
        if (event.transition in ("opened", "held") and a.revision == 0) or event.reason in AGAIN:
            self._begins[key] = line
        if len(self._begins) > 20_000 or len(self._lines) > 20_000 or len(self._held) > 20_000:
            self._forget(self._newest_us)

    def _forget(self, now_us: int) -> None:
        since_us = now_us - KEPT_US
        for kept in (self._lines, self._begins, self._held):
            gone = [key for key in kept if key[1] < since_us]
            for key in gone or sorted(kept, key=lambda k: k[1])[: max(0, len(kept) - 20_000)]:
                del kept[key]

    def view(
        self, now_us: int, open_alerts: Iterable[Mapping[str, Any]], seen: Callable[[str], bool] = lambda _: True
    ) -> dict[str, Any]:
        """`seen`: the regions whose figures these are. Shares are of 1; None where there is nothing to divide by."""
        self._forget(now_us)
        lines = sorted((one for one in self._lines.values() if seen(one.region)), key=lambda one: one.at_us)
        times = [one.at_us for one in lines]
        first_us = min(times, default=now_us)
        windows = max(1.0, (now_us - first_us) / WINDOW_US)
        standing = [a for a in open_alerts if not a["held"] and a["cleared_at_us"] is None and seen(a["region"])]
        by_severity = Counter(one.severity for one in lines)
        by_key: Counter[type_key] = Counter((one.rule, one.subject) for one in lines)
        return {
            "since_us": first_us,
            "alerts": len(lines),
            "last_10_min": _figure(sum(at > now_us - WINDOW_US for at in times), MOST_IN_WINDOW),
            "peak_10_min": _figure(_peak(times), MOST_IN_WINDOW),
            "average_10_min": _figure(round(len(lines) / windows, 2), MOST_ON_AVERAGE),
            "standing": _figure(len(standing), MOST_STANDING),
            "stale": _figure(sum(now_us - a["opened_at_us"] > KEPT_US for a in standing), MOST_STALE),
            "severity": [
                {"severity": s, "n": by_severity[s], "share": _share(by_severity[s], len(lines)), "expected": SHARES[s]}
                for s in SEVERITIES
            ],
            "chattering": self._chattering(seen),
            "top": [
                {"rule": rule, "subject": subject, "n": n, "share": _share(n, len(lines))}
                for (rule, subject), n in by_key.most_common(TOP)
            ],
            "held": dict(Counter(reason for reason, region in self._held.values() if seen(region)).most_common()),
        }

    def _chattering(self, seen: Callable[[str], bool]) -> list[dict[str, Any]]:
        """What began at least so often within one window."""
        by_key: dict[type_key, list[int]] = {}
        for one in self._begins.values():
            if seen(one.region):
                by_key.setdefault((one.rule, one.subject), []).append(one.at_us)
        found = [
            {"rule": rule, "subject": subject, "n": len(times), "peak": peak}
            for (rule, subject), times in by_key.items()
            if (peak := _peak(sorted(times))) >= CHATTERS
        ]
        return sorted(found, key=lambda row: (-row["n"], row["rule"], row["subject"]))[:TOP]  # type: ignore[operator]


def _figure(value: float, most: float) -> dict[str, Any]:
    return {"value": value, "most": most, "over": value > most}


def _share(n: int, of: int) -> float | None:
    return round(n / of, 3) if of else None


def _peak(times: list[int]) -> int:
    """The most within any window; `times` ascend."""
    most = start = 0
    for end, at in enumerate(times):
        while at - times[start] >= WINDOW_US:
            start += 1
        most = max(most, end - start + 1)
    return most
