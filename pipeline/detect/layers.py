"""What each version of the plan tells, laid one upon the other: one account of the whole time.

The scan's episodes go through the versions by themselves, since a vehicle's state does: of an episode the youngest version's word counts.
The rules beside the scan tell their whole time under every version; of each only what lies within its stretch counts, and what goes on
over a border is one episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from pipeline.model.episode import Change, Episode, episode_id

Key = tuple[str, str, str]
Words = dict[Key, dict[str, Change]]
LOOK_AHEAD_US = 4_500_000_000  # so long behind its end a version still hears: an hour that a gap has to last, and until everybody has said so
SCANNED = ("area.", "route.deviation", "stop.unscheduled")
BLACKOUT = "area.blackout"  # of a cell: the one of that name that no scan tells


def key_of(episode: Episode) -> Key:
    return episode.rule, episode.subject, episode.object


def is_scanned(rule: str) -> bool:
    return rule.startswith(SCANNED) and rule != BLACKOUT


@dataclass(slots=True)
class Layer:
    """What one version says. `removed`: of each vehicle, what ended when it came into force."""

    from_us: int
    until_us: int
    told: Words = field(default_factory=dict)
    removed: dict[str, dict[str, Change]] = field(default_factory=dict)

    def hear(self, changes: Iterable[Change]) -> set[Key]:
        """Fold in what the version's engine says. Returns what that is about."""
        touched = set()
        for change in changes:
            key = key_of(change.episode)
            touched.add(key)
            mine = self.told.setdefault(key, {})
            for gone in change.was_ids:
                mine.pop(gone, None)
            if change.kind == "retract":
                mine.pop(change.episode.id, None)
            else:
                mine[change.episode.id] = change
        return touched

    def remove(self, vehicle: str, changes: Iterable[Change]) -> set[Key]:
        """These end here, and no others of this vehicle."""
        before = self.removed.get(vehicle, {})
        now = {c.episode.id: c for c in changes}
        if now:
            self.removed[vehicle] = now
        else:
            self.removed.pop(vehicle, None)
        return {key_of(c.episode) for c in (*before.values(), *now.values())}

    def about(self) -> set[Key]:
        return set(self.told) | {key_of(c.episode) for mine in self.removed.values() for c in mine.values()}

    def over_by(self, key: Key, at_us: int) -> set[str]:
        """What is over by then, or counts no more: a version hears for a while behind its end, and what it says of that may count yet, when
        the end is another."""
        found = set()
        for i, change in self.told.get(key, {}).items():
            e = change.episode
            last_us = self.until_us if e.began_at_us < self.until_us else self.until_us + LOOK_AHEAD_US
            if min(e.ended_at_us or last_us, last_us) <= at_us:
                found.add(i)
        return found

    def forget(self, key: Key, ids: set[str]) -> bool:
        """Whether it knew any of them."""
        mine = self.told.get(key, {})
        kept = {i: c for i, c in mine.items() if i not in ids}
        if kept:
            self.told[key] = kept
        else:
            self.told.pop(key, None)
        gone = self.removed.get(key[1], {})
        left = {i: c for i, c in gone.items() if key_of(c.episode) != key or i not in ids}
        if left:
            self.removed[key[1]] = left
        else:
            self.removed.pop(key[1], None)
        return len(kept) < len(mine) or len(left) < len(gone)


def scanned(layers: Iterable[Layer], key: Key) -> dict[str, Change]:
    """By id. What was removed at a layer's beginning is its word unless a younger one has another."""
    found: dict[str, Change] = {}
    for layer in layers:
        for i, change in layer.removed.get(key[1], {}).items():
            if key_of(change.episode) == key:
                found[i] = change
        found.update(layer.told.get(key, {}))
    return found


def judged(layers: Iterable[Layer], key: Key, now_us: int) -> dict[str, Change]:
    """By id. `now_us`: up to when time is known to have passed."""
    found: dict[str, Change] = {}
    going: Change | None = None  # over the border between the last layer and this one
    for layer in layers:
        reached = layer.from_us <= now_us
        following, going = going, None
        continued = False
        mine = layer.told.get(key, {})
        for change in sorted(mine.values(), key=lambda c: c.episode.began_at_us):
            e = change.episode
            ended_us = e.ended_at_us
            if e.began_at_us >= layer.until_us or not (reached or e.began_at_us >= layer.from_us):
                continue
            if ended_us is not None and (ended_us < layer.from_us or (ended_us == layer.from_us > e.began_at_us)):
                continue
            began_us = e.began_at_us
            if began_us < layer.from_us or (following is not None and began_us == layer.from_us):
                if following is not None and not continued:
                    continued = True
                    began_us = following.episode.began_at_us
                    found.pop(following.episode.id, None)
                else:
                    began_us = max(began_us, layer.from_us)
            over = (ended_us is None or ended_us > layer.until_us) and (
                now_us >= layer.until_us or ended_us is not None
            )
            if over:
                going = change = _as(change, began_us, layer.until_us, {**e.evidence, "ended_by": "PLAN_REMOVED"})
            elif began_us != e.began_at_us:
                change = _as(change, began_us, ended_us, e.evidence)
            found[change.episode.id] = change
    return found


def _as(change: Change, began_us: int, ended_us: int | None, evidence: dict[str, object]) -> Change:
    e = change.episode
    episode = msgspec.structs.replace(
        e,
        id=episode_id(e.rule, e.subject, e.object, began_us),
        began_at_us=began_us,
        ended_at_us=ended_us,
        evidence=evidence,
    )
    return msgspec.structs.replace(change, episode=episode)


def episodes(told: Mapping[str, Change]) -> dict[str, Episode]:
    return {i: c.episode for i, c in told.items()}
