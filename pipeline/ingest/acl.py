"""What a login may publish and hear: its own topics, nothing else. For the embedded broker as functions, for Mosquitto as a file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.normalise.formats import FORMATS

SPOKEN = (*FORMATS, "receipt")
OWNTRACKS = ("event", "waypoint", "waypoints", "status", "dump", "steps", "card")
NOTIFY = "rahdar-notify"
"""A login of our own; no device may have one that begins like it."""
RECEIPTS = "v1/+/+/receipt"
SHARDS = ("0", "owntracks")
"""Of a small fleet: one of `v1`, and OwnTracks' own topics. The bridge's login for a shard is the shard's name (see `mosquitto_acl`)."""

_SHARD = r"[A-Za-z0-9_-]{1,32}"
_ANY = "|".join(SPOKEN)
# No device of a gateway is called like a format: to a broker that lets in a name with a slash (a certificate for "a/native" that
# our authority would not have made), v1/0/a/native/native is a topic of its own; here it would be one of a's.
_V1 = re.compile(rf"v1/{_SHARD}/([A-Za-z0-9_-]{{1,32}})/({_ANY})(/(?!({_ANY})\Z)[A-Za-z0-9_-]{{1,32}})?\Z")
_OWNTRACKS = re.compile(rf"owntracks/([A-Za-z0-9_-]{{1,32}})/[A-Za-z0-9_.-]{{1,64}}(/({'|'.join(OWNTRACKS)}))?\Z")
_DOWN = re.compile(rf"v1/(?:\+|{_SHARD})/([A-Za-z0-9_-]{{1,32}})/down\Z")


def may_publish(login: str, topic: str) -> bool:
    return login_of(topic) == login


def may_send_down(login: str, topic: str) -> bool:
    """Our own notifier alone: a device must not write another one's downlink, nor its own."""
    return login == NOTIFY and "+" not in topic and _DOWN.match(topic) is not None


def may_subscribe(login: str, topic_filter: str) -> bool:
    if login == NOTIFY:
        return topic_filter == RECEIPTS
    found = _DOWN.match(topic_filter)
    return found is not None and found[1] == login


def login_of(topic: str) -> str | None:
    """Whose topic this is; None: nobody's."""
    found = _V1.match(topic) or _OWNTRACKS.match(topic)
    return found[1] if found else None


def filters(shard: str) -> list[str]:
    """What the bridge subscribes to: one shard of `v1`, or OwnTracks' own topics (the shard `owntracks`)."""
    if shard == "owntracks":
        return [f"owntracks/+/+{more}" for more in ("", *(f"/{name}" for name in OWNTRACKS))]
    return [f"v1/{shard}/+/{name}{more}" for name in SPOKEN for more in ("", "/+")]


def mosquitto_acl(shut_out: Iterable[str] = ()) -> str:
    """Mosquitto's `acl_file`. `%u` is who the broker found it to be. Never `#` below a login: a device would write its own downlink.
    `shut_out`: logins that may do nothing more, even on a connection that they still have.

    The bridge is called like its shard, so that its right to read is a pattern too. What is given to a user by name Mosquitto forgets,
    for sessions whose client is away, at every SIGHUP: it then acknowledges what is published and keeps it for nobody.
    """
    lines = [
        "# Made by `rahdar device`; changed there.",
        "",
        f"user {NOTIFY}",
        "topic write v1/+/+/down",
        f"topic read {RECEIPTS}",
        "",
    ]
    for login in sorted(shut_out):
        lines += [f"user {login}", "topic deny #", ""]
    lines += ["# devices: their own topics"]
    for name in SPOKEN:
        lines += [f"pattern write v1/+/%u/{name}", f"pattern write v1/+/%u/{name}/+"]
    lines += ["pattern read v1/+/%u/down", "pattern write owntracks/%u/+"]
    lines += [f"pattern write owntracks/%u/+/{name}" for name in OWNTRACKS]
    lines += ["", "# the bridge: the shard that it is called like. No device is."]
    for name in SPOKEN:
        lines += [f"pattern read v1/%u/+/{name}", f"pattern read v1/%u/+/{name}/+"]
    lines += ["pattern read %u/+/+", *(f"pattern read %u/+/+/{name}" for name in OWNTRACKS)]
    lines += ["pattern read $SYS/broker/publish/messages/dropped"]
    lines += [
        "",
        "# who came and who went: for the bridge's first shard alone",
        f"user {SHARDS[0]}",
        "topic read $SYS/broker/log/N",
    ]
    return "\n".join(lines) + "\n"
