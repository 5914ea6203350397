"""A seeded fuzzer over every format: sound messages, then broken in one way or several. `make fuzz` runs a million of them.

    python -m tests.normalise.fuzz [--payloads 1000000] [--seed 1] [--out docs/campaigns]

A chunk of a thousand depends on the seed and its number alone; what is done is kept in var/fuzz, and a run that was stopped goes on
where it was, unless the code has changed. A finding is printed with the seed and the chunk that repeat it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.commands.decode import line_of
from pipeline.model.observation import Press
from pipeline.model.wire import RawBatch, RawItem, decode_observations, encode_observations
from pipeline.normalise.files import Reader
from pipeline.normalise.formats import FAULT, FORMATS
from pipeline.normalise.formats.said import MOST_BYTES
from pipeline.normalise.normalise import Normalised, Normaliser
from pipeline.normalise.reasons import MARKS, REASONS
from tests.normalise.builders import GATEWAY, SENSOR, T0, TRACKER, said, small_plan

CHUNK = 1000
IN_RECORD = 10
NOW_S = T0 // 1_000_000
LOGINS = (TRACKER, SENSOR, GATEWAY, "stray", "nobody")
FILES = ("gpx", "csv")
FORMS = (*FORMATS, *FILES)
_MARK = re.compile(rb'"kind"\s*:\s*"press"')
_ONLY_DURESS = re.compile(rb'"what"\s*:\s*"duress"(?!.*"what")', re.DOTALL)
_IS_PRESS = re.compile(rb'^\s*\{.*"kind"\s*:\s*"press"', re.DOTALL)

UPLINK = {
    "end_device_ids": {"device_id": SENSOR, "dev_eui": "A8404100"},
    "received_at": "2026-05-28T20:26:40.848446463Z",
    "uplink_message": {
        "f_port": 85, "f_cnt": 7, "received_at": "2026-05-28T20:26:40.641841782Z",
        "decoded_payload": {"battery": 92, "magnet_status": "open", "tamper_status": "installed", "press": "short"},
    },
}  # fmt: skip
CHIRP = {
    "time": "2026-05-28T20:26:40.404859+00:00", "deviceInfo": {"devEui": SENSOR, "deviceName": "A door"}, "fCnt": 4, "fPort": 85,
    "data": "AXUQ", "object": {"latitude": 35.0, "longitude": 73.0, "pir": "trigger", "sos": False, "temperature": 20.5},
}  # fmt: skip
TRACCAR = {
    "event": {"type": "alarm", "eventTime": "2026-05-28T20:26:40.000+0000", "attributes": {"alarm": "sos"}},
    "position": {
        "fixTime": "2026-05-28T20:26:40.000+0000", "deviceTime": "2026-05-28T20:26:40.000+0000", "valid": True, "outdated": False,
        "latitude": 35.0, "longitude": 73.0, "altitude": 900.0, "speed": 10.0, "course": 80.0, "accuracy": 8.0,
        "attributes": {"alarm": "sos", "batteryLevel": 80},
    },
    "device": {"id": 7, "name": "Escort 2", "uniqueId": TRACKER},
}  # fmt: skip
SHELLY = {
    "src": "shellyplus-a1", "method": "NotifyStatus",
    "params": {
        "ts": NOW_S + 0.5, "smoke:0": {"alarm": True}, "temperature:0": {"tC": 19.8}, "devicepower:0": {"battery": {"percent": 40}},
        "events": [{"component": "input:0", "event": "single_push", "ts": NOW_S, "data": {"BTHome_version": 2, "window": 1}}],
    },
}  # fmt: skip
HASS = {
    "entity_id": "binary_sensor.gate", "state": "on", "last_updated": "2026-05-28T20:26:40+00:00",
    "attributes": {"device_class": "door", "latitude": 35.0, "longitude": 73.0, "unit_of_measurement": "%"},
}  # fmt: skip
ZB = {
    "ZbReceived": {"0x1C9D": {"Name": SENSOR, "Contact": 1, "Tamper": 0, "BatteryPercentage": 90}},
    "Time": "2026-05-28T20:26:40",
}
SHADOW = {
    "state": {
        "reported": {"ts": NOW_S * 1000, "latlng": "35.0,73.0", "alt": 900, "ang": 80, "sat": 9, "sp": 36, "236": 1}
    }
}
MESH = {
    "from": 2712847316, "sender": "!7efeee00", "id": 452664778, "type": "position", "timestamp": NOW_S,
    "payload": {"latitude_i": 350_000_000, "longitude_i": 730_000_000, "altitude": 900, "time": NOW_S, "precision_bits": 32},
}  # fmt: skip
FLAT = {
    "imei": "3563",
    "timestamp": str(NOW_S),
    "latitude": "35.0",
    "longitude": "73.0",
    "speed": "36",
    "satellites": "9",
}

# form -> sound messages
JSON_BASES: dict[str, list[Any]] = {
    "native": [
        json.loads(said()),
        json.loads(said(speed_mps=1.0, accuracy_m=5.0, altitude_m=900.0, course_deg=80, seq=1, device=TRACKER)),
        json.loads(said("reading")),
        json.loads(said("press", what="duress", lat=35.0, lon=73.0)),
        json.loads(said("press", what="sos")),
        json.loads(said("statement", subject="v1", what="x", by="p", fields={"a": 1})),
        json.loads(said("order", what="x", effective_from="2026-05-28T20:26:40Z")),
        {"kind": "link", "state": "online", "seen_at": "2026-05-28T20:26:40Z"},
    ],
    "owntracks": [
        {"_type": "location", "lat": 35, "lon": 73, "tst": NOW_S, "vel": 3, "acc": 4, "cog": 80, "alt": 900, "batt": -1},
        {"_type": "transition", "lat": 35, "lon": 73, "tst": NOW_S, "event": "enter"},
        {"_type": "lwt", "tst": NOW_S},
    ],
    "traccar": [TRACCAR, {k: v for k, v in TRACCAR.items() if k != "event"}],
    "ttn": [UPLINK],
    "chirpstack": [CHIRP],
    "lorawan": [UPLINK, CHIRP],
    "homeassistant": [HASS, {"event_type": "state_changed", "data": {"new_state": HASS}}],
    "shelly": [SHELLY, {"sensor": {"state": "open", "is_valid": True}, "bat": {"value": 87}, "tmp": {"value": 21.5, "units": "C"}}],
    "tasmota": [ZB, {"Time": "2026-05-28T20:26:40Z", "Button1": {"Action": "SINGLE"}, "AM2301": {"Temperature": 20}, "TempUnit": "C"}],
    "teltonika": [SHADOW, FLAT],
    "meshtastic": [MESH],
    "zigbee2mqtt": [
        {"contact": True, "tamper": False, "battery": 97, "linkquality": 120, "last_seen": NOW_S * 1000},
        {"action": "emergency", "occupancy": True, "last_seen": "2026-05-28T20:26:40Z", "device": {"friendlyName": SENSOR}},
    ],
}  # fmt: skip
NMEA = [
    ["GPGGA", "202640", "3500.000", "N", "07300.000", "E", "1", "08", "2.0", "900.0", "M", "", "M", "", ""],
    ["GPRMC", "202640", "A", "3500.000", "N", "07300.000", "E", "010.0", "080.0", "280526", "", ""],
    ["GPGLL", "3500.000", "N", "07300.000", "E", "202640", "A", "A"],
    ["GPVTG", "80.0", "T", "", "M", "20.0", "N", "37.0", "K", "A"],
    ["GPZDA", "202640", "28", "05", "2026", "00", "00"],
]
GPX = (
    '<?xml version="1.0"?><gpx version="1.1" creator="x"><trk><trkseg>'
    '<trkpt lat="35.0" lon="73.0"><ele>900</ele><time>2026-05-28T20:26:40Z</time><hdop>1</hdop>'
    "<extensions><speed>3</speed></extensions></trkpt></trkseg></trk></gpx>"
)
CSV = "kind,seen_at,vehicle,sensor,what,value,lat,lon,seq\nfix,2026-05-28T20:26:40Z,v1,,,,35,73,1\npress,2026-05-28T20:26:40Z,,,sos,,35,73,2\n"

HOSTILE: list[Any] = [
    *(10**30, -(10**400), 1 << 63, -(1 << 63) - 1, 0, -1, 1, 95.0, 650.0, 1e308, -1e308, 3.5e38, math.nan, math.inf, -0.0, 1e-320),
    *("\ud800", "\udfff", "\x00", "", "nan", "1e999", "now", "2026-05-28T20:26:40", "0x10", "९", "\u202e", "=cmd|' /C calc'!A0"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-05-28T20:26:40+99:99", "on", "open", "TRUE", "sos", "a" * 5000),
    *("../../etc/passwd", "a/b", "v1/0/x", "<b>", "None", None, True, False, [], {}, ["\ud800"], {"a": [10**30]}, [[]] * 50),
    *(NOW_S, NOW_S * 1000, NOW_S * 1_000_000, NOW_S * 10**9, 1, 4_294_967_296, -62_135_596_800),
]  # fmt: skip
PLACES = ("lat", "lon", "latitude", "longitude")
WORDS = [
    b"",
    b"$",
    b"{",
    b"[",
    b'"kind":"press"',
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x00",
    b"NaN",
    b"\\ud800",
    b"*00",
    b",",
    b'"',
    b"}",
    b"]",
    b"\n",
]


def _spots(node: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every place in a message where something else may stand."""
    if depth > 6 or not isinstance(node, dict | list):
        return []
    found = [(node, key) for key in (node if isinstance(node, dict) else range(len(node)))]
    for _, key in list(found):
        found += _spots(node[key], depth + 1)
    return found


