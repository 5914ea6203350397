"""What sensors say, in a few words of ours: the makers' keys and values on the left, `what` and its value on the right.

A thing that opens says `door` open or closed. Whatever raises an alarm (motion, occupancy, smoke, gas, water, vibration, tilt,
tamper, sound, fault) says `detected` or `clear`. A button says how it was pressed. Numbers carry their unit in the name.

A word that is not in these tables is not guessed at: it is left out, and where nothing else is said, the message is `undecoded`.
Whether a bare true or 1 means open or closed is each format's own affair: a contact that is true is *closed* in Zigbee2MQTT,
one that is 1 is *open* in Tasmota.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.normalise.formats.said import Said, maybe
from pipeline.normalise.reasons import RefusedError

OPEN, CLOSED, DETECTED, CLEAR = "open", "closed", "detected", "clear"

# The order in which a message's readings are weighed: the first that it has is what it is about.
ALARMS: dict[str, tuple[str, ...]] = {
    "smoke": ("smoke", "smokealarm", "smokestatus", "smokedetected", "fire", "firealarm"),
    "gas": ("gas", "gasalarm", "gasstatus", "carbonmonoxide", "coalarm", "gasdetected", "combustiblegas"),
    "door": ("door", "doorstatus", "doorstate", "magnet", "magnetstatus", "reed", "reedstatus", "reedstate", "window",
             "windowstatus", "opening", "garagedoor", "contactstatus", "contactstate", "dooropen", "dooropenstatus", "open",
             "hallstatus", "contact"),
    "motion": ("motion", "pir", "pirstatus", "motionstatus", "motiondetected", "motionalarm", "movement",
               "pirtrigger", "motionevent", "motioneventstate"),
    "occupancy": ("occupancy", "occupied", "presence", "occupancystatus", "presencestatus"),
    "vibration": ("vibration", "vibrationstatus", "vibrationdetected", "vibrationalarm", "shock", "shockstatus", "shockdetected",
                  "shockalarm", "glassbreak", "impact", "vibrationevent"),
    "tilt": ("tilt", "tiltstatus", "tiltalarm", "tiltdetect", "tiltdetected", "thresholdx", "thresholdy", "thresholdz", "anglexstatus", "angleystatus",
             "anglezstatus", "position"),
    "tamper": ("tamper", "tamperstatus", "tamperalarm", "tampered", "tamperdetect", "tamperdetected", "antitheft", "demolition"),
    "water": ("water", "waterleak", "leak", "leakstatus", "waterleakstatus", "flood", "waterleakagestatus", "wateralarm",
              "leakage", "leakdetected", "leakagestatus"),
    "sound": ("sound", "noise", "soundalarm"),
    "fault": ("fault", "faultalarm", "problem", "smokefaultalarm"),
    "power": ("powerevent", "power", "acpower", "mains", "mainspower"),
    "interconnect": ("interconnectalarm",),
    "test": ("test", "testbutton", "testbuttonpressed", "selftest"),
    "battery_low": ("batterylow", "lowbattery", "lowbatteryalarm", "batteryalarm"),
}  # fmt: skip
NUMBERS: dict[str, tuple[str, ...]] = {
    "nh3_ppm": ("nh3",),
    "h2s_ppm": ("h2s",),
    "co2_ppm": ("co2",),
    "temperature_c": (
        "temperature",
        "temperaturec",
        "ambienttemperature",
        "temp",
        "temperature0",
        "tempcsht",
        "tempcds",
        "temc",
        "tem",
    ),
    "humidity_percent": ("humidity", "relativehumidity", "hum", "humidity0", "humsht"),
    "battery_percent": (
        "battery",
        "batterypercent",
        "batterylevel",
        "batterylevelinpercentage",
        "batterypercentage",
        "bat",
    ),
    "battery_v": ("batteryvoltage", "batv", "battv", "batvoltage"),
}
BUTTONS = ("press", "buttonpress", "buttonevent", "pressevent", "button", "buttonstatus", "buttonpressed", "pressed")
PRESSED = ("single", "short", "long", "double", "triple", "hold", "sos", "panic", "emergency")
SOS = ("sos", "sosalarm", "sosstatus", "sosevent", "sosbutton", "panic", "panicbutton", "panicalarm", "emergency", "alarmbutton",
       "sospressed", "help", "manualalarm", "sosmode", "sosflag", "sosactive", "sosalert", "emergencybutton")  # fmt: skip

_ON = frozenset(
    ("true", "on", "1", "yes", "alarm", "alarmed", "detected", "detect", "trigger", "triggered", "active", "activated",
     "occupied", "present", "leak", "leaking", "leakage", "wet", "motion", "moving", "tilt", "tilted", "tampered", "tamper",
     "uninstalled", "removed", "abnormal", "smoke", "fire", "vibration", "pressed", "problem", "fault", "unsafe")
)  # fmt: skip
_OFF = frozenset(
    ("false", "off", "0", "no", "normal", "clear", "cleared", "idle", "none", "inactive", "vacant", "unoccupied", "empty",
     "dry", "installed", "untriggered", "release", "released", "ok", "safe", "still", "stationary", "nomotion", "notdetected",
     "notriggered", "noleak", "nosmoke", "nofire", "alarmrelease", "alarmreleased", "absent", "quiet", "stop", "secure", "intact")
)  # fmt: skip
_OPENED = frozenset(("open", "opened", "opening", "unlocked"))
_SHUT = frozenset(("closed", "close", "shut", "closing", "locked"))
_PLAIN = re.compile(r"[^a-z0-9]+")
COUNTED = ("motion", "occupancy")  # Elsys counts: five times is detected, and two persons are
BOTH_TRUE_AND_OPEN = ("open", "dooropen", "dooropenstatus", "magnetstatus")  # keys that say themselves what true means
WORDS_ONLY = ("position", "water", "power")  # with other makers a place, litres, watts
_OF_KEY = {key: what for table in (ALARMS, NUMBERS) for what, keys in table.items() for key in keys}
_WEIGHT = {what: n for n, what in enumerate([*ALARMS, *NUMBERS])}
ASIDE = frozenset(("battery_percent", "battery_v", "battery_low", "temperature_c", "humidity_percent", "test"))


def plain(text: str) -> str:
    """`Magnet_Status` is magnetstatus."""
    return _PLAIN.sub("", text[:64].lower())


def alarm(value: Any) -> str | None:
    """detected or clear; None when it is a word of neither."""
    if isinstance(value, float) and value in (0.0, 1.0):
        value = int(value)
    if not isinstance(value, str | int):
        return None
    word = plain(str(value))
    if word in _ON or (word.endswith("alarm") and not word.startswith("no")):
        return DETECTED
    return CLEAR if word in _OFF or word.endswith(("alarmrelease", "alarmreleased", "noalarm")) else None


def door(value: Any, true_is: str | None = None) -> str | None:
    """open or closed; of a bare true or 1 what the format says (`true_is`), and None when it says nothing."""
    if isinstance(value, str) and (word := plain(value)) in _OPENED | _SHUT:
        return OPEN if word in _OPENED else CLOSED
    if true_is is None:
        return None
    found = alarm(value)
    if found is None:
        return None
    return true_is if found == DETECTED else (CLOSED if true_is == OPEN else OPEN)


def power(value: Any) -> str | None:
    """on or off: whether there is mains; None for a number of watts."""
    word = plain(value) if isinstance(value, str) else ""
    return next((state for state in ("on", "off") if word in (state, f"acpower{state}", f"power{state}")), None)


def button(value: Any) -> str | None:
    """How it was pressed; None when it was not."""
    if isinstance(value, dict):
        value = value.get("status", value.get("type"))
    if value is True or value == 1:
        return "single"
    if not isinstance(value, str) or not value or alarm(value) == CLEAR:
        return None
    word = plain(value).removesuffix("press").removesuffix("push")
    return {"": "single", "pressed": "single", "short": "short", "1": "single", "true": "single"}.get(
        word, word[:32]
    ) or None


def readings(values: Mapping[str, Any], true_contact: str | None = None) -> list[Said]:
    """What these say, weightiest first. Of several keys for one thing an alarm counts before what is quiet."""
    found: dict[str, str | float] = {}
    for key, value in values.items():
        name = plain(key) if isinstance(key, str) else ""
        what = None if name in WORDS_ONLY and not isinstance(value, str) else _OF_KEY.get(name)
        told: str | float | None
        if what is None:
            continue
        if what in NUMBERS:
            told = _measured(what, maybe(value))
        elif what == "door":
            told = door(value, OPEN if name in BOTH_TRUE_AND_OPEN else true_contact)
        elif what == "power":
            told = power(value)
        else:
            told = alarm(value)
            if told is None and what in COUNTED and isinstance(value, int | float) and 1 < value < 256:
                told = DETECTED
        if told is not None and (what not in found or told in (DETECTED, OPEN)):
            found[what] = told
    ordered = sorted(found, key=_WEIGHT.__getitem__)
    return [Said(kind="reading", what=what, value=found[what], aside=what in ASIDE) for what in ordered]


def _measured(what: str, value: float | None) -> float | None:
    """The number, where it can be what its key says. Some makers' `battery` is volts: 3.6 is no per cent of anything."""
    if value is None or abs(value) > 1e6:
        return None
    if what == "battery_v" and value > 60:
        return value / 1000  # millivolts
    if what == "battery_percent" and (not 0 <= value <= 100 or (value < 5 and value != int(value))):
        return None
    return value


def pressed(values: Mapping[str, Any], any_button: bool) -> bool:
    """Whether somebody asks for help: a key that says so, or, where a button is worn for nothing else, any press."""
    for key, value in values.items():
        name = plain(key) if isinstance(key, str) else ""
        if name in SOS and (alarm(value) == DETECTED or button(value) in PRESSED):
            return True
        if any_button and name in BUTTONS and button(value) is not None:
            return True
    return False


def dated(
    found: list[Said], when: Callable[[], int | None], known_as: tuple[str, ...] = (), seq: int = 0
) -> list[Said]:
    """The same, all of one device and instant. Each has a sequence of its own, so that no two are the same observation.

    Where the instant cannot be read, the presses are left, undated. Raises RefusedError when there is none.
    """
    try:
        seen_at_us = when()
    except RefusedError:
        found = [said for said in found if said.kind == "press"]
        if not found:
            raise
        seen_at_us = None
    for n, said in enumerate(found):
        if said.seen_at_us is None:
            said.seen_at_us = seen_at_us
        said.known_as, said.seq = known_as, seq + (n << 40)
    return found
