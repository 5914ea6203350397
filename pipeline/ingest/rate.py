"""A token bucket per login: what comes too fast waits its turn, and is not lost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """`per_s` tokens a second, `burst` at most. Knows no clock: `now_s` is any that does not run backwards."""

    per_s: float
    burst: float
    tokens: float
    at_s: float

    @classmethod
    def full(cls, per_s: float, burst: float, now_s: float) -> Bucket:
        return cls(per_s, burst, burst, now_s)

    def spend(self, now_s: float, cost: float = 1.0, reserve: float = 0.0) -> bool:
        """Use `cost` tokens if that leaves `reserve` of them; else nothing is used."""
        self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        if self.tokens < cost + reserve:
            return False
        self.tokens -= cost
        return True

    def due_s(self, cost: float = 1.0, reserve: float = 0.0) -> float:
        """How long after the last look `spend` will succeed."""
        return max(0.0, (cost + reserve - self.tokens) / self.per_s)
