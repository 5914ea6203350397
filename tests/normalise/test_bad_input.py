"""Bad input and the right answer, in every format: size first, then the parser, then types, then ranges; and the sums agree."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from pipeline.model.observation import Press, Reading
from pipeline.model.times import format_us
from pipeline.model.wire import RawItem
from pipeline.normalise.formats import FAULT, FORMATS, Format, Said, guess
from pipeline.normalise.formats.said import MOST_BYTES
from pipeline.normalise.reasons import RefusedError
from tests.normalise.builders import GATEWAY, SECOND, SENSOR, T0, TRACKER, item, observations, only, outcome, record
from tests.normalise.test_nmea import GGA, RMC, sentence

S = T0 // SECOND
TRACKERS = ("native", "owntracks", "traccar", "ttn", "chirpstack", "lorawan", "teltonika", "homeassistant", "nmea")
DEVICE = "v2-d0"


def fix(form: str, lat: Any = 35.0, lon: Any = 73.0, at_us: int = T0, speed_mps: float = 0.0) -> bytes:
    """A fix of v2, in a format."""
    iso = format_us(at_us)
    if form == "nmea":
        day, clock = iso[8:10] + iso[5:7] + iso[2:4], iso[11:19].replace(":", "")
        place = f"{int(lat) * 100:08.3f},N,{int(lon) * 100:09.3f},E" if isinstance(lat, float) else f"{lat},N,{lon},E"
        return sentence(f"GPRMC,{clock},A,{place},{speed_mps * 3600 / 1852:.3f},080.0,{day},,")
    body: Any = {
        "native": {"kind": "fix", "device": DEVICE, "seen_at": iso, "lat": lat, "lon": lon, "speed_mps": speed_mps},
        "owntracks": {"_type": "location", "lat": lat, "lon": lon, "tst": at_us // SECOND, "vel": speed_mps * 3.6},
        "traccar": {
            "position": {"fixTime": iso, "latitude": lat, "longitude": lon, "speed": speed_mps * 3600 / 1852},
            "device": {"uniqueId": DEVICE},
        },
        "ttn": {
            "end_device_ids": {"device_id": DEVICE},
            "uplink_message": {
                "received_at": iso, "decoded_payload": {"latitude": lat, "longitude": lon, "speed_kmh": speed_mps * 3.6},
            },
        },
        "chirpstack": {
            "time": iso, "deviceInfo": {"devEui": DEVICE}, "fPort": 1,
            "object": {"latitude": lat, "longitude": lon, "speed_kmh": speed_mps * 3.6},
        },
        "teltonika": {"imei": DEVICE, "ts": at_us // 1000, "lat": lat, "lon": lon, "sp": speed_mps * 3.6},
        "homeassistant": {
            "entity_id": f"device_tracker.{DEVICE}", "state": "home", "last_updated": iso,
            "attributes": {"latitude": lat, "longitude": lon},
        },
    }.get("ttn" if form == "lorawan" else form)  # fmt: skip
    return json.dumps(body).encode()


def sent(form: str, payload: bytes) -> RawItem:
    return item(payload, login=GATEWAY, topic=f"v1/0/{GATEWAY}/{form}/{DEVICE}")


DAY_US = 86_400 * SECOND
TIMES = [
    (0, "accepted"), (119 * SECOND, "accepted"), (121 * SECOND, "future"), (-29 * DAY_US, "accepted"), (-31 * DAY_US, "too_old"),
    (365 * DAY_US, "future"), (-T0 + SECOND, "too_old"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "after_us", "expected"),
    [(form, *row) for form in TRACKERS for row in TIMES if form != "nmea" or row[0] > -T0 // 2],  # two digits of a year
)
def test_an_instant_has_this_outcome_in_every_format(form: str, after_us: int, expected: str) -> None:
    assert outcome(sent(form, fix(form, at_us=T0 + after_us))) == expected


PLACES = [
    (35.0, 73.0, "accepted"), (0.0, 0.0, "zero_island"), (73.0, 35.0, "outside_plan"), (95.0, 73.0, "out_of_range"),
    (10.0, 10.0, "outside_plan"),
]  # fmt: skip


@pytest.mark.parametrize("form", TRACKERS)
@pytest.mark.parametrize(("lat", "lon", "expected"), PLACES)
def test_a_place_has_this_outcome_in_every_format(form: str, lat: float, lon: float, expected: str) -> None:
    assert outcome(sent(form, fix(form, lat, lon))) == expected


@pytest.mark.parametrize("form", sorted({*TRACKERS} - {"nmea"}))
@pytest.mark.parametrize("lat", ["north", True, [], {"a": 1}, "nan", "inf", "1e999", float("nan"), float("inf")])
def test_what_is_no_number_is_malformed_in_every_format(form: str, lat: Any) -> None:
    assert outcome(sent(form, fix(form, lat=lat))) == "malformed"


@pytest.mark.parametrize("form", sorted({*TRACKERS} - {"homeassistant"}))
def test_900_metres_a_second_are_implausible_in_every_format(form: str) -> None:
    assert outcome(sent(form, fix(form, speed_mps=900.0))) == "implausible"
    assert only(sent(form, fix(form, speed_mps=12.0))).speed_mps == pytest.approx(12.0, abs=0.01)


UNITS = [
    # a count of the wrong unit is never taken for one of the right
    ("owntracks", {"_type": "location", "lat": 35, "lon": 73, "tst": S * 1000}, "out_of_range"),
    ("owntracks", {"_type": "location", "lat": 35, "lon": 73, "tst": S * 1_000_000}, "out_of_range"),
    ("owntracks", {"_type": "location", "lat": 35, "lon": 73, "tst": S * 1_000_000_000}, "out_of_range"),
    ("owntracks", {"_type": "location", "lat": 35, "lon": 73, "tst": 0}, "too_old"),  # 1970
    ("owntracks", {"_type": "location", "lat": 35, "lon": 73, "tst": 1 << 32}, "future"),  # 2106
    ("native", {"kind": "fix", "seen_at": S, "lat": 35, "lon": 73}, "malformed"),
    ("native", {"kind": "fix", "seen_at": str(S), "lat": 35, "lon": 73}, "malformed"),
    ("traccar", {"position": {"fixTime": T0, "latitude": 35, "longitude": 73}, "device": {}}, "out_of_range"),
    ("traccar", {"position": {"fixTime": S, "latitude": 35, "longitude": 73}, "device": {}}, "too_old"),
    ("teltonika", {"lat": 35, "lon": 73, "ts": T0}, "out_of_range"),
    ("shelly", {"src": "shelly-1", "method": "x", "params": {"ts": S * 1000, "smoke:0": {"alarm": True}}}, "out_of_range"),
    ("zigbee2mqtt", {"contact": True, "last_seen": T0}, "out_of_range"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "body", "expected"), UNITS)
def test_a_count_of_another_unit_is_not_guessed_at(form: str, body: dict[str, Any], expected: str) -> None:
    login = TRACKER if form not in ("shelly", "zigbee2mqtt") else SENSOR
    assert outcome(item(json.dumps(body).encode(), login=login, form=form)) == expected


JSON_FORMS = sorted({*FORMATS} - {"nmea"})
PARSER = [
    b"", b" ", b"\x00", b"null", b"true", b"1", b'"x"', b"[]", b"{", b"}", b"nonsense", b"\xff\xfe", b'{"a":"\xff"}',
    b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":"\\ud800"}', b'{"a":' * 100_00,
    b"[" * 10_000 + b"]" * 10_000, b'{"a":1,}', b"{'a':1}", b'{"a":01}', b'{"a":1}{"a":1}',
]  # fmt: skip


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("payload", PARSER, ids=range(len(PARSER)))
def test_what_is_no_message_is_refused_in_every_format(form: str, payload: bytes) -> None:
    (reject,) = record(item(payload, form=form)).rejects
    assert reject.reason == "malformed" or (form == "homeassistant" and reject.reason == "undecoded")
    assert 0 < len(reject.detail) <= 200
    assert reject.item.payload in payload


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize(
    ("size", "reason"), [(MOST_BYTES - 1, "malformed"), (MOST_BYTES, "malformed"), (MOST_BYTES + 1, "oversized")]
)
def test_size_comes_first(form: str, size: int, reason: str) -> None:
    (reject,) = record(item(b"x".ljust(size, b"x") if form != "nmea" else b"x\n".ljust(size), form=form)).rejects
    assert reject.reason == reason or (
        form == "homeassistant" and reason == "malformed" and reject.reason == "undecoded"
    )


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_an_unknown_login_is_told_as_one(form: str) -> None:
    payload = (
        fix(form)
        if form in TRACKERS
        else b'{"contact":true,"Contact":1,"bat":{"value":3},"from":1,"type":"position","timestamp":1780000000,"payload":{"latitude_i":1}}'
    )
    assert outcome(item(payload, login="nobody", form=form)) == "unknown_device"


def test_the_last_of_a_key_that_is_there_twice_counts() -> None:
    assert only(item(fix("owntracks")[:-1] + b',"lat":34.5}', form="owntracks")).lat == 34.5
    native = fix("native").replace(b'"device": "v2-d0", ', b"")[:-1]
    assert only(item(native + b',"lat":34.5}')).lat == 34.5


IDS = ["a/b", "+", "#", "v 1", "", "x" * 33, "=cmd", "<script>", "../../etc", "\u202ev1", "v1\n", "\x00"]


@pytest.mark.parametrize("name", IDS)
def test_an_id_is_of_letters_digits_and_two_signs(name: str) -> None:
    native = json.dumps({"kind": "fix", "vehicle": name, "seen_at": format_us(T0), "lat": 35, "lon": 73})
    assert outcome(item(native.encode())) == "malformed"
    for form in ("traccar", "ttn", "chirpstack", "teltonika"):
        payload = fix(form).replace(DEVICE.encode(), json.dumps(name)[1:-1].encode())
        reason = outcome(item(payload, login=GATEWAY, form=form))
        assert reason in ("identity_mismatch", "unknown_device"), form


@pytest.mark.parametrize(
    "topic", ["$SYS/broker/uptime", "v1/0", "", "/", "v1/0/v1-d0", "v1/0/v1-d0/", "v2/0/v1-d0/native", "x" * 70_000]
)
def test_a_topic_of_nobody_is_unsupported(topic: str) -> None:
    assert outcome(item(fix("native"), topic=topic)) == "unsupported"


def test_what_a_broker_kept_counts_only_if_it_says_of_when_it_is() -> None:
    kept = {"contact": True}
    dated = kept | {"last_seen": format_us(T0)}
    for body, expected in ((kept, "too_old"), (dated, "accepted")):
        asked = item(json.dumps(body).encode(), login=SENSOR, form="zigbee2mqtt")
        asked = RawItem(asked.id, asked.login, asked.topic, asked.payload, asked.received_at_us, True)
        assert outcome(asked) == expected


# Whatever else is wrong: somebody pressed. In the formats that have a button.
BROKEN_PRESSES: list[tuple[str, dict[str, Any]]] = [
    ("native", {"kind": "press", "what": "sos", "seen_at": "now", "lat": "x", "device": 5, "seq": 10**40}),
    ("traccar", {"event": {"type": "alarm", "attributes": {"alarm": "sos"}}, "device": {"uniqueId": DEVICE}}),
    (
        "traccar",
        {
            "position": {"attributes": {"alarm": "sos"}, "latitude": [], "fixTime": {}, "deviceTime": 1e300},
            "device": {},
        },
    ),
    (
        "ttn",
        {"end_device_ids": [], "uplink_message": {"decoded_payload": {"sos": True, "latitude": "x", "longitude": "y"}}},
    ),
    ("chirpstack", {"time": 5, "deviceInfo": {"devEui": []}, "fCnt": "x", "object": {"press": "long"}}),
    ("teltonika", {"state": {"reported": {"236": "1", "latlng": [], "ts": []}}}),
    ("zigbee2mqtt", {"action": "emergency", "last_seen": "never"}),
    ("tasmota", {"ZbReceived": {"0x1": {"SOS": 1}}, "Time": 5}),
    ("homeassistant", {"entity_id": "binary_sensor.panic", "state": "on", "last_updated": []}),
]


@pytest.mark.parametrize(("form", "body"), BROKEN_PRESSES)
@pytest.mark.parametrize("login", [TRACKER, SENSOR, GATEWAY, "stray", "nobody"])
@pytest.mark.parametrize("larger", [False, True])
def test_a_press_alerts_whatever_else_is_wrong(form: str, body: dict[str, Any], login: str, larger: bool) -> None:
    payload = json.dumps(body).encode().ljust(MOST_BYTES + 1 if larger else 0)
    found = observations(record(item(payload, login=login, form=form)))
    (press,) = [one for one in found if isinstance(one, Press)]
    assert (press.what, press.received_at_us, press.seen_at_us) == ("sos", T0, T0)
    assert press.subject in {TRACKER: ("v1",), SENSOR: ("s1",), GATEWAY: (GATEWAY, "v2")}.get(login, (login,))


def test_nothing_is_guessed_to_be_what_it_is_not() -> None:
    for payload in (
        b'{"lat":35,"lon":73}',
        b"{}",
        b'{"a":{"b":{}}}',
        b'{"timestamp":1,"value":2}',
        b'{"type":"Feature"}',
    ):
        with pytest.raises(ValueError, match="unsupported"):
            guess(payload)
    for payload in (b"", b"hello", b"<gpx>", b"{", b"\xff", b'"x"', b"5"):
        with pytest.raises(ValueError, match="malformed"):
            guess(payload)
    assert guess(sentence(GGA)) == guess(sentence(RMC)) == "nmea"
    for form in {*TRACKERS} - {"lorawan"}:
        assert guess(fix(form)) == form or form == "teltonika"


def test_one_bad_of_many_costs_one() -> None:
    for form in ("owntracks", "teltonika", "native"):
        good = fix(form).replace(b'"device": "v2-d0", ', b"").replace(b'"imei": "v2-d0", ', b"")
        out = record(item(b"[" + good + b",{}," + good.replace(b"35.0", b'"x"') + b"," + good + b"]", form=form))
        assert [out.counts[k] for k in ("inputs", "accepted", "rejected")] == [4, 2, 2]
    assert not [one for one in observations(out) if isinstance(one, Reading)]


def test_a_reason_can_be_shown_and_logged_whatever_was_sent() -> None:
    hostile = "\n2026 ERROR forged\x1b[31m\u202e\x00<b>"
    for form in FORMATS:
        out = record(
            item(
                json.dumps({hostile: 1, "kind": hostile, "_type": hostile, "type": hostile, "from": 1}).encode(),
                form=form,
            )
        )
        for reject in out.rejects:
            assert reject.detail.isprintable(), form


@pytest.mark.parametrize("depth", [400, 990, 1020])
def test_a_value_that_is_nested_deeply_is_no_fault_wherever_it_stands(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    bodies = [
        '{"src":@,"method":"x","params":{}}', '{"src":"shelly-1","method":"x","params":{"smoke:0":{"alarm":@},"events":[{"event":@}]}}',
        '{"entity_id":"sensor.x","state":@,"attributes":{"device_class":@,"unit_of_measurement":@}}',
        '{"from":1,"type":@,"payload":{}}', '{"end_device_ids":{"device_id":@},"uplink_message":{"decoded_payload":{"sos":@,"messages":[[{"type":"x","measurementValue":[@]}]]}}}',
        '{"deviceInfo":{"devEui":@},"object":{"position":@,"gps":@}}', '{"contact":@,"action":@,"last_seen":@,"linkquality":1}',
        '{"Time":@,"Contact":@,"Button1":{"Action":@}}', '{"state":{"reported":{"ts":@,"latlng":@}}}',
        '{"position":{"latitude":@,"attributes":{"alarm":@}},"device":{"uniqueId":@},"event":{"type":@}}',
        '{"_type":@,"lat":@}', '{"kind":@}', '{"kind":"press","what":@,"subject":@}',
    ]  # fmt: skip
    for body in bodies:
        payload = body.replace("@", deep).encode()
        with contextlib.suppress(RefusedError):
            guess(payload)
        for form in FORMATS:
            for reject in record(item(payload, form=form)).rejects:
                assert not reject.detail.startswith(FAULT), (form, body)


def test_a_fault_of_ours_costs_one_message_and_keeps_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(payload: bytes, topic: str) -> Said:
        if payload == b"{}":
            raise KeyError("x")
        return Said(lat=35.0, lon=73.0, seq=1 << 70)  # what no column holds

    monkeypatch.setitem(FORMATS, "traccar", Format(broken))
    sent_three = [item(b"{}", form="traccar"), item(b"{ }", form="traccar"), item(fix("owntracks"), form="owntracks")]
    out = record(*sent_three)
    assert out.counts == {"inputs": 3, "rejected": 2, "rejected:undecoded": 2, "accepted": 1}
    assert [reject.item for reject in out.rejects] == sent_three[:2]
    assert all(reject.detail.startswith(FAULT) for reject in out.rejects)
