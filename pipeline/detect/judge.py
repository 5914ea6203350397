"""What a rule beside the compiled scan has to be, so that it is under the law as well.

Such a rule keeps what is a function of the set of observations that it was given, whatever their order of arrival, and says what has
changed in what it would tell. The scan's rules need the order and are taken back instead (`rewind`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from pipeline.model.episode import Change
from pipeline.model.wire import ObservationBatch

Array = npt.NDArray[Any]


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

    def dump(self, whole: bool) -> bytes:
        """What changed since the last call; all of it when `whole`."""

    def restore(self, kept: bytes) -> None:
        """Take over what `dump` gave, in the order in which it gave it, perhaps under another plan."""
