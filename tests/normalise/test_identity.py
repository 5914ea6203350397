"""Who speaks is the login's affair; the payload only has to agree."""

from __future__ import annotations

import pytest

from pipeline.normalise.normalise import UNREGISTERED
from tests.normalise.builders import GATEWAY, SENSOR, TRACKER, item, only, outcome, record, said

ROWS = [
    # login, behind the topic's format, kind, what the payload names -> device and subject, or the reason
    (TRACKER, "", "fix", {}, ("v1-d0", "v1")),
    (TRACKER, "", "fix", {"vehicle": "v1"}, ("v1-d0", "v1")),
    (TRACKER, "", "fix", {"vehicle": "v1", "device": "v1-d0"}, ("v1-d0", "v1")),
    (TRACKER, "", "fix", {"vehicle": "v2"}, "identity_mismatch"),
    (TRACKER, "", "fix", {"device": "v2-d0"}, "identity_mismatch"),
    (TRACKER, "/v2-d0", "fix", {}, ("v1-d0", "v1")),  # a device's topic names nobody else
    (SENSOR, "", "reading", {}, (SENSOR, "s1")),
    (SENSOR, "", "reading", {"sensor": "s1"}, (SENSOR, "s1")),
    (SENSOR, "", "reading", {"sensor": "s2"}, "identity_mismatch"),
    (GATEWAY, "/v2-d0", "fix", {}, ("v2-d0", "v2")),
    (GATEWAY, "", "fix", {"device": "v2-d0"}, ("v2-d0", "v2")),
    (GATEWAY, f"/{SENSOR}", "reading", {}, (SENSOR, "s1")),
    (GATEWAY, "", "fix", {}, "unknown_device"),
    (GATEWAY, "", "fix", {"vehicle": "v2"}, "unknown_device"),  # a gateway names devices
    (GATEWAY, "", "fix", {"device": "v1-d0"}, "identity_mismatch"),
    (GATEWAY, "/v3-d0", "fix", {}, "identity_mismatch"),
    (GATEWAY, "/v2-d0", "fix", {"vehicle": "v1"}, "identity_mismatch"),
    (GATEWAY, "/v2-d0", "fix", {"device": "v2-d0"}, ("v2-d0", "v2")),
    (GATEWAY, f"/{SENSOR}", "fix", {"device": "v2-d0"}, "identity_mismatch"),  # the topic names another
    ("stray", "", "fix", {}, "unknown_device"),
    ("nobody", "", "fix", {"vehicle": "v1", "device": "v1-d0"}, "unknown_device"),
]


@pytest.mark.parametrize(("login", "behind", "kind", "names", "expected"), ROWS)
def test_identity(login: str, behind: str, kind: str, names: dict[str, str], expected: str | tuple[str, str]) -> None:
    sent = item(said(kind, **names), login=login, topic=f"v1/0/{login}/native{behind}")
    if isinstance(expected, str):
        assert outcome(sent) == expected
        return
    found = only(sent)
    assert (found.device, found.vehicle if kind == "fix" else found.sensor) == expected


PRESSES = [
    # a press speaks for the authenticated id, whatever it says
    (TRACKER, "", {}, ("v1-d0", "v1")),
    (TRACKER, "", {"subject": "v2", "device": "v2-d0"}, ("v1-d0", "v1")),
    (GATEWAY, "/v2-d0", {}, ("v2-d0", "v2")),
    (GATEWAY, "", {"device": "v2-d0"}, ("v2-d0", "v2")),
    (GATEWAY, "", {"device": "v2-d0", "seen_at": "gibberish"}, ("v2-d0", "v2")),
    # and nobody's vehicle is guessed at
    (GATEWAY, "", {"device": "v3-d0"}, (GATEWAY, GATEWAY)),
    (GATEWAY, "", {}, (GATEWAY, GATEWAY)),
    ("stray", "", {}, ("stray", "stray")),
    ("nobody", "", {"subject": "v1"}, ("nobody", "nobody")),
]


@pytest.mark.parametrize(("login", "behind", "names", "expected"), PRESSES)
def test_who_pressed(login: str, behind: str, names: dict[str, str], expected: tuple[str, str]) -> None:
    press = only(item(said("press", **names), login=login, topic=f"v1/0/{login}/native{behind}"))
    assert (press.device, press.subject) == expected


@pytest.mark.parametrize(("login", "cell"), [(TRACKER, "c"), (GATEWAY, "c"), ("nobody", UNREGISTERED)])
def test_a_press_goes_to_the_cell_of_whom_it_is_of(login: str, cell: str) -> None:
    assert set(record(item(said("press"), login=login)).batches) == {cell}


def test_owntracks_own_topic_speaks_for_its_login() -> None:
    fix = only(item(b'{"_type":"location","lat":35,"lon":73,"tst":1780000000}', topic=f"owntracks/{TRACKER}/phone"))
    assert (fix.device, fix.vehicle) == (TRACKER, "v1")


@pytest.mark.parametrize(("login", "payload", "devices"), [
    (TRACKER, b"online", ["v1-d0"]),
    (GATEWAY, b"offline", ["v2-d0", SENSOR]),
    ("nobody", b"online", []),
    (TRACKER, b"asleep", []),
])  # fmt: skip
def test_a_session_is_a_link_of_every_device_that_it_speaks_for(login: str, payload: bytes, devices: list[str]) -> None:
    out = record(item(payload, login=login, topic=f"$link/{login}"))
    told = [placed.what for batch in out.batches.values() for placed in batch.others]
    assert [(link.device, link.state) for link in told] == [(device, payload.decode()) for device in devices]
    assert out.counts["inputs"] == 1
