"""normalise: raw messages in, observations by cell out, and every input with exactly one outcome. Pure: one message alone, no memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.model.observation import KEPT_OUT_OF_RULES, Fix, Flag, Link, Other
from pipeline.model.wire import BatchBuilder, ObservationBatch, RawBatch, RawItem, Reject
from pipeline.normalise.formats import FAULT, FORMATS, Said, read
from pipeline.normalise.gate import HORIZON_US, Who, flagged, gate
from pipeline.normalise.identity import called, format_of, who_speaks
from pipeline.normalise.orders import is_order, order_of
from pipeline.normalise.reasons import RefusedError
from pipeline.plan.copies import copies
from pipeline.plan.model import CompiledPlan, names_of

REJECT_VERSION = 1
LINK_TOPIC = "$link/"
UNREGISTERED = "_unregistered"
NOT_COPIED = int(KEPT_OUT_OF_RULES | Flag.BEYOND_HORIZON)
NOT_FROM_DEVICES = ("order", "tick")


@dataclass(slots=True)
class Normalised:
    """`counts`: inputs = accepted + flagged + rejected; beside them `rejected:<reason>` and `flagged:<mark>`.

    An input that says several things (a door and its tamper contact) has one outcome; `beside` counts what came with the first.
    `copies`: by cell, what rules about groups need there of vehicles whose home is another one; they are no outcomes.
    """

    batches: dict[str, ObservationBatch] = field(default_factory=dict)
    copies: dict[str, ObservationBatch] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Normaliser:
    def __init__(self, plan: CompiledPlan, horizon_us: int = HORIZON_US) -> None:
        self.plan = plan
        self.horizon_us = horizon_us
        self._copies = copies(plan)
        self._places = {name: place for place, name in enumerate(names_of(plan))}

    def record(self, raw: RawBatch) -> Normalised:
        """One record of `rahdar.raw`; its Ticks, behind everything else, in a batch of no cell."""
        out = Normalised()
        builders: dict[str, BatchBuilder] = {}
        copied: dict[str, BatchBuilder] = {}
        places = self._places if raw.plan_hash == self.plan.hash else None
        for item in raw.items:
            for cell, observation in self._item(raw.source, item, out):
                builder = builders.get(cell)
                if builder is None:
                    builder = builders[cell] = BatchBuilder(cell, raw.plan_hash, raw.source, places)
                builder.add(observation)
                if isinstance(observation, Fix) and not observation.flags & NOT_COPIED:
                    for other in self._copies.get(observation.vehicle, ()):
                        if other not in copied:
                            copied[other] = BatchBuilder(other, raw.plan_hash, raw.source, places, copy=True)
                        copied[other].add(observation)
        if raw.ticks:
            builder = builders.setdefault("", BatchBuilder("", raw.plan_hash, raw.source))
            builder.extend(raw.ticks)
        out.batches = {cell: builder.build() for cell, builder in builders.items()}
        out.copies = {cell: builder.build() for cell, builder in copied.items()}
        return out

    def _item(self, source: str, item: RawItem, out: Normalised) -> list[tuple[str, Fix | Other]]:
        if item.topic.startswith(LINK_TOPIC):
            return self._link(item, out)
        if is_order(item):
            return self._order(source, item, out)
        try:
            name = format_of(item.topic)
            if name not in FORMATS:
                raise RefusedError("unsupported", f"format {name[:40]!r}")
        except RefusedError as refused:
            self._reject(source, item, refused, out)
            return []
        found: list[tuple[str, Fix | Other]] = []
        for part, said in read(name, item.payload, item.topic):
            kept = item if part is item.payload else _part(item, part)
            if isinstance(said, RefusedError):
                self._reject(source, kept, said, out)
                continue
            taken = self._taken(item, said)
            if isinstance(taken, RefusedError):
                self._reject(source, kept, taken, out)
                continue
            self._count(taken, out)
            found += taken
        return found

    def _taken(self, item: RawItem, said: list[Said]) -> list[tuple[str, Fix | Other]] | RefusedError:
        """What is kept of one input. It is refused when nothing that it says of the world can be taken."""
        taken: list[tuple[str, Fix | Other]] = []
        refused: RefusedError | None = None
        told = False
        for one in said:
            try:
                if one.kind in NOT_FROM_DEVICES:
                    raise RefusedError("unsupported", f"{one.kind} does not come from a device")
                if item.retained and one.seen_at_us is None and one.kind != "press":
                    raise RefusedError("too_old", "kept by the broker, and it does not say of when it is")
                who = who_speaks(self.plan, item.login, item.topic, one)
                if one.kind == "reading":
                    one = called(self.plan, who, one)
                observation = gate(one, who, item.received_at_us, item.clock_trusted, self.plan, self.horizon_us)
            except RefusedError as error:
                refused = refused or error
                continue
            except Exception as error:  # noqa: BLE001  # a fault of ours must not stop the stream: the bytes are kept
                refused = refused or RefusedError("undecoded", f"{FAULT}: {type(error).__name__}: {error}")
                continue
            taken.append((who.cell or UNREGISTERED, observation))
            told = told or not one.aside
        return refused if refused is not None and not told else taken

    def _order(self, source: str, item: RawItem, out: Normalised) -> list[tuple[str, Fix | Other]]:
        """For every cell: ingest has put it into every partition, and it goes on there as Ticks do."""
        try:
            order = order_of(item)
        except RefusedError as refused:
            self._reject(source, item, refused, out)
            return []
        out.counts["inputs"] += 1
        out.counts["accepted"] += 1
        return [("", order)]

    def _link(self, item: RawItem, out: Normalised) -> list[tuple[str, Fix | Other]]:
        """The broker says that a session began or ended. Of whom the plan does not know there is nothing to tell."""
        out.counts["inputs"] += 1
        out.counts["accepted"] += 1
        login = self.plan.logins.get(item.login)
        if login is None or item.payload not in (b"online", b"offline"):
            return []
        state = item.payload.decode()
        said = Said(kind="link", what=state, seen_at_us=item.received_at_us)
        return [
            (
                login.cell,
                Link(
                    device=device,
                    state=state,
                    seen_at_us=item.received_at_us,
                    received_at_us=item.received_at_us,
                    body=said.body(),
                ),
            )
            for device in login.devices
        ]

    @staticmethod
    def _count(taken: list[tuple[str, Fix | Other]], out: Normalised) -> None:
        """One outcome: flagged, where what the message is about is a fix with a mark."""
        out.counts["inputs"] += 1
        first = taken[0][1] if taken else None
        marks = flagged(first.flags) if isinstance(first, Fix) and first.flags else []
        out.counts["flagged" if marks else "accepted"] += 1
        for mark in marks:
            out.counts[f"flagged:{mark}"] += 1
        if len(taken) > 1:
            out.counts["beside"] += len(taken) - 1

    @staticmethod
    def _reject(source: str, item: RawItem, refused: RefusedError, out: Normalised) -> None:
        out.counts["inputs"] += 1
        out.counts["rejected"] += 1
        out.counts[f"rejected:{refused.reason}"] += 1
        out.rejects.append(Reject(REJECT_VERSION, source, refused.reason, refused.detail, item))


def _part(item: RawItem, part: bytes) -> RawItem:
    return RawItem(item.id, item.login, item.topic, part, item.received_at_us, item.retained, item.clock_trusted)


__all__ = ["Normalised", "Normaliser", "Who"]
