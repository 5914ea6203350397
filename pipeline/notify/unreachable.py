"""Nobody could be told: that is an alert of its own, `roster.unreachable`, one a post, until somebody can be reached again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from pipeline.alert.book import Step, cleared
from pipeline.model.alert import Alert
from pipeline.model.episode import episode_id
from pipeline.notify.escalate import UNREACHABLE
from pipeline.notify.tables import outbox
from pipeline.plan.model import CompiledPlan
from pipeline.plan.roster import on_post

Opens = Callable[[str, str, str, int], Alert]
"""(rule, region, subject, since_us) -> the alert without an episode that is then open."""
PREFIX = "unreachable/"
_OPEN = sa.text("select 1 from numbers where name like 'unreachable/%' and value > 0 limit 1")


def any_open(tx: sa.Connection) -> bool:
    return tx.execute(_OPEN).first() is not None


def raised(turn: Any, opens: Opens, about: Alert, post: str, reason: str, since_us: int) -> list[Step]:
    """`since_us`: when the telling failed, not when we read of it: what got through counts from then on. Not about itself: who cannot be
    told of an alert cannot be told of that either."""
    name = f"{PREFIX}{about.region}/{post}"
    if about.rule == UNREACHABLE or turn.numbers.get(name, 0):
        return []
    turn.put_number(name, since_us)
    return [Step("opened", reason, opens(UNREACHABLE, about.region, post, since_us), about.id)]


def cleared_again(turn: Any, plan: CompiledPlan, now_us: int) -> list[Step]:
    """Somebody is on the post, and was reached if the one before was not."""
    steps: list[Step] = []
    for name, since_us in sorted(turn.numbers.items()):
        if not name.startswith(PREFIX) or not since_us:
            continue
        region, post = name.removeprefix(PREFIX).split("/", 1)
        roster = plan.rosters.get(region)
        if roster is not None and not _reachable(turn.tx, bool(on_post(roster, post, now_us)), post, since_us):
            continue
        turn.put_number(name, 0)
        alert = turn.get(episode_id(UNREACHABLE, post, "", since_us))
        if alert is not None and alert.cleared_at_us is None:
            steps += cleared(alert, "REACHABLE_AGAIN", now_us)
    return steps


def _reachable(tx: sa.Connection, manned: bool, post: str, since_us: int) -> bool:
    if not manned:
        return False
    failed = sa.select(outbox.c.id).where(
        outbox.c.post == post, outbox.c.state == "failed", outbox.c.sent_us >= since_us
    )
    sent = sa.select(outbox.c.id).where(outbox.c.post == post, outbox.c.state == "sent", outbox.c.sent_us > since_us)
    return tx.execute(failed.limit(1)).first() is None or tx.execute(sent.limit(1)).first() is not None