def _json(dice: random.Random, form: str) -> bytes:
    base = deepcopy(dice.choice(JSON_BASES[form]))
    for _ in range(dice.choice((0, 1, 1, 1, 2, 4))):
        spots = _spots(base)
        if not spots:
            break
        node, key = dice.choice(spots)
        if key in ("kind", "_type") and dice.random() < 0.8:
            continue
        turn = dice.random()
        if turn < 0.15:
            del node[key]
        elif turn < 0.2 and isinstance(node, dict):
            node[dice.choice(("lat", "seq", "device", "sos", "contact", "fields", "\u0000", "x" * 300))] = deepcopy(
                dice.choice(HOSTILE)
            )
        elif turn < 0.25:
            node[key] = deepcopy(dice.choice(dice.choice(list(JSON_BASES.values()))))
        else:
            node[key] = deepcopy(dice.choice(HOSTILE))
    if dice.random() < 0.05:
        for node, key in _spots(base):
            if str(key) in PLACES:
                node[key] = dice.choice((0, "0.0"))
    if dice.random() < 0.04 and isinstance(base, dict):
        depth = dice.choice((10, dice.randrange(900, 1030), 20_000))
        node, key = dice.choice([*_spots(base), (base, "fields")])
        node[key] = "@deep@"
        nest = dice.choice(("[]", "{}"))
        deep = "[" * depth + "]" * depth if nest == "[]" else '{"a":' * depth + "1" + "}" * depth
        return json.dumps(base).replace('"@deep@"', deep).encode("utf-8", "surrogatepass")
    text = json.dumps(base)
    if dice.random() < 0.05:
        text = text.replace("{", '{"lat":1,"kind":"fix","lat":2,', 1)  # a key twice
    if dice.random() < 0.15:
        others = [json.dumps(dice.choice(JSON_BASES[form])) for _ in range(dice.choice((0, 1, 3)))]
        text = f"[{','.join([*others, text])}]"
    if dice.random() < 0.02:
        text = f"[{','.join([text] * dice.choice((50, 999, 1001)))}]"
    if dice.random() < 0.02:
        text += " " * (MOST_BYTES - len(text) + dice.choice((-1, 0, 1, 100_000)))
    return text.encode("utf-8", "surrogatepass")


