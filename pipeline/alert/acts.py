"""What people and time do to an alert, each with a named reason; what is refused has one too. Pure: time comes in as a number."""

from __future__ import annotations

import msgspec

from pipeline.alert.book import Decision, Step, cleared, closed_by_itself
from pipeline.model.alert import Alert, Command

OUTCOMES = ("real", "false", "expected", "test")
LONGEST_SHELF_US = 8 * 3_600_000_000


def on_command(alert: Alert | None, command: Command, now_us: int, realarm_after_us: int = 0) -> Decision:
    """What a person's command does; a refused one has no step and a reason. `realarm_after_us`: 0 is never."""
    if alert is None:
        return Decision(held="REFUSED_UNKNOWN_ALERT")
    if alert.closed_at_us is not None and command.what != "note":
        return Decision(held="ALREADY_CLOSED")
    if command.what == "acknowledge":
        return _acknowledge(alert, command, now_us, realarm_after_us)
    handler = {
        "unacknowledge": _unacknowledge,
        "note": _note,
        "shelve": _shelve,
        "unshelve": _unshelve,
        "hand_over": _hand_over,
        "close": _close,
    }[command.what]
    return handler(alert, command, now_us)


def _acknowledge(alert: Alert, command: Command, now_us: int, realarm_after_us: int) -> Decision:
    if alert.acknowledged_at_us is not None:
        return Decision(held="ALREADY_ACKNOWLEDGED")
    again = now_us + realarm_after_us if realarm_after_us and alert.cleared_at_us is None else None
    new = msgspec.structs.replace(
        alert, acknowledged_at_us=now_us, acknowledged_by=command.by, owner=command.by, realarm_us=again,
        held="", under="", look_us=None,  # whoever takes one that was held has it before them
        revision=alert.revision + 1,
    )  # fmt: skip
    return Decision((Step("acknowledged", "BY_OPERATOR", new, command.text), *closed_by_itself(new, now_us)))


def _unacknowledge(alert: Alert, command: Command, now_us: int) -> Decision:
    if alert.acknowledged_at_us is None:
        return Decision(held="NOT_ACKNOWLEDGED")
    new = msgspec.structs.replace(
        alert, acknowledged_at_us=None, acknowledged_by=None, owner="", realarm_us=None, revision=alert.revision + 1
    )
    return Decision((Step("amended", "ACKNOWLEDGEMENT_TAKEN_BACK", new, command.text),))


def _note(alert: Alert, command: Command, now_us: int) -> Decision:
    if not command.text.strip():
        return Decision(held="REFUSED_EMPTY_NOTE")
    new = msgspec.structs.replace(alert, notes=(*alert.notes, command.text), revision=alert.revision + 1)
    return Decision((Step("noted", "BY_OPERATOR", new, command.text),))


def _shelve(alert: Alert, command: Command, now_us: int) -> Decision:
    if command.until_us is None or not now_us < command.until_us <= now_us + LONGEST_SHELF_US:
        return Decision(held="REFUSED_SHELF_TIME")
    if alert.severity == "critical":
        return Decision(held="REFUSED_CRITICAL")
    new = msgspec.structs.replace(
        alert, shelved_until_us=command.until_us, shelved_by=command.by, shelved_why=command.text,
        revision=alert.revision + 1,
    )  # fmt: skip
    return Decision((Step("shelved", "BY_OPERATOR", new, command.text),))


def _unshelve(alert: Alert, command: Command, now_us: int) -> Decision:
    if alert.shelved_until_us is None:
        return Decision(held="NOT_SHELVED")
    new = msgspec.structs.replace(alert, shelved_until_us=None, revision=alert.revision + 1)
    return Decision((Step("unshelved", "BY_OPERATOR", new, command.text),))


def _hand_over(alert: Alert, command: Command, now_us: int) -> Decision:
    new = msgspec.structs.replace(alert, owner=command.text.strip() or alert.owner, revision=alert.revision + 1)
    return Decision((Step("handed_over", "BY_OPERATOR", new, command.text),))


def _close(alert: Alert, command: Command, now_us: int) -> Decision:
    if command.outcome not in OUTCOMES:
        return Decision(held="REFUSED_NO_OUTCOME")
    new = msgspec.structs.replace(
        alert,
        closed_at_us=now_us,
        outcome=command.outcome,
        acknowledged_at_us=alert.acknowledged_at_us or now_us,
        acknowledged_by=alert.acknowledged_by or command.by,
        realarm_us=None,
        clears_us=None,
        revision=alert.revision + 1,
    )
    return Decision((Step("closed", "BY_OPERATOR", new, command.text),))


# ---- what time does -----------------------------------------------------------------------------------------------------


def on_time(alert: Alert, now_us: int) -> Decision:
    """A shelf's time is over, a cause has stayed away for long enough, or one that somebody took is still there."""
    if alert.closed_at_us is not None:
        return Decision(held="NOTHING_NEW")
    steps: list[Step] = []
    new = alert
    if alert.shelved_until_us is not None and alert.shelved_until_us <= now_us:
        new = msgspec.structs.replace(new, shelved_until_us=None, revision=new.revision + 1)
        steps.append(Step("unshelved", "TIME_OVER", new))
    if alert.realarm_us is not None and alert.realarm_us <= now_us and new.shelved_until_us is None:
        new = msgspec.structs.replace(
            new, acknowledged_at_us=None, acknowledged_by=None, realarm_us=None, realarms=new.realarms + 1,
            revision=new.revision + 1,
        )  # fmt: skip
        steps.append(Step("realarmed", "REALARM", new, alert.acknowledged_by or ""))
    if alert.clears_us is not None and alert.clears_us <= now_us:
        steps += cleared(new, "STAYED_AWAY", now_us)
    return Decision(tuple(steps), "" if steps else "NOTHING_NEW")
