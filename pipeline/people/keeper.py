"""Signs the heads of the chains every few seconds, beside those who write them: the alert path waits for nothing of it.

What is signed has been walked before: from the last signed head on each entry follows from the one before it. A chain that does not follow is
told loudly and not signed any further.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.clock import Clock, WallClock
from pipeline.people.chain import link
from pipeline.people.chains import Chain, UnreadableError
from pipeline.people.heads import Head, Signer

log = logging.getLogger("rahdar.audit")

EVERY_S = 10.0
SAY_EVERY_US = {logging.INFO: 600_000_000, logging.WARNING: 60_000_000, logging.CRITICAL: 60_000_000}


class BrokenChainError(Exception):
    """It does not go on from what was signed."""


def sign(chain: Chain, signer: Signer, clock: Clock) -> Head | None:
    """A head for what was added since the last one; None: nothing was. Raises BrokenChainError, UnreadableError, OSError."""
    if not chain.exists:
        return None
    head = signer.last(chain.name)
    n, before = (head.n, bytes.fromhex(head.hash)) if head else (0, b"")
    if head is not None:
        signed = next(iter(chain.rows(head.n - 1)), None)
        if signed is None or signed[0] != head.n or signed[2] != before:
            raise BrokenChainError(f"entry {head.n}, which is signed, is not what it was")
    for number, entry, hashed in chain.rows(n):
        if number != n + 1 or not isinstance(entry, bytes) or link(before, entry) != hashed:
            raise BrokenChainError(f"entry {n + 1} is not there, or does not follow from those before it")
        n, before = number, hashed
    return signer.sign(chain.name, n, before, clock.now_us()) if n > (head.n if head else 0) else None


class HeadKeeper:
    """A thread of its own, for the life of a stage. Trouble is logged and tried again, also with the key: no stage waits or ends for it."""

    def __init__(
        self, chains: Sequence[Chain], folder: Path, clock: Clock | None = None, every_s: float = EVERY_S
    ) -> None:
        self._chains, self._folder, self._every_s = chains, folder, every_s
        self._clock = clock or WallClock()
        self._signer: Signer | None = None
        self._over = threading.Event()
        self._said_us: dict[tuple[str, int], int] = {}
        self._thread = threading.Thread(target=self._run, name="audit-heads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After a last head."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        for chain in self._chains:
            chain.close()

    def _run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._every_s)
            self.turn()

    def turn(self) -> None:
        for chain in self._chains:
            try:
                self._signer = self._signer or Signer(self._folder)
                head = sign(chain, self._signer, self._clock)
            except BrokenChainError as error:
                words = f"the audit chain `{chain.name}` was touched: {error}; run `rahdar audit verify`"
                self._say(chain.name, logging.CRITICAL, words)
            except (UnreadableError, OSError, ValueError) as error:  # a key file that cannot be used is a ValueError
                self._say(chain.name, logging.WARNING, f"the audit chain `{chain.name}` cannot be signed: {error}")
            else:
                if head is not None:  # a log that is kept elsewhere is a copy that nobody here can cut
                    self._say(chain.name, logging.INFO, f"audit head {head.chain} {head.n} {head.hash} {head.key}")

    def _say(self, chain: str, level: int, words: str) -> None:
        now, kind = self._clock.now_us(), (chain, level)
        if kind not in self._said_us or now - self._said_us[kind] >= SAY_EVERY_US[level]:
            log.log(level, "%s", words)
            self._said_us[kind] = now
