"""Every edge of an alert's life, and every reason for which one is not taken."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.alert.acts import OUTCOMES, on_command, on_time
from pipeline.alert.book import Decision, on_change, speaking_for
from pipeline.model.alert import Alert
from pipeline.model.episode import Change
from tests.alert.builders import HOUR, WORDS, alert, at, change, command, episode, sos
from tests.detect.plans import setting

NOW = at(10)
E, LATER = episode(), episode(5)
ENDED = episode(ended=4)
ACKED: dict[str, Any] = {"acknowledged_at_us": at(2), "acknowledged_by": "amina"}
CLEARED: dict[str, Any] = {"cleared_at_us": at(4)}
CLOSED: dict[str, Any] = {"closed_at_us": at(6)}


def decide(known: list[Alert], what: Change) -> Decision:
    return on_change(known, what, setting(what.episode.rule), "r", WORDS, NOW)


def edges(decision: Decision) -> list[tuple[str, str]]:
    return [(step.transition, step.reason) for step in decision.steps]


# known alerts, what detect says, the edges taken, the reason held
CHANGES: list[tuple[str, list[Alert], Change, list[tuple[str, str]], str]] = [
    ("begins", [], change("begin", E), [("opened", "BEGAN")], ""),
    ("begins late", [], change("begin", E, late=True), [("opened", "LATE")], ""),
    ("first heard of when over", [], change("end", ENDED), [("opened", "BEGAN"), ("cleared", "ENDED")], ""),
    ("a press", [], change("begin", sos()), [("opened", "BEGAN")], ""),
    ("shadow begins", [], change("begin", E, mode="shadow"), [], "HELD_SHADOW"),
    ("shadow ends", [], change("end", ENDED, mode="shadow"), [], "HELD_SHADOW"),
    ("off", [], change("begin", E, mode="off"), [], "HELD_OFF"),
    ("gone before it was told", [], change("retract", E), [], "NOTHING_TOLD"),
    ("begins again, told twice", [alert()], change("begin", E), [], "REPEATED"),
    ("begin repeated after its end", [alert(**CLEARED)], change("begin", E), [], "REPEATED"),
    ("grows", [alert()], change("amend", episode(severity="high")), [("grew", "GRAVER")], ""),
    ("grows to the gravest", [alert()], change("amend", episode(severity="critical")), [("grew", "GRAVER")], ""),
    ("grows and ends", [alert()], change("end", episode(ended=4, severity="high")), [("grew", "GRAVER"), ("cleared", "ENDED")], ""),
    ("grows and ends, acknowledged", [alert(**ACKED)], change("end", episode(ended=4, severity="high")), [("grew", "GRAVER"), ("cleared", "ENDED")], ""),
    ("becomes less grave", [alert()], change("amend", episode(severity="low")), [("amended", "AMENDED")], ""),
    ("is dated anew", [alert()], change("amend", LATER, E), [("amended", "AMENDED")], ""),
    ("ends", [alert()], change("end", ENDED), [("cleared", "ENDED")], ""),
    ("ends, acknowledged", [alert(**ACKED)], change("end", ENDED), [("cleared", "ENDED"), ("closed", "CLEARED_AND_ACKNOWLEDGED")], ""),
    ("ends, shelved", [alert(shelved_until_us=at(60))], change("end", ENDED), [("cleared", "ENDED")], ""),
    ("ends twice", [alert(ENDED, **CLEARED)], change("end", ENDED), [], "NOTHING_NEW"),
    ("ends after a person closed it", [alert(**ACKED, **CLOSED)], change("end", ENDED), [("cleared", "ENDED")], ""),
    ("goes on after all", [alert(ENDED, **CLEARED)], change("amend", E), [("amended", "BEGAN_AGAIN")], ""),
    ("goes on after the policy closed it", [alert(ENDED, **ACKED, **CLEARED, **CLOSED)], change("amend", E), [("amended", "BEGAN_AGAIN")], ""),
    ("goes on after a person closed it", [alert(ENDED, outcome="false", **ACKED, **CLEARED, **CLOSED)], change("amend", E), [("amended", "AMENDED")], ""),
    ("gets graver after a person closed it", [alert(outcome="false", **ACKED, **CLOSED)], change("amend", episode(severity="critical")), [("grew", "GRAVER")], ""),
    ("is gone", [alert()], change("retract", E), [("retracted", "EPISODE_GONE")], ""),
    ("is gone, acknowledged", [alert(**ACKED)], change("retract", E), [("retracted", "EPISODE_GONE")], ""),
    ("is gone twice", [alert(retracted=True, **CLEARED)], change("retract", E), [], "NOTHING_NEW"),
    ("is back as an amendment", [alert(retracted=True, **CLEARED)], change("amend", E), [("amended", "BEGAN_AGAIN")], ""),
    ("is back as a beginning", [alert(retracted=True, **CLEARED)], change("begin", E), [("amended", "BEGAN_AGAIN")], ""),
    ("a press is back", [alert(sos(), retracted=True, **CLEARED)], change("begin", sos()), [("amended", "BEGAN_AGAIN")], ""),
    ("two become one", [alert(), alert(LATER, now=6)], change("amend", E, LATER), [("merged", "MERGED"), ("amended", "AMENDED")], ""),
    ("one of two closed already", [alert(), alert(LATER, now=6, **CLOSED)], change("amend", E, LATER), [("amended", "AMENDED")], ""),
    ("critical ends, acknowledged", [alert(episode(severity="critical"), **ACKED)], change("end", episode(ended=4, severity="critical")), [("cleared", "ENDED")], ""),
    ("a press amended, acknowledged", [alert(sos(severity="high"), **ACKED)], change("amend", sos(severity="high")), [("amended", "AMENDED")], ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "what", "taken", "held"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_what_an_episode_does(known: list[Alert], what: Change, taken: list[tuple[str, str]], held: str) -> None:
    decision = decide(known, what)
    assert edges(decision) == taken
    assert decision.held == held


@pytest.mark.parametrize("reason", ["GRAVER", "GRAVER_IN_GROUP", "FLAPPING"])
def test_an_acknowledgement_is_lost_when_it_grows_graver(reason: str) -> None:
    taken = alert(**ACKED, owner="amina", realarm_us=NOW + HOUR)
    graver = episode(5, severity="critical")
    if reason == "GRAVER_IN_GROUP":
        (step,) = speaking_for(taken, 1, "Also v2", "critical")
    else:
        joins = reason if reason == "FLAPPING" else ""
        what = change("begin", graver) if joins else change("amend", episode(severity="critical"))
        (step,) = on_change([taken], what, None, "r", WORDS, NOW, joins).steps
    assert (step.transition, step.alert.severity, step.detail) == ("grew", "critical", "amina")
    assert (step.alert.acknowledged_at_us, step.alert.acknowledged_by, step.alert.realarm_us) == (None, None, None)
    assert (step.alert.owner, step.alert.revision) == ("amina", taken.revision + 1)


def test_an_acknowledgement_stays_when_it_grows_no_graver() -> None:
    for severity in ("medium", "low"):
        (step,) = on_change(
            [alert(**ACKED)], change("amend", episode(severity=severity, peak=5.0)), None, "r", WORDS, NOW
        ).steps
        assert step.alert.acknowledged_by == "amina"


# the alert, what a person does, the edges taken, the reason refused
COMMANDS: list[tuple[str, Alert | None, Any, list[tuple[str, str]], str]] = [
    ("acknowledge", alert(), command("acknowledge"), [("acknowledged", "BY_OPERATOR")], ""),
    ("acknowledge twice", alert(**ACKED), command("acknowledge"), [], "ALREADY_ACKNOWLEDGED"),
    ("acknowledge, cleared", alert(**CLEARED), command("acknowledge"), [("acknowledged", "BY_OPERATOR"), ("closed", "CLEARED_AND_ACKNOWLEDGED")], ""),
    ("acknowledge, cleared critical", alert(episode(severity="critical"), **CLEARED), command("acknowledge"), [("acknowledged", "BY_OPERATOR")], ""),
    ("acknowledge a press", alert(sos()), command("acknowledge"), [("acknowledged", "BY_OPERATOR")], ""),
    ("acknowledge a lesser press", alert(sos(severity="high")), command("acknowledge"), [("acknowledged", "BY_OPERATOR")], ""),
    ("acknowledge what is closed", alert(**CLOSED), command("acknowledge"), [], "ALREADY_CLOSED"),
    ("acknowledge nothing", None, command("acknowledge"), [], "REFUSED_UNKNOWN_ALERT"),
    ("unacknowledge", alert(**ACKED), command("unacknowledge"), [("amended", "ACKNOWLEDGEMENT_TAKEN_BACK")], ""),
    ("unacknowledge without", alert(), command("unacknowledge"), [], "NOT_ACKNOWLEDGED"),
    ("unacknowledge what is closed", alert(**ACKED, **CLOSED), command("unacknowledge"), [], "ALREADY_CLOSED"),
    ("unacknowledge nothing", None, command("unacknowledge"), [], "REFUSED_UNKNOWN_ALERT"),
    ("note", alert(), command("note", text="called"), [("noted", "BY_OPERATOR")], ""),
    ("note what is closed", alert(**CLOSED), command("note", text="after all"), [("noted", "BY_OPERATOR")], ""),
    ("note without words", alert(), command("note", text=" \n"), [], "REFUSED_EMPTY_NOTE"),
    ("note nothing", None, command("note", text="called"), [], "REFUSED_UNKNOWN_ALERT"),
    ("shelve", alert(), command("shelve", until_us=NOW + HOUR), [("shelved", "BY_OPERATOR")], ""),
    ("shelve for eight hours", alert(), command("shelve", until_us=NOW + 8 * HOUR), [("shelved", "BY_OPERATOR")], ""),
    ("shelve for longer", alert(), command("shelve", until_us=NOW + 8 * HOUR + 1), [], "REFUSED_SHELF_TIME"),
    ("shelve until now", alert(), command("shelve", until_us=NOW), [], "REFUSED_SHELF_TIME"),
    ("shelve for ever", alert(), command("shelve"), [], "REFUSED_SHELF_TIME"),
    ("shelve critical", alert(sos()), command("shelve", until_us=NOW + HOUR), [], "REFUSED_CRITICAL"),
    ("shelve what is closed", alert(**CLOSED), command("shelve", until_us=NOW + HOUR), [], "ALREADY_CLOSED"),
    ("shelve nothing", None, command("shelve", until_us=NOW + HOUR), [], "REFUSED_UNKNOWN_ALERT"),
    ("unshelve", alert(shelved_until_us=at(60)), command("unshelve"), [("unshelved", "BY_OPERATOR")], ""),
    ("unshelve without", alert(), command("unshelve"), [], "NOT_SHELVED"),
    ("unshelve what is closed", alert(shelved_until_us=at(60), **CLOSED), command("unshelve"), [], "ALREADY_CLOSED"),
    ("unshelve nothing", None, command("unshelve"), [], "REFUSED_UNKNOWN_ALERT"),
    ("hand over", alert(), command("hand_over", text="night shift"), [("handed_over", "BY_OPERATOR")], ""),
    ("hand over what is closed", alert(**CLOSED), command("hand_over"), [], "ALREADY_CLOSED"),
    ("hand over nothing", None, command("hand_over"), [], "REFUSED_UNKNOWN_ALERT"),
    *[(f"close as {outcome}", alert(), command("close", outcome=outcome), [("closed", "BY_OPERATOR")], "") for outcome in OUTCOMES],
    ("close critical", alert(sos()), command("close", outcome="real"), [("closed", "BY_OPERATOR")], ""),
    ("close without outcome", alert(), command("close"), [], "REFUSED_NO_OUTCOME"),
    ("close with another word", alert(), command("close", outcome="fine"), [], "REFUSED_NO_OUTCOME"),
    ("close twice", alert(**CLOSED), command("close", outcome="real"), [], "ALREADY_CLOSED"),
    ("close nothing", None, command("close", outcome="real"), [], "REFUSED_UNKNOWN_ALERT"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "what", "taken", "held"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_what_a_person_does(known: Alert | None, what: Any, taken: list[tuple[str, str]], held: str) -> None:
    decision = on_command(known, what, NOW)
    assert edges(decision) == taken
    assert decision.held == held


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        (alert(shelved_until_us=NOW), [("unshelved", "TIME_OVER")]),
        (alert(shelved_until_us=NOW - 1), [("unshelved", "TIME_OVER")]),
        (alert(shelved_until_us=NOW + 1), []),
        (alert(shelved_until_us=NOW, **CLOSED), []),
        (alert(), []),
    ],
    ids=["just now", "before", "not yet", "closed", "not shelved"],
)
def test_what_time_does(known: Alert, taken: list[tuple[str, str]]) -> None:
    decision = on_time(known, NOW)
    assert edges(decision) == taken
    assert decision.held == ("" if taken else "NOTHING_NEW")
    assert all(step.alert.shelved_until_us is None for step in decision.steps)


def test_every_step_is_a_revision_of_its_own() -> None:
    for _, known, what, taken, _ in CHANGES:
        revisions = [s.alert.revision for s in decide(known, what).steps if s.transition not in ("opened", "merged")]
        assert revisions == list(range(1, len(revisions) + 1)), taken


def test_the_alert_says_what_the_plan_says() -> None:
    (step,) = decide([], change("begin", E)).steps
    a = step.alert
    assert (a.id, a.episode_ids, a.rule, a.response, a.owner_post, a.respond_within_us) == (E.id, (E.id,), E.rule, "do", "post", 60_000_000)  # fmt: skip
    assert (a.began_at_us, a.opened_at_us, a.cleared_at_us, a.closed_at_us) == (at(0), NOW, None, None)
    assert (a.text, a.lead, a.place, a.lat, a.lon) == (WORDS.text, WORDS.lead, WORDS.place, WORDS.lat, WORDS.lon)


def test_an_amended_alert_keeps_its_name_its_acknowledgement_and_its_notes() -> None:
    known = alert(notes=("called",), **ACKED)
    (step,) = decide([known], change("amend", LATER, E)).steps
    a = step.alert
    assert (a.id, a.acknowledged_by, a.acknowledged_at_us, a.notes) == (E.id, "amina", at(2), ("called",))
    assert (a.began_at_us, a.episode_ids) == (at(5), (E.id, LATER.id))


def test_of_merged_alerts_the_earliest_told_survives_whatever_their_order() -> None:
    first, second = alert(LATER, now=5), alert(E, now=7)  # E began earlier, but was told later
    for known in ([first, second], [second, first]):
        gone, kept = decide(known, change("amend", E, LATER)).steps
        assert (gone.alert.id, gone.alert.closed_at_us, gone.detail) == (second.id, NOW, first.id)
        assert (kept.alert.id, kept.alert.closed_at_us) == (first.id, None)
        assert set(kept.alert.episode_ids) == {E.id, LATER.id}


def test_an_open_alert_is_not_merged_into_a_closed_one() -> None:
    """What is going on now would vanish from the desk."""
    closed, going_on = alert(E, now=1, outcome="false", **CLOSED), alert(LATER, now=7)
    decision = decide([closed, going_on], change("amend", E, LATER))
    assert edges(decision) == [("amended", "AMENDED")]
    assert (decision.steps[0].alert.id, decision.steps[0].alert.closed_at_us) == (LATER.id, None)


def test_what_is_retracted_is_cleared_and_stays_in_view() -> None:
    (step,) = decide([alert(**ACKED)], change("retract", E)).steps
    assert (step.alert.retracted, step.alert.cleared_at_us, step.alert.closed_at_us) == (True, NOW, None)


@pytest.mark.parametrize("kind", ["begin", "amend"])
@pytest.mark.parametrize("of", [E, sos()], ids=["a stop", "a press"])
def test_what_was_retracted_and_is_back_is_active_again(kind: Any, of: Any) -> None:
    (step,) = decide([alert(of, retracted=True, **CLEARED)], change(kind, of)).steps
    assert (step.alert.retracted, step.alert.cleared_at_us) == (False, None)


def test_what_grows_critical_comes_off_the_shelf() -> None:
    """A critical alert cannot be shelved, so it cannot stay there either."""
    known = alert(shelved_until_us=at(60))
    (step,) = decide([known], change("amend", episode(severity="critical"))).steps
    assert step.alert.shelved_until_us is None
    (step,) = decide([known], change("amend", episode(severity="high"))).steps
    assert step.alert.shelved_until_us == at(60)


@pytest.mark.parametrize("of", [sos(), episode(severity="critical"), sos(severity="high")])
def test_only_a_person_ends_what_is_critical_or_pressed(of: Any) -> None:
    """Acknowledged, amended, ended by its episode and by time: it is open until somebody says what it was."""
    a = alert(of)
    for step in on_command(a, command("acknowledge"), NOW).steps:
        a = step.alert
    ended = msgspec.structs.replace(of, ended_at_us=of.ended_at_us or at(4))
    for what in (change("amend", of), change("end", ended)):
        for step in decide([a], what).steps:
            a = step.alert
    assert on_time(a, at(9999)).steps == ()
    assert (a.closed_at_us, a.acknowledged_by) == (None, "amina")
    (step,) = on_command(a, command("close", outcome="real"), NOW).steps
    assert (step.alert.closed_at_us, step.alert.outcome) == (NOW, "real")


@pytest.mark.parametrize(("state", "by"), [({}, "bilal"), (ACKED, "amina")], ids=["not seen before", "seen by another"])
def test_closing_counts_as_having_seen_it(state: dict[str, Any], by: str) -> None:
    (step,) = on_command(alert(**state), command("close", by="bilal", outcome="test", text="drill"), NOW).steps
    assert (step.alert.acknowledged_by, step.alert.outcome, step.detail) == (by, "test", "drill")


def test_an_acknowledgement_names_who_and_when_and_can_be_taken_back() -> None:
    (step,) = on_command(alert(), command("acknowledge"), NOW).steps
    assert (step.alert.acknowledged_by, step.alert.acknowledged_at_us) == ("amina", NOW)
    (back,) = on_command(step.alert, command("unacknowledge"), NOW).steps
    assert (back.alert.acknowledged_by, back.alert.acknowledged_at_us) == (None, None)


def test_notes_are_added_and_none_is_lost() -> None:
    (step,) = on_command(alert(notes=("one",)), command("note", text="two"), NOW).steps
    assert step.alert.notes == ("one", "two")


@pytest.mark.parametrize(
    ("closed", "news"),
    [
        (alert(ENDED, **ACKED, **CLEARED, **CLOSED), change("amend", E)),
        (alert(outcome="false", **ACKED, **CLOSED), change("amend", episode(severity="critical"))),
    ],
    ids=["was not over", "got graver"],
)
def test_what_comes_back_stands_in_the_queue_again_as_nobodys(closed: Alert, news: Any) -> None:
    *_, step = on_change([closed], news, None, "r", WORDS, NOW).steps
    a = step.alert
    assert (a.id, a.closed_at_us, a.cleared_at_us, a.acknowledged_at_us, a.outcome) == (
        closed.id,
        None,
        None,
        None,
        None,
    )
