"""A token bucket per login: what comes too fast waits on the wire, and is not lost."""

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

    def take(self, now_s: float) -> float:
        """Use one token; returns how long to wait before going on, 0 while there are some."""
        self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s
        self.tokens -= 1.0
        return 0.0 if self.tokens >= 0 else -self.tokens / self.per_s