def _nmea(dice: random.Random) -> bytes:
    lines = []
    for _ in range(dice.choice((1, 1, 2, 3, 30))):
        fields = list(dice.choice(NMEA))
        for _ in range(dice.choice((0, 0, 1, 1, 3))):
            told = dice.choice(
                (
                    "",
                    "-1",
                    "nan",
                    "inf",
                    "9960.000",
                    "A",
                    "V",
                    "x" * 30,
                    "000000",
                    "310226",
                    "235959.999",
                    "1e400",
                    "٣",
                    ".",
                    "-",
                )
            )
            fields[dice.randrange(len(fields))] = told
        if dice.random() < 0.1:
            fields = fields[: dice.randrange(len(fields) + 1)]
        body = ",".join(fields).encode()
        check = 0
        for byte in body:
            check ^= byte
        lines.append(b"$" + body + b"*%02X" % (check if dice.random() < 0.95 else dice.randrange(256)))
    return b"\r\n".join(lines)


def _broken(dice: random.Random, data: bytes) -> bytes:
    """Cut off, a byte changed, something put in between, a stretch taken out or doubled."""
    turn = dice.random()
    at = dice.randrange(len(data) + 1)
    if turn < 0.35:
        return data[:at]
    if turn < 0.6 and at < len(data):
        return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
    if turn < 0.8:
        return data[:at] + dice.choice(WORDS) + data[at:]
    end = min(len(data), at + dice.randrange(40))
    return data[:at] + data[end:] if turn < 0.9 else data[:end] + data[at:]


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "nmea": _nmea,
    "gpx": lambda dice: GPX.replace(dice.choice(("35.0", "2026", "900", "<ele>", "trkpt", "Z")), str(dice.choice(HOSTILE))[:50], 1).encode("utf-8", "replace"),
    "csv": lambda dice: CSV.replace(dice.choice(("35", "2026", "fix", "v1", ",", "sos")), str(dice.choice(HOSTILE))[:50], dice.choice((1, 9))).encode("utf-8", "replace"),
}  # fmt: skip


