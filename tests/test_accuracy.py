"""The measurement of accuracy can fail, and one day of it holds."""

from __future__ import annotations

import numpy as np

from pipeline.detect.engine import Engine
from pipeline.model.episode import Ledger
from tests.accuracy import SKIES, Score, Stretch, columns, day, ground, judged, reporting_every, score, true_stretches

RULES = ("area.forbidden", "route.deviation", "stop.unscheduled")


def test_a_day_of_reports_every_five_seconds_is_told_as_it_was() -> None:
    plan, world, road = ground(1)
    track = day(world, road, 0)
    stretches = true_stretches(plan, road, track.at(np.arange(0, 86_400, 1.0)))
    scores = {rule: Score() for rule in RULES}
    ledger = judged(Engine(reporting_every(plan, 5)), columns(plan, world, track, 0, SKIES[0], 5))
    score(scores, ledger, stretches, 5)
    for rule in RULES:
        assert scores[rule].true >= 5, rule
        assert (scores[rule].found, scores[rule].invented) == (scores[rule].true, 0), rule

    nothing, everything = {rule: Score() for rule in RULES}, {rule: Score() for rule in RULES}
    score(nothing, Ledger(), stretches, 5)
    score(everything, ledger, [Stretch("route.deviation", road, 0.0, 1.0, True)], 5)
    assert [nothing[rule].found for rule in RULES] == [0, 0, 0]
    assert all(everything[rule].invented == everything[rule].told > 0 for rule in RULES)
