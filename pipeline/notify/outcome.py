"""How a sending went. `Unknown` is a name of its own: what may have arrived is sent again only with the word "repeat"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """The channel's receipt: the other side has taken it."""

    receipt: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A relay has taken it and will report its delivery under `receipt` within `within_s`; no report means not told."""

    receipt: str
    within_s: float


@dataclass(frozen=True, slots=True)
class Passing:
    """It did not arrive, and another try may help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Permanent:
    """It did not arrive, and never will by this channel."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It went out, and nobody said what became of it."""

    reason: str


Outcome = Sent | Accepted | Passing | Permanent | Unknown
