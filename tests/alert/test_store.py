"""One transaction an input: nothing twice, nothing lost, nothing by one who was replaced, and a chain that shows what was touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely

from pipeline.alert.store import AlertStore, FencedError, region_of
from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Change, Episode, Ledger
from pipeline.plan.model import Area, CompiledPlan, Convoy, RuleSetting, Sensor
from tests.alert.builders import HOUR, MINUTE, WORDS, at, batch, change, command, episode, sos
from tests.detect.plans import RULES, plan, setting

NOW = at(10)
E, LATER = episode(), episode(5)
Open = Callable[..., AlertStore]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alerts.db"


@pytest.fixture
def opens(file: Path) -> Iterator[Open]:
    """Opens the store on the same file, as often as one likes."""
    stores: list[AlertStore] = []

    def one(of: CompiledPlan | None = None) -> AlertStore:
        stores.append(AlertStore(f"sqlite:///{file}", of or plan(), lambda _: WORDS))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


def take(store: AlertStore, offset: int, *changes: Change, epoch: int = 1, partition: int = 0) -> list[AlertEvent]:
    return store.take_changes([("episodes", partition, offset, batch(*changes, epoch=epoch))], NOW)


def order(store: AlertStore, offset: int, what: Any, of: Episode = E, **more: Any) -> list[AlertEvent]:
    more = {"id": f"c{offset}"} | more
    return store.take_commands([("commands", 0, offset, command(what, of.id, **more))], NOW)


def transitions(events: list[AlertEvent]) -> list[str]:
    return [event.transition for event in events]


def tables(file: Path) -> dict[str, list[Any]]:
    """Everything in the file but who holds it."""
    with closing(sqlite3.connect(file)) as db:
        names = [n for (n,) in db.execute("select name from sqlite_master where type = 'table'")]
        return {n: sorted(r for r in db.execute(f"select * from {n}") if r[0] != "token") for n in names}


def touch(file: Path, sql: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        assert db.execute(sql).rowcount > 0


# ---- nothing twice --------------------------------------------------------------------------------------------------------


def test_a_record_read_twice_is_taken_once(opens: Open, file: Path) -> None:
    store = opens()
    assert transitions(take(store, 0, change("begin", E), change("begin", LATER))) == ["opened", "opened"]
    before = tables(file)
    assert take(store, 0, change("begin", E), change("begin", LATER)) == []
    assert tables(file) == before


def test_a_record_twice_within_one_transaction_is_taken_once(opens: Open) -> None:
    one = ("episodes", 0, 0, batch(change("begin", E)))
    assert transitions(opens().take_changes([one, one], NOW)) == ["opened"]


def test_the_same_change_in_a_newer_record_tells_nothing_new(opens: Open) -> None:
    """A new owner of a partition says again what the one before had said."""
    store = opens()
    ended = episode(ended=4)
    take(store, 0, change("begin", E), change("end", ended))
    assert take(store, 1, change("begin", E), change("end", ended), epoch=2) == []
    assert len(store.unpublished()) == 2


def test_a_command_counts_once_whatever_its_offset(opens: Open, file: Path) -> None:
    store = opens()
    take(store, 0, change("begin", E))
    assert transitions(order(store, 0, "note", text="called", id="n1")) == ["noted"]
    assert order(store, 1, "note", text="called", id="n1") == []
    assert order(store, 0, "note", text="another", id="n2") == [], "this place was read already"
    found = store.alert(E.id)
    assert found is not None and found.notes == ("called",)


def test_a_refused_command_stays_refused_when_it_comes_again(opens: Open, file: Path) -> None:
    store = opens()
    assert order(store, 0, "acknowledge", id="a1") == []
    take(store, 0, change("begin", E))
    assert order(store, 1, "acknowledge", id="a1") == []
    assert tables(file)["commands"] == [("a1", E.id, "REFUSED_UNKNOWN_ALERT")]


# ---- every ledger row has an alert or a reason -------------------------------------------------------------------------------


def told_or_held(store: AlertStore, file: Path, ledger: Ledger) -> dict[str, tuple[list[str], str | None]]:
    mapped = tables(file)["episodes"]
    reasons = store.held_reasons()
    return {e: ([a for m, a in mapped if m == e], reasons.get(e)) for e in ledger.episodes}


@pytest.mark.parametrize(
    "changes",
    [
        [change("begin", E)],
        [change("begin", E), change("begin", E)],
        [change("begin", E), change("end", episode(ended=4)), change("end", episode(ended=4), revision=2)],
        [change("begin", E, mode="shadow")],
        [change("begin", E, mode="off"), change("end", episode(ended=4), mode="off", revision=2)],
        [change("begin", E, mode="shadow"), change("end", episode(ended=4), mode="live", revision=2)],
        [change("begin", E), change("amend", LATER, E)],
        [change("begin", E, mode="shadow"), change("amend", LATER, E, mode="shadow")],
        [change("begin", E), change("begin", LATER), change("amend", E, LATER)],
        [change("begin", E), change("retract", E), change("begin", E)],
        [change("begin", sos()), change("begin", sos())],
    ],
    ids=["told", "repeated", "ended twice", "shadow", "off", "shadow, then live", "renamed", "renamed in shadow", "merged", "gone and back", "pressed"],
)  # fmt: skip
def test_every_ledger_row_has_one_alert_or_one_reason(opens: Open, file: Path, changes: list[Change]) -> None:
    store, ledger = opens(), Ledger()
    for offset, one in enumerate(changes):
        take(store, offset, one)
        ledger.apply([one])
    found = told_or_held(store, file, ledger)
    assert found
    for alerts, reason in found.values():
        assert (len(alerts) == 1) != (reason is not None), found
        assert all(store.alert(a) is not None for a in alerts)


def test_what_is_held_says_why(opens: Open) -> None:
    store = opens()
    assert take(store, 0, change("begin", E, mode="shadow"), change("begin", LATER, mode="off")) == []
    assert store.held_reasons() == {E.id: "HELD_SHADOW", LATER.id: "HELD_OFF"}
    assert store.open_alerts() == []


# ---- epochs ------------------------------------------------------------------------------------------------------------------


def test_an_owner_that_was_replaced_is_not_heard(opens: Open) -> None:
    store = opens()
    take(store, 0, change("begin", E), epoch=3)
    assert take(store, 1, change("begin", LATER), change("retract", E), epoch=2) == []
    assert store.positions() == {("episodes", 0): 2}
    assert transitions(take(store, 2, change("begin", LATER), epoch=3)) == ["opened"]


def test_epochs_are_of_a_partition_and_outlive_a_crash(opens: Open) -> None:
    take(opens(), 0, change("begin", E), epoch=3)
    store = opens()
    assert take(store, 1, change("begin", LATER), epoch=2) == []
    assert transitions(take(store, 0, change("begin", LATER), epoch=1, partition=1)) == ["opened"]


@pytest.mark.parametrize("kind", ["changes", "commands"])
def test_what_cannot_be_read_is_passed_over(opens: Open, kind: str) -> None:
    store = opens()
    unread: Any = [(kind, 0, 0, None)]
    assert (store.take_changes(unread, NOW) if kind == "changes" else store.take_commands(unread, NOW)) == []
    assert store.positions() == {(kind, 0): 1}


# ---- crash and reopen --------------------------------------------------------------------------------------------------------


def story(store: AlertStore) -> Iterator[Callable[[], list[AlertEvent]]]:
    yield lambda: take(store, 0, change("begin", E), change("begin", LATER, mode="shadow"))
    yield lambda: take(store, 1, change("amend", episode(severity="high")))
    yield lambda: order(store, 0, "acknowledge")
    yield lambda: order(store, 1, "shelve", until_us=NOW + HOUR // 3)
    yield lambda: take(store, 2, change("begin", sos(2)))
    yield lambda: store.take_time(NOW + HOUR // 3, None)
    yield lambda: take(store, 3, change("end", episode(ended=4, severity="high")))
    yield lambda: order(store, 2, "close", sos(2), outcome="real")


WHOLE = ["opened", "grew", "acknowledged", "shelved", "opened", "unshelved", "cleared", "closed", "closed"]


@pytest.mark.parametrize("crash_after", range(9))
def test_a_store_that_is_opened_again_goes_on(opens: Open, crash_after: int) -> None:
    """Input is read again from its beginning after the crash, as one who lost every acknowledgement would."""
    first = opens()
    for step, _ in zip(story(first), range(crash_after), strict=False):
        step()
    known = first.unpublished()
    second = opens()
    assert second.unpublished() == known
    assert second.positions() == first.positions()
    for step in story(second):
        step()
    found = second.unpublished()
    assert transitions(found) == WHOLE
    assert [event.seq for event in found] == list(range(1, 10))
    assert second.audit_fault() is None
    assert second.open_alerts() == []


def test_a_transaction_that_fails_leaves_nothing(file: Path) -> None:
    fail = [False]

    def words(_: Episode) -> Any:
        if fail[0]:
            raise OSError("the power went")
        return WORDS

    with closing(AlertStore(f"sqlite:///{file}", plan(), words)) as store:
        take(store, 0, change("begin", E))
        before = tables(file)
        inputs = [
            ("episodes", 0, 1, batch(change("end", episode(ended=4)))),
            ("episodes", 0, 2, batch(change("begin", LATER))),
        ]
        fail[0] = True
        with pytest.raises(OSError, match="power"):
            store.take_changes(inputs, NOW)  # type: ignore[arg-type]
        assert tables(file) == before
        fail[0] = False
        assert transitions(store.take_changes(inputs, NOW)) == ["cleared", "opened"]  # type: ignore[arg-type]


def test_unpublished_is_what_was_not_published_in_order(opens: Open) -> None:
    store = opens()
    told = take(store, 0, *(change("begin", episode(m)) for m in range(5)))
    assert store.unpublished() == told
    assert store.unpublished(most=2) == told[:2]
    store.published(told[2].seq)
    assert store.unpublished() == told[3:]
    store.published(told[0].seq)
    assert store.unpublished() == told[3:], "it never goes back"
    store.close()
    assert opens().unpublished() == told[3:]


def test_an_event_says_who_waited_for_what(opens: Open) -> None:
    store = opens()
    (event,) = take(store, 0, change("begin", E, received_at_us=at(9)))
    assert (event.actor, event.at_us, event.received_at_us, event.command_id) == ("policy", NOW, at(9), "")
    (event,) = order(store, 0, "acknowledge")
    assert (event.actor, event.at_us, event.command_id, event.alert.id) == ("amina", NOW, "c0", E.id)


# ---- fencing -----------------------------------------------------------------------------------------------------------------


WRITES: dict[str, Callable[[AlertStore], Any]] = {
    "changes": lambda s: take(s, 5, change("begin", LATER)),
    "commands": lambda s: order(s, 5, "acknowledge"),
    "time": lambda s: s.take_time(NOW, at(9)),
    "published": lambda s: s.published(1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_one_who_was_replaced_writes_nothing(opens: Open, file: Path, write: Callable[[AlertStore], Any]) -> None:
    old = opens()
    take(old, 0, change("begin", E))
    new = opens()
    before = tables(file)
    with pytest.raises(FencedError):
        write(old)
    assert tables(file) == before
    write(new)
    assert tables(file) != before


# ---- audit -------------------------------------------------------------------------------------------------------------------


TAMPERING = {
    "an entry": ("update audit set entry = cast(replace(entry, 'amina', 'bilal') as blob) where n = 2", 2),
    "an entry's type": ("update audit set entry = cast(entry as text) where n = 2", 2),
    "a hash": ("update audit set hash = x'00' where n = 3", 3),
    "an entry taken out": ("delete from audit where n = 2", 3),
    "the first taken out": ("delete from audit where n = 1", 2),
    "an entry put in": ("insert into audit values (0, x'7b7d', x'00')", 0),
    "two exchanged": ("update audit set n = case n when 2 then 3 else 2 end + 100 where n in (2, 3)", 4),
}


@pytest.mark.parametrize(("sql", "fault"), TAMPERING.values(), ids=TAMPERING)
def test_the_audit_shows_what_was_touched(opens: Open, file: Path, sql: str, fault: int) -> None:
    store = opens()
    take(store, 0, change("begin", E))
    order(store, 0, "acknowledge")
    order(store, 1, "acknowledge", id="refused")
    order(store, 2, "note", text="called")
    assert store.audit_fault() is None
    touch(file, sql)
    assert store.audit_fault() == fault


def test_the_audit_has_an_entry_for_every_event_and_every_refusal(opens: Open, file: Path) -> None:
    store = opens()
    take(store, 0, change("begin", E))
    order(store, 0, "shelve", until_us=NOW + 9 * HOUR)
    order(store, 1, "acknowledge", by="bilal")
    entries = [bytes(entry).decode() for _, entry, _ in tables(file)["audit"]]
    assert len(entries) == 3
    assert '"transition":"opened"' in entries[0] and '"by":"policy"' in entries[0]
    assert '"reason":"REFUSED_SHELF_TIME"' in entries[1] and '"by":"amina"' in entries[1]
    assert '"transition":"acknowledged"' in entries[2] and '"by":"bilal"' in entries[2]


# ---- merge -------------------------------------------------------------------------------------------------------------------


def test_two_episodes_that_are_one_leave_one_alert(opens: Open) -> None:
    store = opens()
    take(store, 0, change("begin", E), change("begin", LATER))
    order(store, 0, "acknowledge")
    first = min((a for a in store.open_alerts()), key=lambda a: a.id).id
    other = ({E.id, LATER.id} - {first}).pop()
    told = take(store, 1, change("amend", E, LATER))
    assert [(e.transition, e.alert.id) for e in told] == [("merged", other), ("amended", first)]
    (kept,) = store.open_alerts()
    assert kept.id == first
    ended = take(store, 2, change("end", episode(ended=8)))
    assert {e.alert.id for e in ended} == {first}, "what happens to the one episode happens to the one alert"


# ---- what time does -----------------------------------------------------------------------------------------------------------


def stalled_plan(severity: Any = "critical", mode: Any = "live") -> CompiledPlan:
    rule = RuleSetting("pipeline.stalled", mode, severity, "desk", "look", 60_000_000, {})
    return plan(rules={**RULES, "pipeline.stalled": rule})


def test_a_shelf_is_over_when_its_time_is(opens: Open) -> None:
    store = opens()
    take(store, 0, change("begin", E))
    order(store, 0, "shelve", until_us=NOW + HOUR)
    assert store.take_time(NOW + HOUR - 1, None) == []
    assert transitions(store.take_time(NOW + HOUR, None)) == ["unshelved"]
    assert store.take_time(NOW + 2 * HOUR, None) == []


def test_silence_is_told_once_and_clears_when_it_is_over(opens: Open) -> None:
    store = opens(stalled_plan())
    assert store.take_time(NOW, None) == []
    (event,) = store.take_time(NOW, at(9))
    a = event.alert
    assert (event.transition, event.reason, a.severity, a.began_at_us, a.response) == ("opened", "NO_TICKS", "critical", at(9), "look")  # fmt: skip
    assert store.take_time(NOW + MINUTE, at(9)) == []
    store = opens(stalled_plan())
    assert store.take_time(NOW + MINUTE, at(9)) == [], "also after a crash"
    assert store.take_time(NOW + MINUTE, None, heard=False) == [], "we have just begun: it is too early to say"
    (event,) = store.take_time(NOW + 2 * MINUTE, None)
    assert (event.transition, event.reason, event.alert.id) == ("cleared", "TICKS_AGAIN", a.id)
    assert event.alert.cleared_at_us == NOW + 2 * MINUTE
    assert store.take_time(NOW + 3 * MINUTE, None) == []
    (event,) = store.take_time(NOW + 9 * MINUTE, at(18))
    assert event.transition == "opened" and event.alert.id != a.id


@pytest.mark.parametrize(("severity", "closed"), [("critical", False), ("high", True)])
def test_silence_that_was_seen_and_is_over_closes_unless_critical(opens: Open, severity: Any, closed: bool) -> None:
    store = opens(stalled_plan(severity))
    (event,) = store.take_time(NOW, at(9))
    store.take_commands([("commands", 0, 0, command("acknowledge", event.alert.id))], NOW)
    assert transitions(store.take_time(NOW, None)) == (["cleared", "closed"] if closed else ["cleared"])
    assert (store.open_alerts() == []) == closed


def test_silence_is_not_told_in_shadow(opens: Open) -> None:
    store = opens(stalled_plan(mode="shadow"))
    assert store.take_time(NOW, at(9)) == []
    assert store.open_alerts() == []


def test_the_plan_says_who_answers_and_how(opens: Open) -> None:
    store = opens(plan(rules={"stop.unscheduled": setting("stop.unscheduled")}))
    (event,) = take(store, 0, change("begin", E))
    assert (event.alert.region, event.alert.owner_post, event.alert.response) == ("r", "post", "do")


@pytest.mark.parametrize(("subject", "region"), [("v1", "r"), ("s1", "q"), ("k1", "q"), ("camp", "q"), ("nobody", "r")])
def test_the_region_whose_rule_it_is_is_that_of_the_vehicle_sensor_convoy_or_site(subject: str, region: str) -> None:
    square = shapely.box(0, 0, 1, 1)
    of = plan([Area("camp", "q", {"en": "Camp"}, "site", square, square)])
    of = replace(of, convoys={"k1": Convoy("k1", "q", {"en": "K"}, ("v1",), (), (), 500.0)})
    of = replace(of, sensors={"s1": Sensor("s1", "q", "q", {"en": "S"}, "smoke", "camp", "d1")})
    assert region_of(of, subject) == region
