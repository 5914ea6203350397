"""The registry: a format is one file and one line, and the guide's template is one."""

from __future__ import annotations

import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.ingest.acl import may_publish
from pipeline.model.observation import Fix, Press, Reading
from pipeline.model.wire import RawBatch
from pipeline.normalise import formats
from pipeline.normalise.files import Reader, read_observations, unwrapped
from pipeline.normalise.formats import FORMATS, Format, by_topic, device_in
from pipeline.normalise.gate import HORIZON_US
from pipeline.normalise.normalise import Normaliser
from pipeline.plan import schema
from tests.normalise.builders import SENSOR, T0, TRACKER, item, observations, only, small_plan

HELPERS = {"__init__", "said", "backlog", "words", "uplink"}


def test_a_format_is_one_file_and_one_line(root: Path) -> None:
    folder = root / "pipeline" / "normalise" / "formats"
    assert {path.stem for path in folder.glob("*.py")} - HELPERS == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_says_its_units_and_traps_and_has_a_place_in_the_guide(root: Path, name: str) -> None:
    doc = sys.modules[f"pipeline.normalise.formats.{name}"].__doc__ or ""
    assert len(doc) > 100
    assert f"`{name}`" in (root / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
def test_the_broker_and_the_plan_know_every_format(name: str) -> None:
    assert may_publish(TRACKER, f"v1/0/{TRACKER}/{name}")
    assert may_publish(TRACKER, f"v1/0/{TRACKER}/{name}/{SENSOR}")
    assert name in get_args(schema.Format)


@pytest.mark.parametrize(
    ("topic", "name", "device"),
    [
        ("owntracks/user/phone", "owntracks", None),
        ("owntracks/user/phone/event", "owntracks", None),
        ("zigbee2mqtt/hall/door", "zigbee2mqtt", "hall/door"),
        ("zigbee2mqtt/gate/availability", "zigbee2mqtt", "gate"),
        ("zigbee2mqtt/bridge/devices", None, None),
        ("tele/porch/SENSOR", "tasmota", "porch"),
        ("tele/zb/1C9D/SENSOR", "tasmota", "zb"),
        ("stat/porch/RESULT", "tasmota", "porch"),
        ("shellies/dw-1/sensor/state", "shelly", "dw-1"),
        ("shellyplus-a1/events/rpc", "shelly", None),
        ("v3/app@ttn/devices/eui-1/up", "ttn", "eui-1"),
        ("application/1/device/0102/event/up", "chirpstack", "0102"),
        ("homeassistant/binary_sensor/gate/state", "homeassistant", "gate"),
        ("v1/0/x/native", None, None),
        ("", None, None),
    ],
)
def test_a_topic_of_its_own_program_names_format_and_device(topic: str, name: str | None, device: str | None) -> None:
    assert (by_topic(topic), device_in(topic)) == (name, device)


def test_the_guides_template_is_a_format(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "formats.md").read_text(encoding="utf-8"), re.DOTALL)
    acme = types.ModuleType("acme")
    exec(compile(code, "docs/formats.md", "exec"), acme.__dict__)
    form = acme.__dict__["FORMAT"]
    assert isinstance(form, Format)
    monkeypatch.setitem(formats.FORMATS, "acme", form)
    body: dict[str, Any] = {"id": TRACKER, "when": T0 // 1_000_000, "pos": [35.0, 73.0], "kn": 10}
    fix = only(item(json.dumps(body).encode(), form="acme"))
    assert isinstance(fix, Fix) and fix.speed_mps == pytest.approx(10 * 1852 / 3600)
    (press,) = observations(_record(body | {"pos": None, "panic": True}))
    assert isinstance(press, Press)


def _record(body: dict[str, Any]) -> Any:
    return Normaliser(small_plan()).record(RawBatch(1, "src", "h", [item(json.dumps(body).encode(), form="acme")], []))


@pytest.mark.parametrize(
    ("kind", "what"), [("sos", "sos"), ("panic", "sos"), ("duress", "duress"), ("door", None), ("button", None)]
)
def test_the_plan_says_which_button_is_an_alarm(kind: str, what: str | None) -> None:
    plan = small_plan()
    plan = replace(plan, sensors={"s1": replace(plan.sensors["s1"], kind=kind)})
    pressed = item(b'{"action":"single","battery":90}', login=SENSOR, form="zigbee2mqtt")
    out = Normaliser(plan).record(RawBatch(1, "src", "h", [pressed], []))
    found = observations(out)[0]
    if what is None:
        assert isinstance(found, Reading) and (found.what, found.value) == ("button", "single")
    else:
        assert isinstance(found, Press) and (found.subject, found.what) == ("s1", what)


LOGGED = [
    (b'{"a":1}', ("", b'{"a":1}', None)),
    (b'zigbee2mqtt/gate {"contact":true}', ("zigbee2mqtt/gate", b'{"contact":true}', None)),
    (b"shellies/dw-1/sensor/state open", ("shellies/dw-1/sensor/state", b"open", None)),
    (b'{"topic":"a/b","payload":{"c":1}}', ("a/b", b'{"c":1}', None)),
    (b'{"topic":"a/b","payload":"open"}', ("a/b", b"open", None)),
    (b'{"tst":"2026-05-28T20:26:40.000000+0000","topic":"a/b","payload":"x"}', ("a/b", b"x", T0)),
    (b'{"tst":"then","topic":"a/b","payload":"x"}', ("a/b", b"x", None)),
    (b'{"kind":"fix","topic":"a/b","payload":"x"}', ("", b'{"kind":"fix","topic":"a/b","payload":"x"}', None)),
    (b'{"topic":5,"payload":"x"}', ("", b'{"topic":5,"payload":"x"}', None)),
    (b"$GPRMC,1/2 x", ("", b"$GPRMC,1/2 x", None)),
]


@pytest.mark.parametrize(("line", "expected"), LOGGED)
def test_a_logged_line_has_its_topic_taken_off(line: bytes, expected: tuple[str, bytes, int | None]) -> None:
    assert unwrapped(line) == expected


def test_a_session_of_all_kinds_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    path.write_bytes(
        b"\n".join(
            [
                b'owntracks/v1/phone {"_type":"location","lat":35,"lon":73,"tst":1780000000}',
                b'zigbee2mqtt/gate-door {"contact":false,"linkquality":90}',
                b"tele/porch/LWT Offline",
                b'{"topic":"v1/0/x/native","payload":{"kind":"press","what":"duress","seen_at":"2026-05-28T20:26:50Z"}}',
                b'[{"_type":"lwt","tst":1},{"contact":true},{"a":1}]',
                b"nonsense",
            ]
        )
    )
    found = list(Reader().read(path))
    assert [(one.line, one.format, one.outcome) for one in found] == [
        (1, "owntracks", "accepted"),
        (2, "zigbee2mqtt", "accepted"),
        (3, "tasmota", "accepted"),
        (4, "native", "accepted"),
        (5, "owntracks", "accepted"),
        (5, "zigbee2mqtt", "accepted"),
        (5, "auto", "rejected"),
        (6, "auto", "rejected"),
    ]
    door = found[1].observation
    assert isinstance(door, Reading)
    assert (door.sensor, door.what, door.value, door.seen_at_us) == ("gate-door", "door", "open", T0)


def test_what_is_said_beside_is_taken_from_a_file_as_well(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b'zigbee2mqtt/s1-d0 {"contact":true,"tamper":true,"last_seen":"2026-05-28T20:26:40Z"}')
    taken, rejected = read_observations([path], small_plan(), None, HORIZON_US)
    assert [(one.sensor, one.what, one.value) for one in taken if isinstance(one, Reading)] == [
        ("s1", "door", "closed"),
        ("s1", "tamper", "detected"),
    ]
    assert not rejected
