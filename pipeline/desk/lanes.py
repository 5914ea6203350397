"""Where log-ins wait for their turn."""

from __future__ import annotations

import asyncio


class Lane:
    """Passwords are looked at one after the other in it, since argon2 takes 64 MiB and half a second each. A lane that is full takes none."""

    MOST = 16

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._inside = 0

    @property
    def full(self) -> bool:
        return self._inside >= self.MOST

    async def __aenter__(self) -> None:
        self._inside += 1
        await self._one_at_a_time.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._one_at_a_time.release()
        self._inside -= 1
