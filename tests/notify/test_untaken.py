"""A notifier that is dead can tell nobody that it is: the desk has a critical alert about it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.notify.leases import Leases
from pipeline.notify.outcome import Sent
from tests.alert.builders import at, episode
from tests.notify.builders import Stage, said

Opens = Callable[..., Stage]
E, F = episode(), episode(0.5)
PATIENCE_US = 30_000_000
BEGAN = [("opened", "TELLINGS_NOT_TAKEN")]


def test_tellings_that_nobody_takes_are_an_alert_until_somebody_does(stage: Opens) -> None:
    s = stage(patience_us=PATIENCE_US)
    assert s.time(0.5) == []
    s.opens(1, E)
    assert s.time(1.4) == []
    (event,) = s.time(1.5)
    assert said([event]) == BEGAN
    assert (event.alert.rule, event.alert.severity, event.alert.subject) == (
        "pipeline.notifier",
        "critical",
        "pipeline",
    )
    assert event.alert.owner_post and event.alert.response
    assert s.time(1.6) == [], "once"
    assert {row["alert"] for row in s.rows()} == {E.id}, "of what is not sent no message can tell"
    leases = Leases(s.url, "n")
    (task,) = leases.take(at(2), 10, critical=False)
    (ended,) = s.time(2)
    assert said([ended]) == [("cleared", "TELLINGS_TAKEN_AGAIN")]
    assert ended.alert.closed_at_us is None, "a person has to have seen it"
    leases.done(task, Sent(""), at(2))
    leases.close()
    assert said(s.time(3)) == [("told", "RECEIPT")]


def test_a_notifier_that_is_busy_is_not_dead(stage: Opens) -> None:
    """It has no hand free for the second, and renews its lease of the first."""
    s = stage(patience_us=PATIENCE_US)
    s.time(0.5)
    s.opens(1, E, F)
    leases = Leases(s.url, "n")
    (task,) = leases.take(at(1), 1, critical=False)
    leases.renew([task.id], at(3))
    leases.close()
    assert [e.transition for e in s.time(3.1)] == []
    assert said(s.time(3.2)) == BEGAN, "its lease is over: it was killed"


def test_one_that_dies_with_everything_in_hand_is_missed(stage: Opens) -> None:
    s = stage(patience_us=PATIENCE_US)
    s.time(0.5)
    s.opens(1, E)
    leases = Leases(s.url, "n")
    assert len(leases.take(at(1), 10, critical=False)) == 1
    leases.close()
    assert s.time(1.6) == [], "ten seconds of lease, then patience"
    assert said(s.time(1.7)) == BEGAN


def test_after_a_power_cut_the_notifier_has_time_to_start_too(stage: Opens) -> None:
    stage(patience_us=PATIENCE_US).opens(1, E)
    s = stage(patience_us=PATIENCE_US)
    assert said(s.time(10)) == [("escalated", "NOT_ACKNOWLEDGED")]
    assert s.time(10.4) == []
    assert said(s.time(10.5)) == BEGAN
    s = stage(patience_us=PATIENCE_US)
    assert s.time(11) == [], "a restart of ours is no news of it"
