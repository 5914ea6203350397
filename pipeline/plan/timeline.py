"""The plan as a timeline: which plan was in force at which instant.

It is a function of the first plan and of the set of orders, whatever their order of arrival: they count by `effective_from`, then by when
they were given. An order that does not fit what is in force at its instant changes nothing there, and its faults are kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.model.observation import Order
from pipeline.plan.faults import Fault
from pipeline.plan.model import CompiledPlan
from pipeline.plan.orders import SWITCH, OrderError, apply_order

EVER_US = 1 << 62
OrderKey = tuple[int, int, int, str]


class UnknownPlanError(LookupError):
    """A switch to a plan whose content is not at hand: `plan_hash` names it. Give it, and try again."""

    def __init__(self, plan_hash: str) -> None:
        super().__init__(f"plan {plan_hash}")
        self.plan_hash = plan_hash


def key_of(order: Order) -> OrderKey:
    return order.effective_from_us, order.seen_at_us, order.body, order.what


@dataclass(frozen=True, slots=True)
class Version:
    """In force from this instant until the next one's."""

    from_us: int
    plan: CompiledPlan


@dataclass(frozen=True)
class Timeline:
    base: CompiledPlan
    plans: Mapping[str, CompiledPlan] = field(default_factory=dict)
    """What a switch may name, by hash."""
    orders: tuple[Order, ...] = ()
    versions: tuple[Version, ...] = ()
    refused: Mapping[OrderKey, tuple[Fault, ...]] = field(default_factory=dict)
    known: Mapping[tuple[str, OrderKey], CompiledPlan] = field(default_factory=dict)
    """What was derived before: an order that comes in derives only what is behind it."""

    def __post_init__(self) -> None:
        if not self.versions:
            object.__setattr__(self, "versions", (Version(0, self.base),))

    def has(self, order: Order) -> bool:
        return any(key_of(order) == key_of(known) for known in self.orders)

    def with_orders(self, orders: Iterable[Order], plans: Mapping[str, CompiledPlan] | None = None) -> Timeline:
        """With these as well. Raises UnknownPlanError."""
        plans = {**self.plans, **(plans or {})}
        by_key = {key_of(order): order for order in (*self.orders, *orders)}
        versions = [Version(0, self.base)]
        refused: dict[OrderKey, tuple[Fault, ...]] = {}
        derived: dict[tuple[str, OrderKey], CompiledPlan] = {}
        counted: list[Order] = []  # movement orders that are in force, to be carried over a switch
        for key, order in sorted(by_key.items()):
            before = versions[-1].plan
            at = before.hash, key
            try:
                if order.what == SWITCH:
                    after = self._switched(order, counted, plans)
                else:
                    after = self.known[at] if at in self.known else apply_order(before, order)
                    counted.append(order)
            except OrderError as error:
                refused[key] = tuple(error.faults)
                continue
            derived[at] = after
            if after.hash == before.hash:
                continue
            if versions[-1].from_us == order.effective_from_us:
                versions.pop()
            versions.append(Version(order.effective_from_us, after))
        return Timeline(
            self.base, plans, tuple(o for _, o in sorted(by_key.items())), tuple(versions), refused, derived
        )

    @staticmethod
    def _switched(order: Order, before: list[Order], plans: Mapping[str, CompiledPlan]) -> CompiledPlan:
        """The plan of this hash, with the orders that were given before it and still fit."""
        plan = plans.get(order.plan_hash)
        if plan is None:
            raise UnknownPlanError(order.plan_hash)
        for earlier in before:
            try:
                plan = apply_order(plan, earlier)
            except OrderError:
                continue  # the new plan says otherwise
        return plan

    def same_versions(self, other: Timeline) -> bool:
        """Is the same plan in force at every instant?"""
        mine, theirs = ([(v.from_us, v.plan.hash) for v in t.versions] for t in (self, other))
        return mine == theirs

    def place(self, at_us: int) -> int:
        """Which version is in force then."""
        return max(0, bisect_right([v.from_us for v in self.versions], at_us) - 1)

    def places(self, at_us: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """The same of many instants, shape (n,)."""
        return np.maximum(0, np.searchsorted([v.from_us for v in self.versions], at_us, side="right") - 1)

    def at(self, at_us: int) -> CompiledPlan:
        return self.versions[self.place(at_us)].plan

    def until_us(self, place: int) -> int:
        return self.versions[place + 1].from_us if place + 1 < len(self.versions) else EVER_US
