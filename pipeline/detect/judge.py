"""What a rule beside the compiled scan has to be, so that it is under the law as well.

Such a rule keeps what is a function of the set of observations that it was given, whatever their order of arrival, and says what has
changed in what it would tell. The scan's rules need the order and are taken back instead (`rewind`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy.typing as npt

from pipeline.detect.tell import Account
from pipeline.model.episode import Change, Episode, Mode
from pipeline.model.wire import ObservationBatch

Array = npt.NDArray[Any]
EVER_US = 1 << 62
type_kind = Literal["begin", "amend", "end", "retract"]


class Held(NamedTuple):
    """An episode that was told, how, and in which cell."""

    episode: Episode
    mode: Mode
    cell: str


class Judge(Protocol):
    """`name`: of its part of a checkpoint. `on` False: the plan does not ask for it, and it is called no more. `dirty`: it holds what no
    checkpoint has."""

    name: str
    on: bool
    dirty: bool

    def take(self, batch: ObservationBatch, fixes: Array | None, use: Array | None) -> None:
        """A record: `fixes` as rows of `FIX`, `use` what triage said of each; None when it has none."""

    def changes(self) -> list[Change]:
        """What is now to be told that was not, what is told otherwise, and what was told and no longer holds."""

    def held(self) -> Iterator[Held]:
        """What it has told and still keeps in mind."""

    def dump(self, whole: bool) -> bytes:
        """What changed since the last call; all of it when `whole`."""

    def restore(self, kept: bytes) -> None:
        """Take over what `dump` gave, in the order in which it gave it, perhaps under another plan."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What was published, and the number of the last change."""

    revision: int
    episodes: list[Episode]


def retold(
    told: Told | None, after: Iterable[Episode], mode: Mode, now_us: int, cell: str, plan_hash: str
) -> tuple[Told, list[Change]]:
    """The account of one rule as it is now to be told, and what of it is news: decided when time had come so far, or at an end that lies
    ahead of that."""
    revision = told.revision if told else 0
    before = {e.id: e for e in told.episodes} if told else {}
    now = {e.id: e for e in after}
    news = []
    for kind, episode, was in differences(before, now):
        revision += 1
        at_us = max(now_us, episode.ended_at_us or 0)
        news.append(Account(episode, mode, at_us, at_us).change(kind, revision, cell, plan_hash, was))
    return Told(revision, list(now.values())), news


def overlap(a: Episode, b: Episode) -> bool:
    return a.began_at_us < (b.ended_at_us or EVER_US) and b.began_at_us < (a.ended_at_us or EVER_US)


def differences(
    before: Mapping[str, Episode], after: Mapping[str, Episode], replaces: Callable[[Episode, Episode], bool] = overlap
) -> Iterator[tuple[type_kind, Episode, tuple[str, ...]]]:
    """(kind, episode, was_ids) of what has to be published, between two accounts by id. `replaces(old, new)`: whether an episode that is
    gone lives on in one that is new; the default is for the accounts of one rule, subject and object."""
    gone = [e for e in before.values() if e.id not in after]
    for episode in after.values():
        old = before.get(episode.id)
        if old == episode:
            continue
        if old is not None:
            over = old.ended_at_us is None and episode.ended_at_us is not None
            yield ("end" if over else "amend"), episode, ()
            continue
        was = tuple(e.id for e in gone if replaces(e, episode))
        if was:
            gone = [e for e in gone if e.id not in was]
            yield "amend", episode, was
            continue
        yield "begin", msgspec.structs.replace(episode, ended_at_us=None), ()
        if episode.ended_at_us is not None:
            yield "end", episode, ()
    for episode in gone:
        yield "retract", episode, ()
