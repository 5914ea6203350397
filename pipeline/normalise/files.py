"""Files of recorded messages: what `rahdar decode` shows and `rahdar detect` reads, through the same formats and the same gate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from pipeline.model.observation import Fix, Other
from pipeline.normalise import tables
from pipeline.normalise.formats import FORMATS, guess, nmea, read
from pipeline.normalise.formats.backlog import elements, is_array
from pipeline.normalise.formats.said import MOST_BYTES, Said, instant
from pipeline.normalise.gate import HORIZON_US, Who, flagged, gate
from pipeline.normalise.identity import called, device_of_login, format_of, topic_device
from pipeline.normalise.reasons import Reason, RefusedError
from pipeline.plan.model import CompiledPlan

FILE_FORMATS = (*FORMATS, "gpx", "csv")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input. `observation` None: accepted, and there is nothing in it to keep."""

    file: str
    line: int
    format: str
    outcome: Literal["accepted", "flagged", "rejected"]
    reason: str | None = None
    detail: str | None = None
    observation: Fix | Other | None = None
    beside: tuple[Fix | Other, ...] = ()  # what else the input said, behind what it is about


class Reader:
    """`plan` None: reasons that need one are not judged. `vehicle`: whose fixes they are, where the file does not say."""

    def __init__(
        self,
        plan: CompiledPlan | None = None,
        vehicle: str | None = None,
        form: str = "auto",
        topic: str = "",
        horizon_us: int = HORIZON_US,
    ) -> None:
        self.plan = plan
        self.vehicle = vehicle
        self.form = form
        self.topic = topic
        self.horizon_us = horizon_us
        self._last_us = 0

    def read(self, path: Path) -> Iterator[Outcome]:
        """Every input, in order. Raises OSError when the file cannot be read."""
        yield from self.of(path, path.read_bytes())

    def of(self, path: Path, data: bytes) -> Iterator[Outcome]:
        """The same of what a file of this name would hold."""
        form = self._form(path, data)
        name = str(path)
        try:
            if form == "gpx":
                yield from self._table(name, form, tables.gpx(data))
            elif form == "csv":
                yield from self._table(name, form, tables.table(data))
            elif form == "nmea":
                yield from self._nmea(name, data)
            else:
                for line, payload in _messages(data):
                    yield from self._message(name, line, payload)
        except RefusedError as refused:
            yield Outcome(name, 1, form, "rejected", refused.reason, refused.detail)

    def _form(self, path: Path, data: bytes) -> str:
        if self.form != "auto":
            return self.form
        if path.suffix.lower() in (".gpx", ".csv"):
            return path.suffix.lower()[1:]
        head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
        if head[:1] == b"<":
            return "gpx"
        if head[:1] in (b"$", b"!"):
            return "nmea"
        lines = [line for line in head.splitlines() if line.strip() and not line.startswith(b"#")]
        bare = [line for line in lines if not unwrapped(line)[0]]  # a topic before it says more
        return "nmea" if lines and (lines[0][:1] in (b"$", b"!") or nmea.looks(bare or [b""])) else "auto"

    def _message(self, name: str, line: int, payload: bytes) -> Iterator[Outcome]:
        topic, message, received_at_us = unwrapped(payload)
        topic = topic or self.topic
        parts = [message]
        form: str | None = None if self.form == "auto" else self.form
        if form is None:
            form = _topics_format(topic)
        if form is None and len(message) <= MOST_BYTES and is_array(message):
            try:
                parts = elements(message)
            except RefusedError as refused:
                yield Outcome(name, line, "native", "rejected", refused.reason, refused.detail)
                return
        for part in parts:
            try:
                of = form or guess(part)
            except RefusedError as refused:
                yield Outcome(name, line, "auto", "rejected", refused.reason, refused.detail)
                continue
            for _, said in read(of, part, topic):
                if isinstance(said, RefusedError):
                    yield Outcome(name, line, of, "rejected", said.reason, said.detail)
                else:
                    yield self._judged(name, line, of, said, topic, received_at_us)

    def _judged(
        self, name: str, line: int, form: str, said: list[Said], topic: str = "", received_at_us: int | None = None
    ) -> Outcome:
        """One outcome: that of the first thing which can be taken, by the same rules as in the stream."""
        found: list[Outcome] = []
        for one in said:
            if one.received_at_us is None:
                one.received_at_us = received_at_us
            if one.device is None and not one.known_as and (device := topic_device(topic)):
                one.known_as = (device,)
            if one.device is None and self.plan is not None and (own := device_of_login(self.plan, topic)):
                one.known_as = (*one.known_as, own)
            found.append(self._judge(name, line, form, one))
        taken = [(one, out) for one, out in zip(said, found, strict=True) if out.outcome != "rejected"]
        if not found:
            return Outcome(name, line, form, "accepted")
        if not taken or (len(taken) < len(found) and all(one.aside for one, _ in taken)):
            return next(out for out in found if out.outcome == "rejected")
        first = taken[0][1]
        beside = ", ".join(f"{one.what or one.kind} {one.value}".strip() for one, _ in taken[1:])
        more = tuple(out.observation for _, out in taken[1:] if out.observation is not None)
        return replace(first, detail=f"beside it: {beside}"[:200], beside=more) if more else first

    def _judge(self, name: str, line: int, form: str, said: Said) -> Outcome:
        seen_at_us = said.seen_at_us
        if seen_at_us is None:  # what is not dated was seen when it came; in a file without that, with its neighbour
            seen_at_us = self._last_us if said.received_at_us is None else said.received_at_us
            said.seen_at_us = seen_at_us
        self._last_us = seen_at_us
        received = seen_at_us if said.received_at_us is None else said.received_at_us
        try:
            who = self._who(said)
            if self.plan is not None and said.kind == "reading":
                said = called(self.plan, who, said)
            observation = gate(said, who, received, True, self.plan, self.horizon_us)
        except RefusedError as refused:
            return Outcome(name, line, form, "rejected", refused.reason, refused.detail)
        marks = flagged(observation.flags) if isinstance(observation, Fix) else []
        if marks:
            return Outcome(name, line, form, "flagged", marks[0], None, observation)
        return Outcome(name, line, form, "accepted", None, None, observation)

    def _who(self, said: Said) -> Who:
        subject = said.subject or ""
        device = said.device or ""
        plan = self.plan
        if plan is not None and not device:
            device = next((name for name in said.known_as if name in plan.device_subject), "")
        if not device and said.known_as:
            device = said.known_as[0]
        if plan is None or said.kind in ("order", "statement", "tick", "link"):
            subject = subject or self.vehicle or ""
            return Who(device or subject, subject or (device if said.known_as else ""))
        if not subject and device:
            subject = plan.device_subject.get(device, "")
        subject = subject or self.vehicle or ""
        if said.kind == "press":
            return Who(device, subject)
        if said.kind == "reading":
            if subject not in plan.sensors:
                raise RefusedError("unknown_device", f"sensor {subject!r} is not in the plan")
            return Who(device or plan.sensors[subject].device, subject)
        if subject not in plan.vehicles:
            raise RefusedError("unknown_device", f"vehicle {subject!r} is not in the plan")
        bound = plan.device_subject.get(device)
        if device and bound is not None and bound != subject:
            raise RefusedError("identity_mismatch", f"{device!r} is bound to {bound!r} and speaks of {subject!r}")
        own = plan.vehicles[subject].devices
        return Who(device or (own[0] if own else subject), subject)

    def _table(self, name: str, form: str, rows: Iterable[tuple[int, Said | RefusedError]]) -> Iterator[Outcome]:
        for line, said in rows:
            if isinstance(said, RefusedError):
                yield Outcome(name, line, form, "rejected", said.reason, said.detail)
            else:
                yield self._judge(name, line, form, said)

    def _nmea(self, name: str, data: bytes) -> Iterator[Outcome]:
        """One observation per epoch, on its last position sentence; the others are accepted, with nothing in them."""
        parsed: list[tuple[int, object | RefusedError]] = []
        for line, text in enumerate(data.splitlines(), 1):
            if not text.strip() or text.startswith(b"#"):
                continue
            try:
                parsed.append((line, nmea.parse(text)))
            except RefusedError as refused:
                parsed.append((line, refused))
        yield from self._epochs(name, parsed)

    def _epochs(self, name: str, parsed: list[tuple[int, object | RefusedError]]) -> Iterator[Outcome]:
        calendar = nmea.Calendar()
        epoch = nmea.Epoch()
        waiting: list[Outcome] = []
        last = -1

        def flush() -> list[Outcome]:
            nonlocal epoch, waiting, last
            out = waiting
            if last >= 0:
                line = out[last].line
                try:
                    out[last] = self._judge(name, line, "nmea", epoch.said(calendar.of(epoch)))
                except RefusedError as refused:
                    out[last] = Outcome(name, line, "nmea", "rejected", refused.reason, refused.detail)
            epoch, waiting, last = nmea.Epoch(), [], -1
            return out

        for line, sentence in parsed:
            if isinstance(sentence, RefusedError):
                waiting.append(Outcome(name, line, "nmea", "rejected", sentence.reason, sentence.detail))
                continue
            kind = nmea.kind_of(sentence)
            if kind == "ZDA":
                calendar.told(nmea.dated(sentence))
            if kind in nmea.POSITIONS and nmea.another(epoch, sentence):
                yield from flush()
            if kind in nmea.POSITIONS or (kind == "VTG" and last >= 0):
                try:
                    nmea.take(epoch, sentence)
                except RefusedError as refused:
                    waiting.append(Outcome(name, line, "nmea", "rejected", refused.reason, refused.detail))
                    continue
                if kind in nmea.POSITIONS:
                    last = len(waiting)
            waiting.append(Outcome(name, line, "nmea", "accepted"))
        yield from flush()


