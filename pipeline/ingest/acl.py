"""What a login may publish and hear: its own topics, nothing else."""

from __future__ import annotations

import re

from pipeline.normalise.formats import FORMATS

_SHARD = r"[A-Za-z0-9_-]{1,32}"
_V1 = re.compile(rf"v1/{_SHARD}/([A-Za-z0-9_-]{{1,32}})/({'|'.join([*FORMATS, 'receipt'])})(/[A-Za-z0-9_-]{{1,32}})?\Z")
_OWNTRACKS = re.compile(
    r"owntracks/([A-Za-z0-9_-]{1,32})/[A-Za-z0-9_.-]{1,64}(/(event|waypoint|waypoints|status|dump|steps|card))?\Z"
)
_DOWN = re.compile(rf"v1/(?:\+|{_SHARD})/([A-Za-z0-9_-]{{1,32}})/down\Z")


def may_publish(login: str, topic: str) -> bool:
    found = _V1.match(topic) or _OWNTRACKS.match(topic)
    return found is not None and found[1] == login


def may_subscribe(login: str, topic_filter: str) -> bool:
    found = _DOWN.match(topic_filter)
    return found is not None and found[1] == login
