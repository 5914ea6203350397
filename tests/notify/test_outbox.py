"""Who is told, when, and when nobody has to be told any more: through the alert stage's own store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.notify.leases import Leases, Task
from pipeline.notify.outcome import Accepted, Outcome, Passing, Permanent, Sent, Unknown
from pipeline.plan.model import Convoy
from pipeline.plan.roster import Span
from tests.alert.builders import at, change, episode, sos
from tests.notify.builders import Stage, convoyed, ladder, manned, officer, post, roster, rung, said

Opens = Callable[..., Stage]
E = episode()


def taken(stage: Stage, minute: float, name: str = "n", most: int = 100) -> list[Task]:
    leases = Leases(stage.url, name)
    try:
        return leases.take(at(minute), most, critical=False)
    finally:
        leases.close()


def went(stage: Stage, minute: float, outcome: Outcome) -> list[Task]:
    """Everything that is due is sent, with this outcome."""
    leases = Leases(stage.url, "n")
    try:
        tasks = leases.take(at(minute), 100, critical=False)
        for task in tasks:
            leases.done(task, outcome, at(minute))
        return tasks
    finally:
        leases.close()


# ---- the ladder -----------------------------------------------------------------------------------------------------------


def test_the_owner_is_told_with_the_alert(stage: Opens) -> None:
    s = stage()
    assert said(s.opens(1, E)) == [("opened", "BEGAN")]
    assert s.told() == ["amina"]


@pytest.mark.parametrize(("minute", "then"), [(5.9, []), (6.0, ["bilal"]), (6.1, ["bilal"])])
def test_the_next_level_is_told_when_nobody_has_acknowledged(stage: Opens, minute: float, then: list[str]) -> None:
    s = stage()
    s.opens(1, E)
    events = s.time(minute)
    assert s.told() == ["amina", *then]
    assert said(events) == ([("escalated", "NOT_ACKNOWLEDGED")] if then else [])


@pytest.mark.parametrize("what", ["acknowledge", "shelve", "close"])
def test_an_answer_stops_the_climb(stage: Opens, what: str) -> None:
    s = stage()
    s.opens(1, E)
    more = {"until_us": at(60)} if what == "shelve" else {"outcome": "false"} if what == "close" else {}
    s.orders(2, what, E, **more)
    assert s.told() == [] and s.told("cancelled") == ["amina"]
    assert s.time(10) == []


def test_an_acknowledgement_that_is_taken_back_begins_the_climb_again(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    s.orders(2, "acknowledge", E)
    s.orders(3, "unacknowledge", E)
    assert s.told() == ["amina"]
    s.time(8)
    assert s.told() == ["amina", "bilal"]


def test_what_grew_graver_is_told_again_at_its_new_revision(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    s.changes(2, change("amend", episode(severity="high"), E, revision=2))
    assert [(r["revision"], r["state"]) for r in s.rows()] == [(0, "cancelled"), (1, "pending")]


@pytest.mark.parametrize("severity", ["critical", "high"])
def test_what_somebody_had_taken_and_grew_graver_climbs_again(stage: Opens, severity: str) -> None:
    s = stage()
    s.opens(1, E)
    assert [t.repeat for t in went(s, 1, Sent(""))] == [False]
    s.orders(2, "acknowledge", E)
    assert [
        (e.transition, e.detail) for e in s.changes(3, change("amend", episode(severity=severity), E, revision=2))
    ] == [("grew", "amina")]
    (again,) = went(s, 3, Sent(""))
    assert (again.person, again.message.severity, again.message.revision, again.repeat) == ("amina", severity, 2, False)
    s.time(8)
    assert s.told() == ["bilal"], "until somebody takes that"
    s.orders(9, "acknowledge", E)
    assert s.told() == []


def test_what_was_over_before_anybody_took_it_and_comes_back_climbs_again(stage: Opens) -> None:
    """It comes and goes: told by the alert that is there, for the third time within ten minutes."""
    s = stage()
    for minute in (1, 3):
        s.opens(minute, episode(minute, severity="high"))
        s.changes(minute + 1, change("end", episode(minute, minute + 1, severity="high"), revision=2))
        went(s, minute + 1, Sent(""))
    assert s.told() == []
    assert said(s.opens(5, episode(5, severity="high"))) == [("amended", "BEGAN_AGAIN")]
    assert s.told() == ["amina"]
    s.changes(6, change("end", episode(5, 6, severity="high"), revision=2))
    assert said(s.opens(7, episode(7, severity="high"))) == [("amended", "FLAPPING")]
    assert s.told() == ["amina"], "it was not over yet: nobody is told at every turn"


def test_a_corrected_detail_pages_nobody(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    s.changes(2, change("amend", episode(peak=5.0), E, revision=2))
    assert len(s.rows()) == 1


def test_the_last_step_is_repeated_until_somebody_answers(stage: Opens) -> None:
    s = stage(manned(roster(ladders=[ladder(rung(0, "owner"), again=5)])))
    s.opens(0, E)
    for minute in (5, 10, 15):
        assert ("escalated", "AGAIN") in said(s.time(minute))
    assert s.told() == ["amina"] * 4
    tasks = taken(s, 15)
    assert [t.repeat for t in tasks] == [False, True, True, True], (
        "a person hears of one revision once, or with 'repeat'"
    )


def test_a_critical_alert_that_is_over_is_still_told_until_somebody_answers(stage: Opens) -> None:
    s = stage()
    critical = episode(severity="critical")
    s.opens(1, critical)
    s.changes(2, change("end", episode(ended=2, severity="critical"), revision=2))
    assert s.told() == ["amina"]
    s.opens(3, episode(2, subject="v2"))
    s.changes(4, change("end", episode(2, 4, subject="v2"), revision=2))
    assert s.told("held") == ["amina"], "and the other one, which was not critical, is a line of a digest"


def test_what_was_over_before_they_could_be_told_is_a_line_of_a_digest_for_those_who_have_heard_nothing(
    stage: Opens,
) -> None:
    """No notifier lived, their server was down, or their limit held it back."""
    both = roster(
        posts=[post("post", "amina", "bilal")],
        officers=[officer("amina", most=1), officer("bilal", most=1)],
        ladders=[ladder(rung(0, "owner"))],
    )
    s = stage(manned(both))
    other = episode(0, subject="v2")
    s.opens(1, E)
    leases = Leases(s.url, "n")
    first, second = leases.take(at(1), 9, critical=False)
    leases.done(first, Sent("ok"), at(1))
    leases.done(second, Passing("busy"), at(1))
    s.opens(1.1, other)
    assert s.told("held") == ["amina", "bilal"]
    s.changes(1.2, change("end", episode(0, 1.2), revision=2), change("end", episode(0, 1.2, subject="v2"), revision=2))
    assert s.told("pending") == []
    s.time(3)
    digests = {task.person: set(task.message.alerts) for task in leases.take(at(3), 9, critical=False)}
    assert digests == {first.person: {other.id}, second.person: {E.id, other.id}}
    leases.close()


def test_what_is_over_while_it_is_being_sent_is_sent_all_the_same(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    leases = Leases(s.url, "n")
    (task,) = leases.take(at(1), 9, critical=False)
    s.changes(1.1, change("end", episode(0, 1.1), revision=2))
    leases.done(task, Passing("busy"), at(1.1))
    (again,) = leases.take(at(1.2), 9, critical=False)
    assert (again.id, again.repeat) == (task.id, False)
    leases.close()


# ---- nobody there -----------------------------------------------------------------------------------------------------------


def test_nobody_on_call_is_the_next_level_at_once_and_a_loud_alert(stage: Opens) -> None:
    s = stage(manned(roster(posts=[post("post"), post("chief", "bilal")])))
    events = s.opens(1, E)
    assert said(events)[:4] == [
        ("opened", "BEGAN"),
        ("escalated", "NOBODY_ON_CALL"),
        ("escalated", "NOT_ACKNOWLEDGED"),
        ("opened", "NOBODY_ON_CALL"),
    ]
    loud = events[3].alert
    assert (loud.rule, loud.subject, loud.severity) == ("roster.unreachable", "post", "critical")
    assert s.told() == ["bilal", "bilal"], "of the alert, and of the empty post"


def test_the_loud_alert_is_one_and_ends_when_somebody_is_there(stage: Opens) -> None:
    away = Span("", ("amina",), at(0), at(10))
    s = stage(manned(roster(leave=[away])))
    s.opens(1, E)
    events = s.opens(2, episode(2, subject="v2"))
    assert ("opened", "NOBODY_ON_CALL") not in said(events)
    assert ("cleared", "REACHABLE_AGAIN") not in said(s.time(9))
    assert ("cleared", "REACHABLE_AGAIN") in said(s.time(10))


def test_a_post_that_was_not_reached_is_so_until_somebody_on_it_was(stage: Opens) -> None:
    """The stage reads of a failure a little after it was written."""
    s = stage()
    s.opens(1, E)
    went(s, 1, Permanent("refused"))
    assert ("opened", "SEND_FAILED") in said(s.time(1.01))
    assert ("cleared", "REACHABLE_AGAIN") not in said(s.time(1.5)), "nothing has got through since"
    s.opens(2, episode(2, subject="v2"))
    went(s, 2, Sent("ok"))
    assert ("cleared", "REACHABLE_AGAIN") in said(s.time(2.01))


def test_a_post_of_two_of_whom_one_was_reached_is_not_unreachable(stage: Opens) -> None:
    both = roster(posts=[post("post", "amina", "bilal")], ladders=[ladder(rung(0, "owner"), rung(5, "owner"))])
    s = stage(manned(both))
    s.opens(1, E)
    leases = Leases(s.url, "n")
    first, second = leases.take(at(1), 9, critical=False)
    leases.done(first, Permanent("refused"), at(1))
    assert said(s.time(1.1)) == [("escalated", "SEND_FAILED")], "the other one is being told"
    leases.done(second, Permanent("refused"), at(1.2))
    leases.close()
    assert {("opened", "SEND_FAILED"), ("escalated", "NOT_ACKNOWLEDGED")} <= set(said(s.time(1.3)))


def test_an_override_replaces_the_shift(stage: Opens) -> None:
    s = stage(manned(roster(overrides=[Span("post", ("bilal",), at(0), at(2))])))
    s.opens(1, E)
    s.opens(2, episode(2, subject="v2"))
    assert s.told() == ["bilal", "amina"]


# ---- sending ----------------------------------------------------------------------------------------------------------------


def test_a_receipt_is_an_event_of_the_alert(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    went(s, 1, Sent("250 ok"))
    events = s.time(2)
    assert [(e.transition, e.detail, e.alert.id) for e in events] == [("told", "amina 250 ok", E.id)]
    assert s.time(3) == []


def test_a_channel_that_refuses_is_left_for_the_next_one(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", "gsm", "webhook"), officer("bilal")])))
    s.opens(1, E)
    assert [t.channel for t in went(s, 1, Permanent("no such number"))] == ["gsm"]
    assert [(t.channel, t.repeat) for t in went(s, 1, Sent("ok"))] == [("webhook", False)]


def test_what_fails_for_good_is_escalated_at_once_and_loudly(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    went(s, 1, Permanent("refused"))
    events = s.time(1.1)
    assert ("escalated", "SEND_FAILED") in said(events) and ("opened", "SEND_FAILED") in said(events)
    assert "bilal" in s.told()


def test_whose_ladder_is_at_an_end_and_nobody_was_reached_is_tried_again_until_somebody_is(stage: Opens) -> None:
    """Every network was down for a quarter of an hour."""
    s = stage()
    s.opens(1, E)
    minute = 1.0
    while minute < 16:
        went(s, minute, Permanent("refused"))
        minute += 1
        s.time(minute)
    assert s.told("sent") == [] and {"amina", "bilal"} == set(s.told("failed"))
    tries = len([r for r in s.rows(alert=E.id) if r["state"] == "failed"])
    assert 3 <= tries <= 4, "each, and then the last one every five minutes"
    while not s.rows(alert=E.id, state="sent"):
        went(s, minute, Sent("ok"))
        minute += 1
        s.time(minute)
        assert minute < 24
    (last,) = s.rows(alert=E.id, state="sent")
    assert (last["person"], last["touched"]) == ("bilal", 1)
    s.time(60)
    assert not [r for r in s.rows(alert=E.id) if r["state"] == "pending"], "he has it"


def test_what_may_pass_is_tried_again_and_then_given_up(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    minute, tries = 1.0, 0
    while not s.rows(state="failed"):
        tries += len([t for t in went(s, minute, Passing("busy")) if t.person == "amina"])
        minute += 0.02
        assert minute < 3, s.rows()
    assert tries == 4
    assert [r["touched"] for r in s.rows(state="failed")] == [0], "none of these can have arrived"


def test_what_may_have_arrived_is_repeated_by_name(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    assert [t.repeat for t in went(s, 1, Unknown("timed out"))] == [False]
    assert [t.repeat for t in went(s, 1.1, Sent("ok"))] == [True]


def test_a_sender_that_died_is_followed_by_one_that_says_repeat(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    assert len(taken(s, 1)) == 1
    assert taken(s, 1.1) == [], "its lease is not over"
    again = Leases(s.url, "n")
    assert again.take_back() == 1, "the same one, started again, need not wait"
    assert [t.repeat for t in again.take(at(1.1), 9, critical=False)] == [True]
    again.close()
    assert [t.repeat for t in taken(s, 1.3, "another")] == [True], "another one waits for the lease to end"


def test_only_the_one_with_the_lease_says_how_it_went(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    slow = Leases(s.url, "slow")
    (task,) = slow.take(at(1), 9, critical=False)
    taken(s, 2, "other")
    slow.done(task, Sent("ok"), at(2))
    slow.close()
    assert [r["state"] for r in s.rows()] == ["sending"]


def test_a_report_that_does_not_come_is_no_telling(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", "gsm", "webhook"), officer("bilal")])))
    s.opens(1, E)
    went(s, 1, Accepted("7", 30))
    assert s.time(1.2) == [], "nobody is told before the report"
    leases = Leases(s.url, "n")
    assert leases.overdue(at(1.4)) == 0 and leases.overdue(at(1.6)) == 1
    (task,) = leases.take(at(1.6), 9, critical=False)
    assert (task.channel, task.repeat) == ("webhook", True)
    leases.close()


def test_there_is_something_to_do_exactly_when_somebody_would_do_something(stage: Opens) -> None:
    """A telling that is due, a lease that ran out, a report that did not come."""
    s = stage(manned(roster(officers=[officer("amina", "gsm", "webhook"), officer("bilal")])))
    leases = Leases(s.url, "n")
    assert not leases.due(at(1))
    s.opens(1, E)
    assert leases.due(at(1))
    (task,) = leases.take(at(1), 9, critical=False)
    assert (leases.due(at(1.1)), leases.due(at(1.2))) == (False, True), "its lease is ten seconds"
    leases.renew([task.id], at(1.1))
    leases.done(task, Accepted("7", 30), at(1.2))
    assert (leases.due(at(1.6)), leases.due(at(1.8))) == (False, True)
    leases.overdue(at(1.8))
    assert leases.due(at(1.8)), "the next channel"
    leases.close()


def test_a_report_ends_it(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", "gsm", "webhook"), officer("bilal")])))
    s.opens(1, E)
    went(s, 1, Accepted("7", 30))
    leases = Leases(s.url, "n")
    assert leases.report("7", True, "delivered", at(1.1)) and not leases.report("8", True, "?", at(1.1))
    leases.close()
    assert said(s.time(1.2)) == [("told", "RECEIPT")]


def test_what_is_acknowledged_meanwhile_is_not_tried_again(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    leases = Leases(s.url, "n")
    (task,) = leases.take(at(1), 9, critical=False)
    s.orders(1, "acknowledge", E)
    leases.done(task, Passing("busy"), at(1))
    leases.close()
    assert s.told("cancelled") == ["amina"]


# ---- few messages -----------------------------------------------------------------------------------------------------------


def test_a_limit_holds_back_what_is_not_critical_and_sums_it_up(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", most=2), officer("bilal")], ladders=[ladder(rung(0, "owner"))])))
    s.opens(1, *(episode(0, subject=f"v{n}") for n in range(5)))
    assert len(s.told()) == 2 and len(s.told("held")) == 3
    s.opens(1, sos())
    assert len(s.told()) == 3, "an SOS is never held back"
    s.time(2.1)
    (row,) = s.rows(kind="digest")
    assert row["person"] == "amina" and s.told("held") == []


def test_the_gravest_goes_first(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", most=100), officer("bilal")])))
    s.opens(1, *(episode(0, subject=f"v{n}") for n in range(20)))
    s.opens(1, sos())
    assert taken(s, 1)[0].message.rule == "sos.pressed"


def test_what_began_and_ended_meanwhile_is_one_digest(stage: Opens) -> None:
    s = stage(manned(roster(ladders=[ladder(rung(0, "owner"))])))
    over = [episode(0, 5, subject=f"v{n}") for n in range(4)]
    s.opens(60, *over, episode(50, subject="v9"), sos(3))
    assert len(s.told()) == 2, "the SOS, and what is still active"
    s.time(61)
    assert len(s.rows(kind="digest")) == 1
    went(s, 61, Sent("ok"))
    events = s.time(62)
    assert sorted(e.alert.subject for e in events if e.reason == "DIGEST") == ["v0", "v1", "v2", "v3"]


# ---- corrections and the road -------------------------------------------------------------------------------------------------


def test_whoever_was_told_learns_once_that_it_was_not_so(stage: Opens) -> None:
    s = stage()
    s.opens(1, E)
    went(s, 1, Sent("ok"))
    s.time(6)
    assert s.told() == ["bilal"]
    s.changes(7, change("retract", E, revision=2))
    assert [(r["person"], r["kind"]) for r in s.rows(state="pending")] == [("amina", "correction")]
    s.changes(8, change("retract", E, revision=2))
    assert len(s.rows(kind="correction")) == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_taken_back_and_given_back_before_the_correction_went_out_is_told_without_it(
    stage: Opens, at_once: bool
) -> None:
    """The two would arrive in any order; and whoever had acknowledged it is not who has it now."""
    s = stage(manned(roster(ladders=[ladder(rung(0, "owner"))])))
    s.opens(1, E)
    went(s, 1, Sent("ok"))
    s.orders(2, "acknowledge", E)
    taken_back, given_back = change("retract", E, revision=2), change("begin", E, revision=3)
    if at_once:
        s.changes(3, taken_back, given_back)
    else:
        s.changes(3, taken_back)
        s.changes(3, given_back)
    assert [(t.person, t.message.kind) for t in went(s, 3, Sent("ok"))] == [("amina", "alert")]


def test_whoever_was_told_by_a_digest_learns_too_that_it_was_not_so(stage: Opens) -> None:
    s = stage(manned(roster(officers=[officer("amina", most=1), officer("bilal")], ladders=[ladder(rung(0, "owner"))])))
    first, second, third = (episode(0, subject=f"v{n}") for n in (1, 2, 3))
    s.opens(1, first, second)
    s.time(2.1)
    s.opens(2.1, third)
    assert [t.message.kind for t in went(s, 2.1, Sent("ok"))] == ["alert", "digest"]
    assert s.told("held") == ["amina"]
    s.changes(3, change("retract", second, revision=2), change("retract", third, revision=2))
    assert [(t.message.alert, t.message.kind) for t in went(s, 3, Sent("ok"))] == [(second.id, "correction")]


@pytest.mark.parametrize(("what", "hears"), [("sos", ["v1-d0", "v2-d0"]), ("duress", ["v2-d0"])])
def test_the_escorts_hear_of_it_and_of_duress_never_its_own_vehicle(stage: Opens, what: str, hears: list[str]) -> None:
    of = manned(vehicles=("v1", "v2", "v3"))
    of = convoyed(of, Convoy("k", "r", {"en": "K"}, ("v1", "v2", "v3"), ("v3",), ("v1", "v2"), 500.0))
    s = stage(of)
    s.opens(1, episode(0, 0, "critical", "v1", rule="sos.pressed", what=what))
    assert sorted(r["person"] for r in s.rows(kind="downlink")) == hears


@pytest.mark.parametrize("kind", ["begin", "amend", "end"])
@pytest.mark.parametrize(("ended", "severity"), [(None, "critical"), (5, "critical"), (None, "medium"), (5, "medium")])
def test_whoever_was_told_that_it_was_not_so_learns_that_it_was(
    stage: Opens, kind: str, ended: float | None, severity: str
) -> None:
    """Late fixes took it back, later ones gave it back; by then it may be over."""
    s = stage(manned(roster(ladders=[ladder(rung(0, "owner"))])))
    s.opens(1, episode(severity=severity))
    went(s, 1, Sent("ok"))
    s.changes(7, change("retract", episode(severity=severity), revision=2))
    assert [t.message.kind for t in went(s, 7, Sent("ok"))] == ["correction"]
    s.changes(8, change(kind, episode(0, ended, severity), revision=3))
    s.time(9)
    (again,) = went(s, 9.1, Sent("ok"))
    assert again.message.kind == ("digest" if ended and severity == "medium" else "alert") and not again.repeat
    assert s.store.alert(E.id).retracted is False  # type: ignore[union-attr]
