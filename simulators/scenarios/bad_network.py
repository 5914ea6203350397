"""The first watch once more, over a network that drops, delays, repeats and reorders, and with a clock that is wrong.

What must be told is the same as on a good day. Two patrols' clocks are an hour ahead and two days behind: that
is refused or comes too late to count, and touches nobody else.
"""

from __future__ import annotations

from simulators.faults import delay, drop, reorder, repeat, wrong_clock
from simulators.scenarios import first_watch
from simulators.story import Story

STORY = Story(
    name="bad-network",
    sentence="The first watch over a network that drops, delays, repeats and reorders: the same three must be told.",
    seconds=first_watch.STORY.seconds,
    cast=first_watch.cast,
    captions=first_watch.STORY.captions,
    expected=first_watch.STORY.expected,
    faults=(
        wrong_clock(frozenset({"p-1-tracker"}), 3600.0),
        wrong_clock(frozenset({"p-2-tracker"}), -2 * 86_400.0),
        drop(0.05),
        delay(0.10, 45.0),
        repeat(0.10, 60.0),
        reorder(4.0),
    ),
)
