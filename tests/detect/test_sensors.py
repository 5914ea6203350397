"""The rules of sensors: against their oracle in any order and any records, across checkpoints, and the cases that people care for."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.engine import Engine
from pipeline.model.episode import Ledger
from pipeline.model.observation import Flag, Reading, Tick
from pipeline.model.wire import ObservationBatch, Placed, columns
from pipeline.plan.model import Area, CompiledPlan, Schedule, Sensor
from tests.detect.plans import SECOND, T0, plan, setting
from tests.detect.restarts import restarted

Row = tuple[str, str, str, float, float | None]
WEEK_S = 604_800
START_S = (T0 // SECOND + 5 * 3600 + 3 * 86_400) % WEEK_S  # of the local week
BLIND_S = 15
N, WITHIN, RESET_FOR, RESET_AFTER = 2, 60, 30, 200
TAMPER_FOR, TAMPER_AFTER = 50, 300
FOR, AGREE_FOR, AGREE_AFTER = 100, 20, 150
RULES = {
    "sensor.alarm": setting("sensor.alarm", confirm_n=float(N), confirm_within_us=WITHIN * 1e6, reset_for_us=RESET_FOR * 1e6, reset_after_us=RESET_AFTER * 1e6),
    "sensor.tamper": setting("sensor.tamper", reset_for_us=TAMPER_FOR * 1e6, reset_after_us=TAMPER_AFTER * 1e6),
    "sensor.disagrees": setting("sensor.disagrees", for_us=FOR * 1e6, reset_for_us=AGREE_FOR * 1e6, reset_after_us=AGREE_AFTER * 1e6),
}  # fmt: skip


def hours(*windows: tuple[int, int]) -> Schedule:
    """Windows in seconds since T0."""
    return Schedule(tuple(((START_S + a) % WEEK_S, (START_S + b) % WEEK_S) for a, b in windows))


def sensor(name: str, kind: str, site: str = "s", **more: Any) -> Sensor:
    return Sensor(name, "r", "c", {"en": name}, kind, site, f"{name}-d", **more)


SENSORS = (
    sensor("gate", "door", schedule=hours((300, 900), (1200, 1300)), agrees_with="pir"),
    sensor("back", "door"),
    sensor("pir", "pir"),
    sensor("fence", "fence", group="yard"),
    sensor("mast", "vibration", group="yard", schedule=hours((200, 1000))),
    sensor("store", "smoke"),
    sensor("hut", "pir", site="t"),
)
WHATS = {"gate": ("door", "tamper"), "back": ("door",), "pir": ("motion",), "fence": ("fence",), "mast": ("vibration",),
         "store": ("smoke", "tamper"), "hut": ("occupancy",)}  # fmt: skip


def world(sensors: Sequence[Sensor] = SENSORS, rules: Any = RULES) -> CompiledPlan:
    square = shapely.box(0, 0, 1, 1)
    areas = [Area(name, "r", {"en": name}, "site", square, square) for name in ("s", "t")]
    return replace(plan(areas, rules=rules), sensors={x.id: x for x in sensors})


@dataclass(frozen=True)
class Said:
    """What a sensor said (`on` None: a Tick of `source`)."""

    seen_s: int
    sensor: str = ""
    what: str = ""
    on: bool | None = None
    late_s: int = 1
    source: str = "a"
    seq: int = 0
    body: int = 1

    @property
    def received_s(self) -> int:
        return self.seen_s + (0 if self.on is None else self.late_s)

    def observation(self) -> Reading | Tick:
        at_us = T0 + self.seen_s * SECOND
        if self.on is None:
            return Tick(source=self.source, at_us=at_us)
        word = ("closed", "open") if self.what == "door" else ("clear", "detected")
        return Reading(
            sensor=self.sensor, what=self.what, value=word[self.on], seen_at_us=at_us, device=f"{self.sensor}-d",
            received_at_us=T0 + self.received_s * SECOND, seq=self.seq or self.seen_s, body=self.body,
        )  # fmt: skip


def batches(said: Sequence[Said], most: int = 3) -> list[ObservationBatch]:
    """Records of one source each, in this order."""
    out: list[ObservationBatch] = []
    for source, mine in itertools.groupby(said, key=lambda x: x.source):
        for part in _parts(list(mine), most):
            placed = tuple(Placed(0, x.observation()) for x in part)
            out.append(ObservationBatch(columns([]), placed, "c", "test", source))
    return out


def _parts(items: list[Said], most: int) -> list[list[Said]]:
    return [items[i : i + most] for i in range(0, len(items), most)]


def fold(of: CompiledPlan, records: Sequence[ObservationBatch], horizon_us: int | None = None) -> Ledger:
    engine, folded = Engine(of, horizon_us), Ledger()
    for record in records:
        folded.apply(engine.feed(record))
    return folded


def rows(ledger: Ledger) -> list[Row]:
    return [
        (e.rule, e.subject, e.object, (e.began_at_us - T0) / SECOND, None if e.ended_at_us is None else (e.ended_at_us - T0) / SECOND)
        for e in ledger.sorted()
    ]  # fmt: skip


def told(said: Sequence[Said], of: CompiledPlan | None = None) -> list[Row]:
    return rows(fold(of or world(), batches(said)))


def shuffled(items: Sequence[Said], seed: int) -> list[Said]:
    copy = list(items)
    random.Random(seed).shuffle(copy)
    return copy


# ---- the oracle: second by second, every reading known beforehand


class Held:
    """One thing that one sensor says, without its rattling."""

    def __init__(self, reset_for: int, reset_after: int) -> None:
        self.reset_for, self.reset_after = reset_for, reset_after
        self.active = self.on = self.resets = self.known = False
        self.waited = 0
        self.source = ""

    def over(self) -> bool:
        if not self.active or (self.on and self.resets):
            return False
        return self.waited >= (self.reset_after if self.on else self.reset_for)

    def hear(self, on: bool, source: str) -> None:
        self.known = True
        if on:
            self.active = self.on = True
            self.waited, self.source = 0, source
        else:
            self.resets = True
            if self.on:
                self.on, self.waited, self.source = False, 0, source


def oracle(said: Sequence[Said], sensors: Sequence[Sensor] = SENSORS) -> list[Row]:
    out: list[Row] = []
    for site in sorted({x.site for x in sensors}):
        out += _site_oracle(said, {x.id: x for x in sensors if x.site == site}, site)
    return sorted(out, key=lambda r: (r[3], r[0], r[1], r[2]))


def _site_oracle(said: Sequence[Said], sensors: dict[str, Sensor], site: str) -> list[Row]:
    out: list[Row] = []
    readings = sorted(
        {x for x in said if x.on is not None and x.sensor in sensors},
        key=lambda x: (x.seen_s, x.sensor, x.seq, x.what, x.body, x.source),
    )
    readings = [
        next(same) for _, same in itertools.groupby(readings, key=lambda x: (x.seen_s, x.sensor, x.seq, x.what))
    ]
    heard_to = max((x.seen_s for x in readings), default=-1)
    blind: dict[str, set[int]] = {}
    known_to: dict[str, int] = {}
    for source in "ab":
        ticks = sorted({x.seen_s for x in said if x.on is None and x.source == source})
        known_to[source] = ticks[-1] if ticks else -1
        blind[source] = {s for a, b in itertools.pairwise(ticks) if b - a > BLIND_S for s in range(a, b)}

    alarms = {(r.sensor, r.what): Held(RESET_FOR, RESET_AFTER) for r in readings if r.what != "tamper"}
    tampers = {(r.sensor, r.what): Held(TAMPER_FOR, TAMPER_AFTER) for r in readings if r.what == "tamper"}
    agree = {(r.sensor, r.what): Held(AGREE_FOR, AGREE_AFTER) for r in readings if (r.sensor, r.what) in {("gate", "door"), ("pir", "motion")}}  # fmt: skip
    counting: dict[tuple[str, str], bool] = {}  # signals that count as intrusion now
    seen_at: dict[str, dict[tuple[str, str], int]] = {}  # group -> signal -> when it last saw
    partakers: dict[str, set[tuple[str, str]]] = {}
    open_at: dict[tuple[str, str, str], int] = {}
    differing: list[Any] = [None, ""]  # waited seconds, source

    def armed(name: str, at: int) -> bool:
        schedule = sensors[name].schedule
        return schedule is None or schedule.applies(T0 + at * SECOND)

    def begin(rule: str, subject: str, obj: str, at: int) -> None:
        open_at[rule, subject, obj] = at

    def end(rule: str, subject: str, obj: str, at: int) -> None:
        began = open_at.pop((rule, subject, obj), None)
        if began is not None and at > began:
            out.append((rule, subject, obj, float(began), float(at)))

    def members(group: str) -> list[str]:
        return [x.id for x in sensors.values() if x.group == group and x.kind != "smoke"]

    def whose(group: str) -> tuple[str, str, str]:
        mine = members(group)
        return ("sensor.alarm", mine[0], "") if len(mine) == 1 else ("sensor.alarm", site, group)

    def enough(name: str, what: str) -> int:
        if what == "door":
            return 1 if sensors[name].schedule is not None else 2
        return min(N, len(members(sensors[name].group)))

    def saw(key: tuple[str, str], at: int) -> None:
        if not armed(key[0], at):
            return
        group = sensors[key[0]].group
        counting[key] = True
        seen_at.setdefault(group, {})[key] = at
        recent = {k for k, t in seen_at[group].items() if at - t <= WITHIN}
        if whose(group) in open_at:
            partakers[group].add(key)
        elif any(len({name for name, _ in recent}) >= enough(*k) for k in recent):
            begin(*whose(group), at)
            partakers[group] = {k for k in recent if counting.get(k)}

    def left(key: tuple[str, str], at: int) -> None:
        group = sensors[key[0]].group
        counting[key] = False
        partakers.get(group, set()).discard(key)
        if whose(group) in open_at and not partakers[group]:
            end(*whose(group), at)

    def compare(at: int, source: str) -> None:
        a, b = agree.get(("gate", "door")), agree.get(("pir", "motion"))
        if a is None or b is None or not a.known or not b.known or a.active == b.active:
            differing[0] = None
            end("sensor.disagrees", "gate", "pir", at)
        elif differing[0] is None:
            differing[:] = [0, source]

    for at in range(max(heard_to, *known_to.values()) + 1):

        def passed(source: str, at: int = at) -> bool:
            return at <= max(heard_to, known_to[source])

        for held in (alarms, tampers, agree):
            for key, signal in sorted(held.items()):
                if not (signal.over() and passed(signal.source)):
                    continue
                signal.active = signal.on = False
                if held is agree:
                    compare(at, signal.source)
                elif held is tampers:
                    end("sensor.tamper", *key, at)
                elif key[1] == "smoke":
                    end("sensor.alarm", *key, at)
                elif counting.get(key):
                    left(key, at)
        for key, signal in sorted(alarms.items()):
            if signal.active and key[1] != "smoke" and passed(signal.source):
                if counting.get(key) and not armed(key[0], at):
                    left(key, at)
                elif key[1] == "door" and signal.on and not counting.get(key) and armed(key[0], at) and not armed(key[0], at - 1):  # fmt: skip
                    saw(key, at)
        waited = differing[0] is not None and differing[0] >= FOR and passed(differing[1])
        if waited and ("sensor.disagrees", "gate", "pir") not in open_at:
            begin("sensor.disagrees", "gate", "pir", at)
        for r in (x for x in readings if x.seen_s == at):
            key = r.sensor, r.what
            assert r.on is not None
            if key in tampers:
                if r.on and not tampers[key].active:
                    begin("sensor.tamper", *key, at)
                tampers[key].hear(r.on, r.source)
                continue
            was_active, was_on = alarms[key].active, alarms[key].on
            alarms[key].hear(r.on, r.source)
            if r.what == "smoke":
                if r.on and not was_active:
                    begin("sensor.alarm", *key, at)
            elif r.on and not (r.what == "door" and was_on):
                saw(key, at)
            if key in agree:
                agree[key].hear(r.on, r.source)
                compare(at, r.source)
        for held in (alarms, tampers, agree):
            for signal in held.values():
                signal.waited += at not in blind.get(signal.source, ())
        if differing[0] is not None:
            differing[0] += at not in blind[differing[1]]
    return out + [(*key, float(began), None) for key, began in open_at.items()]


def invented(seed: int) -> list[Said]:
    """Sensors that rattle, some that never say that it is over, late readings, two sources, and stretches in which nobody listens."""
    rng = random.Random(seed)
    what: list[Said] = []
    for source in "ab":
        at = rng.randint(0, 5)
        while at < 1600:
            what.append(Said(at, source=source))
            at += 5 if rng.random() > 0.01 else rng.randint(16, 200)
    for name, whats in WHATS.items():
        for one in whats:
            at, resets = rng.randint(0, 300), rng.random() < 0.7
            while at < 1500:
                on = not resets or rng.random() < 0.5
                what.append(
                    Said(
                        at, name, one, on, rng.choice((0, 1, 5, 90)), rng.choice("aab"), body=2 * rng.randint(1, 9) + on
                    )
                )
                at += rng.choice((0, 1, 7, RESET_FOR, RESET_FOR + 1, 45, 120, RESET_AFTER, 400))
    return what


@pytest.mark.parametrize("seed", range(40))
def test_the_ledger_is_the_oracles_in_any_order(seed: int) -> None:
    what = invented(seed)
    expected = oracle(what)
    assert expected, "a world in which nothing happens asks for nothing"
    assert told(sorted(what, key=lambda x: (x.received_s, x.on is not None))) == expected
    assert told(shuffled(what, seed)) == expected
    assert told([*shuffled(what, seed + 1), *shuffled(what, seed + 2)]) == expected, "twice is once"


def test_the_worlds_have_every_kind_of_episode() -> None:
    found = {(r[0], r[1], r[2], r[4] is None) for seed in range(40) for r in oracle(invented(seed))}
    for key in (("sensor.alarm", "s", ""), ("sensor.alarm", "s", "yard"), ("sensor.alarm", "hut", ""),
                ("sensor.alarm", "store", "smoke"), ("sensor.tamper", "gate", "tamper"),
                ("sensor.disagrees", "gate", "pir")):  # fmt: skip
        assert {(*key, True), (*key, False)} <= found, key


SIGNALS = [(name, one) for name, whats in WHATS.items() for one in whats]


@given(
    st.lists(
        st.builds(
            lambda tens, signal, on, source: Said(tens * 10, *(signal if signal else ("", "")), on if signal else None, source=source, body=2 + on),
            st.integers(0, 60), st.sampled_from([*SIGNALS, *SIGNALS[:4], None, None]), st.booleans(), st.sampled_from("aab"),
        ),
        max_size=40,
    ),
    st.integers(0, 10),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_small_worlds_in_any_order(what: list[Said], seed: int) -> None:
    assert told(shuffled(what, seed)) == oracle(what)


@pytest.mark.parametrize("seed", range(12))
def test_a_restart_from_any_checkpoint_changes_nothing(seed: int) -> None:
    records = batches(shuffled(invented(seed), seed))
    folded, restarts = restarted(lambda: Engine(world()), records, seed, again=0.5)
    assert restarts
    assert rows(folded) == rows(fold(world(), records))
    assert rows(folded) == oracle(invented(seed))


# ---- what people care for


def ticks(until_s: int, from_s: int = 0) -> list[Said]:
    return [Said(at) for at in range(from_s, until_s + 1, 5)]


def on(at_s: int, name: str, what: str, **more: Any) -> Said:
    return Said(at_s, name, what, True, **more)


def off(at_s: int, name: str, what: str, **more: Any) -> Said:
    return Said(at_s, name, what, False, **more)


def test_smoke_is_told_at_once_and_is_over_when_it_has_been_clear_for_long_enough() -> None:
    smoke = [off(5, "store", "smoke"), on(10, "store", "smoke")]
    assert told(smoke) == [("sensor.alarm", "store", "smoke", 10, None)], "no Tick is waited for"
    cleared = [*smoke, off(400, "store", "smoke")]
    assert told([*cleared, *ticks(425)]) == [("sensor.alarm", "store", "smoke", 10, None)]
    assert told([*cleared, *ticks(430)]) == [("sensor.alarm", "store", "smoke", 10, 430)]


def test_a_sensor_that_only_reports_that_it_is_open_is_quiet_again_when_it_says_no_more() -> None:
    """Smoke of one that has never said that it is clear; one that has is believed for as long as it says nothing."""
    only = [on(10, "store", "smoke"), on(150, "store", "smoke"), *ticks(1000)]
    assert told(only) == [("sensor.alarm", "store", "smoke", 10, 150 + RESET_AFTER)]
    assert told([*only, off(2, "store", "smoke")]) == [("sensor.alarm", "store", "smoke", 10, None)]


def test_what_rattles_is_one_alarm() -> None:
    rattling = [Said(at, "store", "smoke", at % 20 == 0) for at in range(0, 300, 10)]
    assert told([*rattling, *ticks(500)]) == [("sensor.alarm", "store", "smoke", 0, 290 + RESET_FOR)]


@pytest.mark.parametrize(("apart_s", "confirmed"), [(WITHIN - 1, True), (WITHIN, True), (WITHIN + 1, False)])
def test_two_of_a_site_within_the_time_confirm_an_intrusion(apart_s: int, confirmed: bool) -> None:
    what = [on(100, "back", "door"), on(100 + apart_s, "pir", "motion"), *ticks(300)]
    expected = [("sensor.alarm", "s", "", 100 + apart_s, 100 + apart_s + RESET_AFTER)] if confirmed else []
    assert told([*what, *ticks(600)]) == expected


def test_one_sensor_however_often_confirms_nothing_and_neither_does_another_group() -> None:
    assert (
        told([*(on(at, "pir", "motion") for at in range(100, 200, 10)), on(150, "fence", "fence"), *ticks(600)]) == []
    )


def test_the_only_sensor_of_its_site_needs_nobody() -> None:
    assert told([on(10, "hut", "occupancy")]) == [("sensor.alarm", "hut", "", 10, None)]


def test_a_door_alone_is_an_alarm_only_while_it_must_be_closed() -> None:
    """From 300 to 900: opened before, it is one from 300 on; one that is shut in time is none."""
    assert told([off(1, "gate", "door"), on(100, "gate", "door"), off(290, "gate", "door"), *ticks(600)]) == []
    opened = [off(1, "gate", "door"), on(100, "gate", "door")]
    assert told([*opened, *ticks(295)]) == []
    assert told([*opened, *ticks(300)]) == [("sensor.alarm", "s", "", 300, None)]
    assert told([*opened, *ticks(1000)]) == [("sensor.alarm", "s", "", 300, 900)]
    assert told([on(100, "back", "door"), *ticks(600)]) == [], "a door that may be open says nothing alone"


def test_while_nobody_listened_no_deadline_ran() -> None:
    """Clear since 400, and ingest away from 410 to 1000: ten seconds behind the deadline of 30, twenty before it."""
    what = [off(5, "store", "smoke"), on(10, "store", "smoke"), off(400, "store", "smoke"), *ticks(410)]
    assert told([*what, *ticks(1015, 1000)]) == [("sensor.alarm", "store", "smoke", 10, None)]
    assert told([*what, *ticks(1100, 1000)]) == [("sensor.alarm", "store", "smoke", 10, 1020)]


@pytest.mark.parametrize(("until_s", "began"), [(FOR, None), (FOR + 1, 200)])
def test_two_that_must_agree_and_do_not_for_longer_than_they_may(until_s: int, began: int | None) -> None:
    """The gate opens at 100, by day, and the movement sensor beside it sees nobody."""
    what = [
        off(10, "gate", "door"),
        off(20, "pir", "motion"),
        on(100, "gate", "door"),
        on(100 + until_s, "pir", "motion"),
    ]
    found = [r for r in told([*what, *ticks(299)]) if r[0] == "sensor.disagrees"]
    assert found == ([] if began is None else [("sensor.disagrees", "gate", "pir", began, 100 + until_s)])


def test_nobody_disagrees_with_one_that_has_never_spoken() -> None:
    assert told([on(100, "gate", "door"), *ticks(290)]) == []


def test_a_late_reading_has_it_told_again_and_says_what_it_replaces() -> None:
    engine, folded = Engine(world()), Ledger()
    first = [off(5, "store", "smoke"), on(100, "store", "smoke"), off(200, "store", "smoke"), *ticks(300)]
    for record in batches(first):
        folded.apply(engine.feed(record))
    (before,) = folded.sorted()
    (record,) = batches([on(70, "store", "smoke", late_s=240)])
    (change,) = engine.feed(record)
    assert (change.kind, change.was_ids, change.late) == ("amend", (before.id,), True)
    folded.apply([change])
    assert rows(folded) == [("sensor.alarm", "store", "smoke", 70, 230)]
    assert engine.feed(record) == [], "twice is once"


def test_what_is_older_than_the_horizon_and_words_that_mean_nothing_are_passed_over() -> None:
    reading = on(10, "store", "smoke").observation()
    assert isinstance(reading, Reading)
    for other in (
        {"flags": int(Flag.BEYOND_HORIZON)}, {"value": "maybe"}, {"value": 1}, {"what": "battery_percent"}, {"sensor": "x"},
    ):  # fmt: skip
        changed = Reading(**{name: getattr(reading, name) for name in reading.__struct_fields__} | other)
        assert not Engine(world()).feed(ObservationBatch(columns([]), (Placed(0, changed),), "c", "test", "a")), other


def test_without_the_rules_nothing_is_kept() -> None:
    engine = Engine(world(rules={}))
    for record in batches(invented(1)[:200]):
        assert not engine.feed(record)
    assert [judge.name for judge in engine.judges if judge.on] == ["clocks"]  # for the next plan may ask
    assert not any(judge.dirty for judge in engine.judges)


HOUR = 3600


def test_what_is_kept_is_of_two_horizons_and_the_ledger_is_the_same_as_with_all_of_it() -> None:
    """Eight hours of a site whose sensors say every minute how they are, some of it late; horizon one hour."""
    rng = random.Random(5)
    what: list[Said] = [Said(at) for at in range(0, 8 * HOUR, 15)]
    for name, one in (("store", "smoke"), ("pir", "motion"), ("back", "door"), ("store", "tamper")):
        state = False
        for at in range(rng.randint(0, 60), 8 * HOUR, 60):
            state = state != (rng.random() < 0.05)
            what.append(Said(at, name, one, state, rng.choice((0, 0, 2, 1000, HOUR - 1))))
    what.sort(key=lambda x: x.received_s)
    of = world()
    engine, folded = Engine(of, HOUR * SECOND), Ledger()
    (mine,) = (judge for judge in engine.judges if judge.name == "sensors")
    sizes = []
    for record in batches(what, 1):
        folded.apply(engine.feed(record))
        sizes.append(len(mine.dump(whole=True)) if len(sizes) % 500 == 0 else 0)
    assert rows(folded) == rows(fold(of, batches(what, 1)))
    assert len(folded.episodes) > 30
    assert max(sizes[len(sizes) // 2 :]) < 1.25 * max(sizes[: len(sizes) // 2]), "bounded"