def _topics_format(topic: str) -> str | None:
    try:
        name = format_of(topic)
    except RefusedError:
        return None
    return name if name in FORMATS else None


_TOPIC = re.compile(rb"[A-Za-z0-9_][^\s{}\[\]\"]{0,1000}")


def unwrapped(line: bytes) -> tuple[str, bytes, int | None]:
    """The topic, the message and when it was received, of a line as loggers of MQTT write it; else the line as it is.

    They are `{"topic": ..., "payload": ...}`, where `tst` is when it came (mosquitto_sub -F %J), and `topic payload`
    (mosquitto_sub -v).
    """
    topic, space, message = line.partition(b" ")
    if space and b"/" in topic and _TOPIC.fullmatch(topic):
        return topic.decode("utf-8", "replace"), message, None
    if b'"topic"' not in line or b'"payload"' not in line or len(line) > 2 * MOST_BYTES:
        return "", line, None
    try:
        found = orjson.loads(line)
    except (orjson.JSONDecodeError, RecursionError):
        return "", line, None
    if not isinstance(found, dict) or not isinstance(found.get("topic"), str) or "_type" in found or "kind" in found:
        return "", line, None
    payload = found.get("payload")
    try:
        received = instant(found.get("tst"), "tst")
    except RefusedError:
        received = None
    return found["topic"], payload.encode() if isinstance(payload, str) else orjson.dumps(payload), received


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """One message a line, or one JSON document over many lines."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = [(n, line) for n, line in enumerate(data.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and not _is_json(lines[0][1]) and _is_json(data):
        yield lines[0][0], data.strip()
        return
    yield from lines


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError):
        return False
    return True


def read_observations(
    paths: Iterable[Path], plan: CompiledPlan, vehicle: str | None, horizon_us: int
) -> tuple[list[Fix | Other], list[Outcome]]:
    """All that was accepted or flagged, in the order of the files, and what was rejected. Raises OSError."""
    reader = Reader(plan, vehicle, horizon_us=horizon_us)
    taken: list[Fix | Other] = []
    rejected: list[Outcome] = []
    for path in paths:
        for outcome in reader.read(path):
            if outcome.observation is not None:
                taken += [outcome.observation, *outcome.beside]
            elif outcome.outcome == "rejected":
                rejected.append(outcome)
    return taken, rejected


__all__ = ["FILE_FORMATS", "Outcome", "Reader", "Reason", "read_observations"]
