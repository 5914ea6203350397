"""Whatever comes in whatever order, and however often store and notifier crash: I2 to I6 of the alert book."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline.alert.acts import OUTCOMES
from pipeline.alert.policy import OWN_RULES, ROOM, WINDOW_US, is_grave
from pipeline.alert.store import AlertStore
from pipeline.alert.tables import make_engine
from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Episode, Ledger
from pipeline.notify.escalate import asks_for_people
from pipeline.notify.leases import Leases, Task
from pipeline.notify.outcome import Accepted, Outcome, Passing, Permanent, Sent, Unknown
from pipeline.notify.tables import outbox
from pipeline.plan.model import CompiledPlan, Convoy
from tests.alert.builders import HOUR, MINUTE, WORDS, at, batch, change, command, episode, sos
from tests.alert.servers import afresh, postgres
from tests.detect.plans import RULES, plan
from tests.notify.builders import ladder, officer, roster, rung

SEVERITIES = st.sampled_from(["critical", "high", "medium", "low"])
FLEET = ("v1", "v2", "v3", "v4")
VEHICLES = st.sampled_from(FLEET)  # the first three are a convoy
RULES_TOLD = st.sampled_from(["stop.unscheduled", "route.deviation", "device.silent"])
# an event of the life cycle, and what must have been so of the alert before it
BEFORE = {
    "opened": lambda a: a is None or (a.held and a.cleared_at_us is None),
    "held": lambda a: (
        a is None or (a.closed_at_us is None and a.cleared_at_us is None and a.acknowledged_at_us is None)
    ),
    "realarmed": lambda a: a.acknowledged_at_us is not None and a.cleared_at_us is None and a.closed_at_us is None,
    "handed_over": lambda a: a.closed_at_us is None,
    "acknowledged": lambda a: a.closed_at_us is None and a.acknowledged_at_us is None,
    "merged": lambda a: a.closed_at_us is None,
    "closed": lambda a: a.closed_at_us is None,
    "cleared": lambda a: a.cleared_at_us is None,
    "retracted": lambda a: not a.retracted,
    "shelved": lambda a: a.closed_at_us is None and a.severity != "critical",
    "unshelved": lambda a: a.closed_at_us is None and a.shelved_until_us is not None,
    "grew": lambda a: a is not None,
    "amended": lambda a: a is not None,
    "noted": lambda a: a is not None,
}


OUTCOMES_OF_A_TRY: list[tuple[bool, Outcome]] = [  # whether the person has heard it
    (True, Sent("")), (True, Sent("")), (True, Accepted("", 90.0)), (True, Unknown("")), (False, Unknown("")), (False, Passing("")),
    (False, Permanent("")),
]  # fmt: skip
TOLD = sa.select(outbox.c.alert).distinct().where(outbox.c.kind == "alert", outbox.c.state != "cancelled")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # what is on trial is the order of things, not the disk


def world() -> CompiledPlan:
    """Three vehicles are a convoy; a stop stays away for two minutes before it is over; two officers, of whom one is asked again."""
    people = roster(
        officers=[officer("amina", "webhook", "gsm"), officer("bilal")],
        ladders=[ladder(rung(0, "owner"), rung(5, "chief"), rung(15, "owner", "chief"), again=30)],
    )
    of = plan(
        vehicles=FLEET, rules={**RULES, "stop.unscheduled": replace(RULES["stop.unscheduled"], off_delay_us=2 * MINUTE)}
    )
    return replace(
        of,
        rosters={"r": people},
        convoys={"k1": Convoy("k1", "r", {"en": "K"}, ("v1", "v2", "v3"), ("v1",), (), 500.0)},
    )


class Book(RuleBasedStateMachine):
    """Holds the ledger as detect tells it, and what people were promised; the store is held against both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.url = self.place()
        self.plan = world()
        self.ledger, self.modes = Ledger(), dict[str, Any]()
        self.gone: list[Episode] = []
        self.inputs: list[tuple[str, int, int, Any]] = []
        self.events: list[AlertEvent] = []
        self.acknowledged: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
        self.minute, self.revision = 1, 0
        self.store = self.open()
        self.notifier = Leases(self.url, "n")
        self.looking = make_engine(self.url)
        self.in_hand: list[Task] = []
        self.at_the_relay: list[str] = []
        self.heard: dict[tuple[str, int, str, str], list[bool]] = {}  # alert, revision, person, kind: "repeat" or not

    def open(self) -> AlertStore:
        return AlertStore(self.url, self.plan, lambda _: WORDS)

    def place(self) -> str:
        return f"sqlite:///{self.folder.name}/alerts.db"

    def teardown(self) -> None:
        self.store.close()
        self.notifier.close()
        self.looking.dispose()
        self.folder.cleanup()

    @property
    def now(self) -> int:
        return at(self.minute)

    def feed(self, topic: str, what: Any) -> list[AlertEvent]:
        self.minute += 1
        one = (topic, 0, sum(i[0] == topic for i in self.inputs), what)
        self.inputs.append(one)
        told = self.again(one)
        self.events += told
        return told

    def again(self, one: tuple[str, int, int, Any]) -> list[AlertEvent]:
        return (
            self.store.take_changes([one], self.now)
            if one[0] == "episodes"
            else self.store.take_commands([one], self.now)
        )

    def say(self, kind: Any, of: Episode, *was: Episode, waited: int = 0) -> None:
        self.revision += 1
        mode = self.modes.setdefault(of.id, self.modes.get(was[0].id, "live") if was else "live")
        one = change(kind, of, *was, revision=self.revision, mode=mode, received_at_us=self.now - waited * MINUTE)
        self.ledger.apply([one])
        self.feed("episodes", batch(one))

    def order(self, what: Any, alert_id: str, **more: Any) -> list[AlertEvent]:
        return self.feed("commands", command(what, alert_id, id=f"c{len(self.inputs)}", **more))

    def one_of(self, data: st.DataObject, found: list[Episode]) -> Episode:
        return data.draw(st.sampled_from(sorted(found, key=lambda e: e.id)))

    @property
    def active(self) -> list[Episode]:
        return [e for e in self.ledger.episodes.values() if e.ended_at_us is None]

    @property
    def known(self) -> dict[str, Any]:
        return {event.alert.id: event.alert for event in self.events}

    # ---- what detect says -----------------------------------------------------------------------------------------------------

    @initialize(severity=SEVERITIES)
    def first(self, severity: Any) -> None:
        self.begin(severity, "v1", "live", "stop.unscheduled", 0)

    @rule(
        severity=SEVERITIES, vehicle=VEHICLES, mode=st.sampled_from(["live"] * 5 + ["shadow", "off"]), name=RULES_TOLD,
        waited=st.sampled_from([0] * 6 + [60]),
    )  # fmt: skip
    def begin(self, severity: Any, vehicle: str, mode: Any, name: str, waited: int) -> None:
        """`waited`: minutes since it was received, as after an outage of ours."""
        subject, obj = ("d", vehicle) if name == "device.silent" else (vehicle, "")
        of = episode(self.minute, severity=severity, subject=subject, obj=obj, rule=name)
        self.modes[of.id] = mode
        self.say("begin", of, waited=waited)

    @rule()
    def blackout(self) -> None:
        of = episode(self.minute, severity="high", subject="c", rule="area.blackout")
        self.say("begin", of)

    @rule(vehicle=VEHICLES)
    def press(self, vehicle: str) -> None:
        self.say("begin", sos(self.minute, subject=vehicle))

    @precondition(lambda self: self.ledger.episodes)
    @rule(data=st.data())
    def say_begin_again(self, data: st.DataObject) -> None:
        self.say("begin", self.one_of(data, list(self.ledger.episodes.values())))

    @precondition(lambda self: self.active)
    @rule(data=st.data(), severity=SEVERITIES)
    def amend(self, data: st.DataObject, severity: Any) -> None:
        of = self.one_of(data, self.active)
        self.say("amend", msgspec.structs.replace(of, severity=severity, peak=float(self.minute)))

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def date_anew(self, data: st.DataObject) -> None:
        of = self.one_of(data, self.active)
        self.say(
            "amend", episode(self.minute, severity=of.severity, subject=of.subject, obj=of.object, rule=of.rule), of
        )

    @precondition(lambda self: len(self.active) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        one = self.one_of(data, self.active)
        same = [e for e in self.active if (e.rule, e.subject, e.object) == (one.rule, one.subject, one.object)]
        others = [e for e in same if e.id != one.id and self.modes.get(e.id) == self.modes.get(one.id)]
        if others:
            self.say("amend", one, one, self.one_of(data, others))

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.say("end", msgspec.structs.replace(self.one_of(data, self.active), ended_at_us=self.now))

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        of = self.one_of(data, self.active)
        self.gone.append(of)
        self.say("retract", of)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        """Its first part keeps its beginning, and its name."""
        of = self.one_of(data, self.active)
        if of.began_at_us < self.now - MINUTE:
            self.say("end", msgspec.structs.replace(of, ended_at_us=self.now - MINUTE // 2))
            later = episode(self.minute, severity=of.severity, subject=of.subject, obj=of.object, rule=of.rule)
            self.modes[later.id] = self.modes.get(of.id, "live")
            self.say("begin", later)

    @precondition(lambda self: self.active)
    @rule(data=st.data(), times=st.integers(2, 4))
    def flap(self, data: st.DataObject, times: int) -> None:
        of = self.one_of(data, self.active)
        for _ in range(times):
            self.say("end", msgspec.structs.replace(of, ended_at_us=self.now))
            again = episode(self.minute, severity=of.severity, subject=of.subject, obj=of.object, rule=of.rule)
            self.modes[again.id] = self.modes.get(of.id, "live")
            of = again
            self.say("begin", of)

    @rule(severity=st.sampled_from(["high", "medium", "low"]))
    def storm(self, severity: Any) -> None:
        """Many of many at once: more than anybody can read."""
        found = [episode(self.minute, severity=severity, subject=f"x{n}") for n in range(12)]
        for of in found:
            self.modes[of.id] = "live"
        self.revision += 1
        told = [change("begin", of, revision=self.revision, received_at_us=self.now) for of in found]
        self.ledger.apply(told)
        self.feed("episodes", batch(*told))

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), over=st.booleans())
    def come_back(self, data: st.DataObject, over: bool) -> None:
        of = self.one_of(data, self.gone)
        self.gone.remove(of)
        self.say("begin", msgspec.structs.replace(of, ended_at_us=self.now) if over else of)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def go_and_come_back(self, data: st.DataObject) -> None:
        """Late fixes dissolve it, later ones restore it."""
        of = self.one_of(data, self.active)
        self.say("retract", of)
        self.say("begin", of)

    # ---- what people do -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.known)
    @rule(data=st.data(), by=st.sampled_from(["amina", "bilal"]))
    def acknowledge(self, data: st.DataObject, by: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        before = self.known[name]
        told = self.order("acknowledge", name, by=by)
        assert bool(told) == (before.closed_at_us is None and before.acknowledged_at_us is None)
        if told:
            self.acknowledged[name] = by

    @precondition(lambda self: self.known)
    @rule(data=st.data(), to=st.sampled_from(["bilal", "the night shift"]))
    def hand_over(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        for event in self.order("hand_over", name, text=to):
            assert event.alert.owner == to or event.alert.id != name  # or one for which it spoke until now

    @precondition(lambda self: self.known)
    @rule(data=st.data(), text=st.sampled_from(["called", "no answer", ""]))
    def note(self, data: st.DataObject, text: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        assert bool(self.order("note", name, text=text)) == bool(text)
        if text:
            self.notes.setdefault(name, []).append(text)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), minutes=st.sampled_from([0, 1, 5, 480, 481]))
    def shelve(self, data: st.DataObject, minutes: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        for event in self.order("shelve", name, until_us=self.now + MINUTE + minutes * MINUTE):
            if event.alert.id != name:
                continue  # one for which it spoke, and which now speaks for itself
            assert event.alert.shelved_until_us is not None
            assert 0 < event.alert.shelved_until_us - event.at_us <= 8 * HOUR

    @precondition(lambda self: self.known)
    @rule(data=st.data(), outcome=st.sampled_from([*OUTCOMES, *[""] * 8]))
    def close(self, data: st.DataObject, outcome: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        for event in self.order("close", name, outcome=outcome, by="bilal"):
            if event.transition == "closed":
                self.acknowledged.setdefault(event.alert.id, "bilal")

    @rule()
    def ask_for_nothing(self) -> None:
        assert self.order("acknowledge", "no such alert") == []

    # ---- what the notifier does --------------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 4))
    def take_up(self, most: int) -> None:
        """It lives, so it keeps what it has in hand."""
        self.notifier.renew([task.id for task in self.in_hand], self.now)
        self.notifier.overdue(self.now)
        self.in_hand += self.notifier.take(self.now, most, critical=False)

    @precondition(lambda self: self.in_hand)
    @rule(how=st.sampled_from(OUTCOMES_OF_A_TRY))
    def send(self, how: tuple[bool, Outcome]) -> None:
        heard, outcome = how
        task = self.in_hand.pop(0)
        if isinstance(outcome, Accepted):
            outcome = Accepted(f"sms:{len(self.at_the_relay)}", outcome.within_s)
            self.at_the_relay.append(outcome.receipt)
        if heard:
            self.hear(task)
        self.notifier.done(task, outcome, self.now)

    @precondition(lambda self: self.at_the_relay)
    @rule(data=st.data(), delivered=st.booleans())
    def report(self, data: st.DataObject, delivered: bool) -> None:
        """Twice too, and after another channel has been tried."""
        self.notifier.report(data.draw(st.sampled_from(self.at_the_relay)), delivered, "", self.now)

    @rule(heard=st.integers(0, 4), same_name=st.booleans())
    def kill_the_notifier(self, heard: int, same_name: bool) -> None:
        """While it sends: of what it had in hand some has arrived."""
        for task in self.in_hand[:heard]:
            self.hear(task)
        self.in_hand = []
        self.notifier.close()
        self.notifier = Leases(self.url, "n" if same_name else f"n{self.minute}")
        self.notifier.take_back()

    def hear(self, task: Task) -> None:
        m = task.message
        self.heard.setdefault((m.alert, m.revision, task.person, m.kind), []).append(task.repeat)

    # ---- what time and the machine do -----------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 3, 11, 200]))
    def time(self, minutes: int) -> None:
        self.minute += minutes
        self.events += self.store.take_time(self.now, None)

    @rule(data=st.data())
    def duplicate(self, data: st.DataObject) -> None:
        """I5: what was read before is read again, as after a lost acknowledgement."""
        assert self.again(data.draw(st.sampled_from(self.inputs))) == []

    @rule(data=st.data())
    def repeat_a_command(self, data: st.DataObject) -> None:
        """I5: sent twice by the desk, so with the same id at another place."""
        done = [i[3] for i in self.inputs if i[0] == "commands"]
        if done:
            assert self.feed("commands", data.draw(st.sampled_from(done))) == []

    @rule(closed=st.booleans())
    def crash_and_reopen(self, closed: bool) -> None:
        if closed:
            self.store.close()
            self.store = self.open()
        else:
            old, self.store = self.store, self.open()
            old.close()
        for one in self.inputs:
            assert self.again(one) == []

    # ---- what must hold ---------------------------------------------------------------------------------------------------------

    @invariant()
    def every_ledger_row_has_one_alert_or_one_reason(self) -> None:
        """I2."""
        mapped = self.store.alerts_of()
        reasons, known = self.store.held_reasons(), self.known
        for name in self.ledger.episodes:
            told = name in mapped and not known[mapped[name]].held
            assert told != (name in reasons), name
            assert (self.modes.get(name, "live") == "live") == (name in mapped)

    @invariant()
    def nobody_is_told_twice_without_the_word_repeat(self) -> None:
        """I3."""
        for telling, repeats in self.heard.items():
            assert all(repeats[1:]), telling

    @invariant()
    def whatever_asks_for_people_is_told(self) -> None:
        """I3: somebody has been told, is being told, or could not be reached."""
        with self.looking.connect() as look:
            told = set(look.execute(TOLD).scalars())
        for a in self.known.values():
            assert not asks_for_people(a) or a.id in told, a

    @invariant()
    def nobody_is_told_more_than_they_can_read(self) -> None:
        """But for what is critical or pressed when it is told: that is never held back for it. What an alert has become since
        unreads no line; but one that the same transaction holds again was not told."""
        unread = {(e.at_us, e.alert.id): e.seq for e in self.events if e.transition == "held"}
        of = [
            e
            for e in self.events
            if e.transition == "opened"
            and not is_grave(e.alert)
            and e.alert.rule not in OWN_RULES
            and unread.get((e.at_us, e.alert.id), 0) < e.seq
        ]
        for n, event in enumerate(of):
            assert sum(e.at_us > event.at_us - WINDOW_US for e in of[: n + 1]) <= max(ROOM.values())

    @invariant()
    def what_is_held_is_not_forgotten(self) -> None:
        """Somebody speaks for it, or its time will come; what is critical only ever stands behind what is critical."""
        known = self.known
        for a in known.values():
            if a.held and a.cleared_at_us is None and a.closed_at_us is None:
                lead = known.get(a.under)
                assert a.look_us is not None or lead is not None, a.held
                assert a.severity != "critical" or (lead is not None and lead.severity == "critical"), a.held
                assert a.rule != "sos.pressed"

    @invariant()
    def life_moves_along_allowed_edges(self) -> None:
        """I4; an acknowledgement is lost only when it grows graver, or when what was closed is not over after all."""
        last: dict[str, Any] = {}
        back: set[str] = set()
        for event in self.events:
            a, before = event.alert, last.get(event.alert.id)
            if event.transition in ("told", "escalated"):
                assert a == before, "who was told changes nothing of it"
                continue
            assert BEFORE[event.transition](before), (event.transition, event.reason)
            assert a.revision == (0 if before is None else before.revision + 1)
            if before is not None and before.closed_at_us is not None:
                returns = (event.transition, event.reason) == ("grew", "GRAVER") or (
                    (event.transition, event.reason) == ("amended", "BEGAN_AGAIN") and before.outcome is None
                )
                if event.reason == "FLAPPING":
                    assert before.outcome is None, "what a person closed is not joined"
                    assert a.acknowledged_by == before.acknowledged_by
                elif returns and a.closed_at_us is None:
                    assert (a.acknowledged_at_us, a.outcome, a.cleared_at_us) == (None, None, None)
                    back.add(a.id)
                else:
                    assert a.closed_at_us == before.closed_at_us, "closed is closed"
            if event.reason == "BEGAN_AGAIN" and before.retracted and a.closed_at_us is None:
                assert a.acknowledged_at_us is None, "whoever took it heard that it was not so"
                back.add(a.id)
            if event.transition == "realarmed":
                assert before.acknowledged_by == event.detail, "it says who had it"
                back.add(a.id)
            if event.transition == "grew" and a.closed_at_us is None:
                assert a.acknowledged_at_us is None, "whoever took it took a lesser one"
                back.add(a.id)
            if event.transition in ("acknowledged", "closed"):
                back.discard(a.id)
            if event.transition == "closed" and not a.held and (a.severity == "critical" or a.rule == "sos.pressed"):
                assert event.actor != "policy" and a.outcome
            if event.transition == "merged":
                assert last[event.detail].closed_at_us is None, "merged into what is closed"
            if a.closed_at_us is None and a.severity == "critical":
                assert a.shelved_until_us is None, "a critical one on the shelf"
            last[a.id] = a
        for name, by in self.acknowledged.items():
            if name in back:
                continue  # it came back, and is nobody's
            assert last[name].acknowledged_by == by
            assert last[name].acknowledged_at_us is not None
        for name, notes in self.notes.items():
            assert list(last[name].notes) == notes

    @invariant()
    def what_the_ledger_has_is_not_taken_back(self) -> None:
        """But for what a person has closed since."""
        for name, alert in self.store.alerts_of().items():
            a = self.known[alert]
            if name in self.ledger.episodes and name == a.episode_ids[-1] and not a.outcome:
                assert not a.retracted, name

    @invariant()
    def what_goes_on_is_not_shown_as_over(self) -> None:
        mapped = self.store.alerts_of()
        for of in self.active:
            a = self.known.get(mapped.get(of.id, ""))
            if a is not None and a.closed_at_us is None:
                assert a.cleared_at_us is None and not a.retracted

    @invariant()
    def the_store_is_the_fold_of_its_events(self) -> None:
        found = self.store.unpublished(most=10_000)
        assert found == self.events
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        opened = {a.id: a for a in self.known.values() if a.closed_at_us is None}
        assert {a.id: a for a in self.store.open_alerts()} == opened

    @invariant()
    def the_audit_is_whole(self) -> None:
        """I6."""
        assert self.store.audit_fault() is None


EXAMPLES = int(os.environ.get("RAHDAR_BOOK_EXAMPLES", "40"))  # a campaign: 10000, with 50 steps
STEPS = int(os.environ.get("RAHDAR_BOOK_STEPS", "30"))
pytestmark = pytest.mark.timeout(0 if EXAMPLES > 40 else 600)
TestBook = Book.TestCase
TestBook.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
)


class OnServer(Book):
    """The same in PostgreSQL."""

    server = ""

    def place(self) -> str:
        afresh(self.server)
        return self.server


def test_the_book_in_postgresql() -> None:
    with postgres() as url:
        OnServer.server = url
        of = settings(max_examples=4, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
        run_state_machine_as_test(OnServer, settings=of)
