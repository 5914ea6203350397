"""Which alert an officer's SMS takes: the code must be one that this officer was sent, and the number must be theirs."""

from __future__ import annotations

import hmac
import re

from pipeline.notify.addresses import Addresses
from pipeline.notify.leases import Leases
from pipeline.notify.links import CODE_DIGITS, reply_code
from pipeline.plan.model import CompiledPlan

_CODE = re.compile(rf"(?<!\d)\d{{{CODE_DIGITS}}}(?!\d)")
_EASTERN = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "01234567890123456789")
MOST_CODES = 5


def answered(
    plan: CompiledPlan, addresses: Addresses, leases: Leases, secret: bytes, number: str, text: str, since_us: int
) -> tuple[str, str] | None:
    """(alert, officer), or None. `text` as it came, Urdu digits too."""
    codes = _CODE.findall(text[:500].translate(_EASTERN))[:MOST_CODES]
    if not codes:
        return None
    for officer in (o for r in plan.rosters.values() for o in r.officers.values()):
        if not any(c.kind == "gsm" and _same(addresses.find(c.address), number) for c in officer.channels):
            continue
        for alert, _ in leases.sent_to(officer.id, since_us):
            wanted = reply_code(secret, alert, officer.id)
            if any(hmac.compare_digest(wanted, code) for code in codes):
                return alert, officer.id
    return None


def _same(known: str | None, number: str) -> bool:
    """Networks write a number with + or without, with 0 or with the country: the last nine digits tell."""
    if known is None:
        return False
    a, b = (re.sub(r"\D", "", n) for n in (known, number))
    return len(a) >= 9 and len(b) >= 9 and a[-9:] == b[-9:]
