"""The stories, in the order in which they are listed: demo, document and test at once."""

from __future__ import annotations

from simulators.scenarios import bad_network, first_watch, gorge_backlog, handover, night, parking, quiet_hour, sos
from simulators.story import Story

STORIES: dict[str, Story] = {
    story.name: story
    for story in (
        first_watch.STORY,
        quiet_hour.STORY,
        gorge_backlog.STORY,
        parking.NOISY,
        parking.BORDER,
        bad_network.STORY,
        sos.STORY,
        night.STORY,
        handover.STORY,
    )
}