def message(dice: random.Random) -> tuple[str, bytes]:
    """A format, and something that is or was a message of it."""
    form = dice.choice(FORMS)
    if dice.random() < 0.03:
        return form, dice.randbytes(dice.choice((0, 1, 20, 300)))
    data = MAKERS[form](dice) if form in MAKERS else _json(dice, form)
    for _ in range(dice.choice((0, 0, 0, 0, 1, 2))):
        data = _broken(dice, data)
    return form, data


def sent(dice: random.Random, form: str, data: bytes) -> RawItem:
    login = dice.choice(LOGINS[:3] if dice.random() < 0.9 else LOGINS)
    topic = f"v1/0/{login}/{form}" + dice.choice(("", "", f"/{SENSOR}", "/v2-d0"))
    if dice.random() < 0.02:
        topic = dice.choice(
            ("", "$SYS/x", "owntracks/a", "zigbee2mqtt/x", "v1/0/x/none", "v1//", "tele/x/SENSOR", "$link/v1-d0")
        )
    return RawItem(1, login, topic, data, T0, dice.random() < 0.02, dice.random() < 0.9)


class Findings(list[str]):
    """What should not have been."""


def checked(out: Normalised, items: list[RawItem], findings: Findings) -> None:
    counts = out.counts
    if not counts["inputs"] == counts["accepted"] + counts["flagged"] + counts["rejected"] >= len(items):
        findings.append(f"sums: {dict(counts)}")
    if counts["rejected"] != len(out.rejects) or counts["rejected"] != sum(
        n for k, n in counts.items() if k.startswith("rejected:")
    ):
        findings.append(f"rejects: {dict(counts)}")
    told = sum(len(batch.fixes) + len(batch.others) for batch in out.batches.values())
    if told > counts["accepted"] + counts["flagged"] + counts["beside"]:
        findings.append(f"more told than counted: {dict(counts)}")
    for reject in out.rejects:
        if reject.reason not in REASONS or len(reject.detail) > 200 or reject.detail.startswith(FAULT):
            findings.append(f"{reject.reason}: {reject.detail} {reject.item.payload[:300]!r}")
        if not any(reject.item.payload in one.payload for one in items):
            findings.append(f"a reject that was not sent: {reject.item.payload[:200]!r}")
    for batch in out.batches.values():
        decode_observations(encode_observations(batch))


def chunk(seed: int, number: int) -> tuple[Counter[str], float, Findings]:
    """What became of a thousand, the longest of them in CPU seconds, and what should not have been."""
    dice = random.Random(f"{seed}/{number}")
    normaliser, reader = Normaliser(small_plan()), Reader()
    counts: Counter[str] = Counter()
    findings, longest = Findings(), 0.0
    waiting: list[tuple[str, RawItem]] = []
    for n in range(CHUNK):
        form, data = message(dice)
        began = time.process_time()
        if form in FILES or n % 4 == 0:
            try:
                for one in reader.of(Path(f"x.{form if form in FILES else 'jsonl'}"), data):
                    line_of(one)
                    if (one.reason or "malformed") not in (*REASONS, *MARKS) or (one.detail or "").startswith(FAULT):
                        findings.append(f"{one.reason}: {one.detail} {data[:300]!r}")
                    if form in FILES:
                        counts[f"{form} {one.outcome} {one.reason or ''}".rstrip()] += 1
            except Exception as error:
                findings.append(f"decode {form}: {error!r} {data[:300]!r}")
        if form not in FILES:
            item = sent(dice, form, data)
            waiting.append((form, item))
            try:
                out = normaliser.record(RawBatch(1, "src", "h", [item], []))
                checked(out, [item], findings)
                for key, n_of in out.counts.items():
                    if key in ("accepted", "flagged") or key.startswith("rejected:"):
                        counts[f"{form} {key.replace(':', ' ')}"] += n_of
                if (
                    form == "native"
                    and item.topic.startswith("v1/0")
                    and "/native" in item.topic
                    and _IS_PRESS.match(data)
                ):
                    _heard(out, data, findings)
            except Exception as error:
                findings.append(f"{form}: {error!r} {item!r}"[:600])
        longest = max(longest, time.process_time() - began)
        counts["payloads"] += 1
    return counts, longest, findings


