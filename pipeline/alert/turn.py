"""One transaction of the alert database: what is read once and written once in it, however many inputs it takes; and what else is going on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
import sqlalchemy as sa

from pipeline.alert import tables as t
from pipeline.alert.policy import OWN_RULES, is_grave
from pipeline.model.alert import Alert, AlertEvent
from pipeline.people.chain import FIRST_BEFORE, link

encode = msgspec.msgpack.Encoder().encode
decode_alert = msgspec.msgpack.Decoder(Alert).decode


def row_of(alert: Alert) -> dict[str, Any]:
    closed = alert.closed_at_us is not None
    shelved = alert.shelved_until_us is not None and not closed
    return {
        "id": alert.id, "open": not closed, "shelved": shelved, "data": encode(alert), "rule": alert.rule,
        "subject": alert.subject, "object": alert.object, "region": alert.region, "told": not alert.held,
        "opened_us": alert.opened_at_us,
        "over_us": alert.cleared_at_us if alert.cleared_at_us is not None else alert.closed_at_us,
        "shelved_us": alert.shelved_until_us, "due_us": due_us(alert), "under": alert.under,
    }  # fmt: skip


def due_us(alert: Alert) -> int | None:
    """When time alone does something to it."""
    if alert.closed_at_us is not None:
        return None
    again = alert.realarm_us if alert.shelved_until_us is None else None
    due = [at for at in (alert.look_us, alert.shelved_until_us, again, alert.clears_us) if at is not None]
    return min(due, default=None)


@dataclass(slots=True)
class Turn:
    tx: sa.Connection
    numbers: dict[str, int]
    positions: dict[tuple[str, int], tuple[int, int]]  # (topic, partition) -> next offset, epoch
    put_alerts: Any = None  # the statement that writes alerts
    changed: set[str] = field(default_factory=set)
    moved: set[tuple[str, int]] = field(default_factory=set)
    alerts: dict[str, Alert] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    leads: set[str] = field(default_factory=set)  # alerts whose followers have changed
    events: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)  # by alert: the rows of `tables.lines` to be written
    entries: list[dict[str, Any]] = field(default_factory=list)
    last_audit: tuple[int, bytes] | None = None
    told: list[AlertEvent] = field(default_factory=list)  # in order: what is to be published
    quiet: dict[str, str] = field(default_factory=dict)  # alert -> why it pages nobody now (HELD_FLOOD, ...)

    def number(self, name: str) -> int:
        return self.numbers.get(name, 0)

    def put_number(self, name: str, value: int) -> None:
        self.numbers[name] = value
        self.changed.add(name)

    def position(self, topic: str, partition: int) -> tuple[int, int]:
        return self.positions.get((topic, partition), (0, 0))

    def advance(self, topic: str, partition: int, following: int, epoch: int) -> None:
        self.positions[topic, partition] = following, epoch
        self.moved.add((topic, partition))

    # ---- alerts ---------------------------------------------------------------------------------------------------------

    def get(self, alert_id: str) -> Alert | None:
        """As this transaction has it."""
        if alert_id not in self.alerts:
            data = self.tx.execute(t.ALERT, {"wanted": alert_id}).scalar()
            return None if data is None else decode_alert(data)
        return self.alerts[alert_id]

    def put(self, alert: Alert) -> None:
        before = self.alerts.get(alert.id)
        self.alerts[alert.id] = alert
        self.unsaved.add(alert.id)
        for lead in {alert.under, before.under if before is not None else ""} - {""}:
            self.leads.add(lead)
        if alert.held:
            self.quiet[alert.id] = alert.held
            self.lines.pop(alert.id, None)  # told and held in the same transaction: nobody has read it
        else:
            self.quiet.pop(alert.id, None)

    def line(self, alert: Alert, seq: int, now_us: int) -> None:
        """It is told, and somebody reads it: in a flood it counts as what it was then. What is grave counts for no flood."""
        if not is_grave(alert) and alert.rule not in OWN_RULES:
            self.lines[alert.id] = {"seq": seq, "region": alert.region, "at_us": now_us}

    def save(self) -> None:
        """What was put can be asked for from now on."""
        if self.unsaved:
            self.tx.execute(self.put_alerts, [row_of(self.alerts[name]) for name in sorted(self.unsaved)])
            self.unsaved.clear()

    def _ask(self, statement: Any, **values: Any) -> list[Alert]:
        self.save()
        return [decode_alert(data) for data in self.tx.execute(statement, values).scalars()]

    # ---- what else is going on (policy.Scene) -----------------------------------------------------------------------------

    def active(self, rule: str) -> list[Alert]:
        return self._ask(t.ACTIVE, rule=rule)

    def shelved(self, alert: Alert, now_us: int) -> Alert | None:
        found = self._ask(t.SHELVED, rule=alert.rule, subject=alert.subject, object=alert.object, now=now_us)
        return found[0] if found else None

    def told_since(self, region: str, since_us: int) -> int:
        before = int(self.tx.execute(t.TOLD_SINCE, {"since": since_us, "region": region}).scalar() or 0)
        return before + len([line for line in self.lines.values() if line["region"] == region])

    def warm(self, rule: str, subject: str, obj: str, since_us: int) -> list[Alert]:
        """Told, and open or not long ago; the newest first."""
        return self._ask(t.WARM, rule=rule, subject=subject, object=obj, since=since_us)

    def behind(self, lead: str) -> list[Alert]:
        """Those that it speaks for and that are still active, the oldest first."""
        return self._ask(t.BEHIND, lead=lead)

    def behind_count(self, lead: str) -> int:
        self.save()
        return int(self.tx.execute(t.BEHIND_COUNT, {"lead": lead}).scalar() or 0)

    def behind_rules(self, lead: str) -> list[tuple[str, int]]:
        self.save()
        return [(rule, n) for rule, n in self.tx.execute(t.BEHIND_RULES, {"lead": lead})]

    # ---- audit ------------------------------------------------------------------------------------------------------------

    def audit(self, entry: dict[str, Any]) -> None:
        if self.last_audit is None:
            last = self.tx.execute(t.LAST_AUDIT).first()
            self.last_audit = (last[0], last[1]) if last else (0, FIRST_BEFORE)
        n, before = self.last_audit
        data = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
        self.last_audit = n + 1, link(before, data)
        self.entries.append({"n": n + 1, "entry": data, "hash": self.last_audit[1]})
