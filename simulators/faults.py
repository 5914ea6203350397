"""What a bad network and bad devices do to a stream of parcels: drop, delay, repeat, reorder, tell the wrong time.

Each fault takes parcels in order of arrival and gives parcels in order of arrival. They can be put behind one another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import msgspec
import numpy as np

from simulators.devices import SECOND_US, Parcel

Fault = Callable[[Iterable[Parcel], np.random.Generator], Iterator[Parcel]]


def in_order(parcels: Iterable[tuple[int, Parcel]]) -> Iterator[Parcel]:
    """Sort what was put off. Takes (instant before which nothing more will come, parcel); those instants never fall."""
    held: list[tuple[int, int, Parcel]] = []
    number = count()
    for safe_us, parcel in parcels:
        heapq.heappush(held, (parcel.at_us, next(number), parcel))
        while held and held[0][0] <= safe_us:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _later(parcel: Parcel, seconds: float) -> Parcel:
    return msgspec.structs.replace(parcel, at_us=parcel.at_us + int(seconds * SECOND_US))


def drop(share: float) -> Fault:
    """This share never arrives; nothing is sent again (a device without acknowledgements)."""

    def apply(parcels: Iterable[Parcel], rng: np.random.Generator) -> Iterator[Parcel]:
        for parcel in parcels:
            if rng.random() >= share:
                yield parcel

    return apply


def delay(share: float, at_most_s: float) -> Fault:
    """This share arrives late, by up to `at_most_s`; the rest in time: so some overtake others."""

    def apply(parcels: Iterable[Parcel], rng: np.random.Generator) -> Iterator[Parcel]:
        def put_off() -> Iterator[tuple[int, Parcel]]:
            for parcel in parcels:
                late = rng.random() < share
                yield parcel.at_us, _later(parcel, rng.uniform(0, at_most_s)) if late else parcel

        return in_order(put_off())

    return apply


def repeat(share: float, within_s: float) -> Fault:
    """This share arrives a second time, and now and then a third."""

    def apply(parcels: Iterable[Parcel], rng: np.random.Generator) -> Iterator[Parcel]:
        def again() -> Iterator[tuple[int, Parcel]]:
            for parcel in parcels:
                yield parcel.at_us, parcel
                while rng.random() < share:
                    yield parcel.at_us, _later(parcel, rng.uniform(0, within_s))

        return in_order(again())

    return apply


def reorder(window_s: float) -> Fault:
    """Everything within the window may arrive in any order."""
    return delay(1.0, window_s)


def wrong_clock(devices: frozenset[str], ahead_s: float) -> Fault:
    """These devices' clocks are ahead (or, negative, behind): every stamp is wrong by that."""

    def apply(parcels: Iterable[Parcel], rng: np.random.Generator) -> Iterator[Parcel]:
        shift_us = int(ahead_s * SECOND_US)
        for parcel in parcels:
            if parcel.device in devices:
                items = tuple(msgspec.structs.replace(i, seen_at_us=i.seen_at_us + shift_us) for i in parcel.items)
                parcel = msgspec.structs.replace(parcel, items=items)
            yield parcel

    return apply