def _heard(out: Normalised, data: bytes, findings: Findings) -> None:
    """A message that begins as an object and has the mark of a press: heard, unless JSON itself says that it is another's."""
    try:
        whole = json.loads(data)
        if not isinstance(whole, dict) or whole.get("kind") != "press":
            return
    except (ValueError, RecursionError):
        whole = {}
    pressed = [p.what.what for b in out.batches.values() for p in b.others if isinstance(p.what, Press)]
    if not pressed:
        findings.append(f"a press that was not heard: {data[:300]!r}")
    told = whole.get("what") if whole else _ONLY_DURESS.search(data) and len(_MARK.findall(data)) == 1 and "duress"
    if told == "duress" and pressed != ["duress"]:
        findings.append(f"a duress that was told as {pressed}: {data[:300]!r}")


def main() -> int:
    """0 without a finding."""
    asked = argparse.ArgumentParser(description="Fuzz every format; resumes where it was stopped")
    asked.add_argument("--payloads", type=int, default=1_000_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--out", type=Path, default=Path("docs/campaigns"))
    asked.add_argument("--state", type=Path, default=Path("var/fuzz"))
    a = asked.parse_args()
    state_file = a.state / f"seed-{a.seed}-{_code()}.json"
    state: dict[str, Any] = {"chunks": 0, "counts": {}, "longest_s": 0.0, "cpu_s": 0.0, "findings": [], "grown_mb": 0.0}
    if state_file.exists():
        state = json.loads(state_file.read_bytes())
    total = -(-a.payloads // CHUNK)
    counts: Counter[str] = Counter(state["counts"])
    at_start_mb = 0.0
    began_at, done_before = time.monotonic(), state["chunks"]
    for number in range(done_before, total):
        cpu = time.process_time()
        more, longest, findings = chunk(a.seed, number)
        counts.update(more)
        state["cpu_s"] += time.process_time() - cpu
        state["longest_s"] = max(state["longest_s"], longest)
        state["findings"] += [f"chunk {number}: {finding}" for finding in findings][:20]
        now_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if number < done_before + 3:  # what imports and the first of every kind need
            at_start_mb = now_mb
        state["grown_mb"] = max(state["grown_mb"], now_mb - at_start_mb)
        state["chunks"], state["counts"] = number + 1, dict(counts)
        if (number + 1) % 10 == 0 or number + 1 == total:
            _kept(state_file, state)
            left_s = (time.monotonic() - began_at) / (number + 1 - done_before) * (total - number - 1)
            print(
                f"fuzz: {(number + 1) * CHUNK:,} of {total * CHUNK:,}, {len(state['findings'])} findings, {left_s:.0f} s left",
                flush=True,
            )
    for finding in state["findings"]:
        print(finding)
    _table(a.out, a.seed, state)
    return 1 if state["findings"] else 0


def _code() -> str:
    """Of what is fuzzed and of the fuzzer: another version begins anew."""
    here = Path(__file__)
    files = [here, *sorted((here.parent.parent.parent / "pipeline" / "normalise").rglob("*.py"))]
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=4).hexdigest()


def _kept(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(state))
    beside.replace(path)


def _table(folder: Path, seed: int, state: dict[str, Any]) -> None:
    counts, day = state["counts"], datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")  # noqa: TID251  # a dated table is the point
    reasons = ["accepted", "flagged", *REASONS]
    lines = [
        f"# Fuzzing every format, {day}",
        "",
        f"{counts['payloads']:,} payloads, seed {seed}; {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}.",
        "",
        f"Findings (an exception, sums that disagree, a press that was not heard): **{len(state['findings'])}**. "
        f"CPU {state['cpu_s']:.0f} s; the longest payload {state['longest_s'] * 1000:.0f} ms; memory grew by {state['grown_mb']:.0f} MB.",
        "",
        "| format | " + " | ".join(reasons) + " |",
        "|---|" + "---:|" * len(reasons),
    ]
    for form in FORMS:
        row = [counts.get(f"{form} {reason}", 0) + counts.get(f"{form} rejected {reason}", 0) for reason in reasons]
        row[1] += sum(counts.get(f"{form} flagged {mark}", 0) for mark in MARKS)
        lines.append(f"| {form} | " + " | ".join(f"{n:,}" if n else "" for n in row) + " |")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{day}-fuzz.md"
    target.write_text("\n".join([*lines, ""]), encoding="utf-8")
    print(f"fuzz: {target}")


if __name__ == "__main__":
    sys.exit(main())
