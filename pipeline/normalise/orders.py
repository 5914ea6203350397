"""Orders on their way through `raw`: what ingest put into its spool, read back. None comes from a device, whatever its topic says."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.model.observation import Order
from pipeline.model.times import format_us
from pipeline.model.wire import RawItem
from pipeline.normalise.formats import native
from pipeline.normalise.formats.said import Said
from pipeline.normalise.gate import Who, gate
from pipeline.normalise.reasons import RefusedError

ORDER_TOPIC = "$order/"
ORDER_LOGIN = "$order"
"""No broker lets anybody in under such a name, and a device's topics begin otherwise."""


def is_order(item: RawItem) -> bool:
    return item.login == ORDER_LOGIN and item.topic.startswith(ORDER_TOPIC)


def order_of(item: RawItem) -> Order:
    """A native line. Without `effective_from` it is in force from its receipt. Raises RefusedError."""
    try:
        found: Any = orjson.loads(item.payload)
    except orjson.JSONDecodeError as error:
        raise RefusedError("malformed", str(error)) from None
    if not isinstance(found, dict) or found.get("kind") != "order":
        raise RefusedError("malformed", "no order")
    received = format_us(item.received_at_us)
    found = {"seen_at": received, "effective_from": received, **found}
    said = native.decode(orjson.dumps(found))
    if not isinstance(said, Said):
        raise RefusedError("malformed", "no order")
    # one's own clock may be ahead of ingest's by a moment; an order is no device's and is not judged by its age
    order = gate(said, Who("", ""), item.received_at_us, False, None)
    if not isinstance(order, Order):
        raise RefusedError("malformed", "no order")
    return order
