"""A chain of entries: each hash is of the hash before it and the entry, `h = SHA-256(h_before + entry)`. Whoever alters one alters all that
follow; whoever cuts the end off is seen by the signed heads (pipeline.people.heads)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

FIRST_BEFORE = b""
Kind = Literal["altered", "missing", "cut", "foreign", "unsigned"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`n`: the entry it is about, or the first of several."""

    chain: str
    kind: Kind
    n: int
    words: str

    def __str__(self) -> str:
        return f"{self.chain}: {self.kind} at {self.n}: {self.words}"


def link(before: bytes, entry: bytes) -> bytes:
    return hashlib.sha256(before + entry).digest()


class Walk:
    """Goes along a chain once, from its beginning. `findings` is whole when `rows()` has been used up."""

    def __init__(self, chain: str) -> None:
        self.chain = chain
        self.findings: list[Finding] = []
        self.entries = 0
        self.last_n = 0
        self.hash = FIRST_BEFORE

    def rows(self, rows: Iterable[tuple[Any, Any, Any]]) -> Iterator[tuple[int, bytes, bytes]]:
        """`rows`: (n, entry, hash) by n, as they lie in the database. Yields number, entry and the hash that it has there.

        After an entry that does not follow, the walk goes on from the hash that stands there: one fault is one finding.
        """
        expected = 1
        for n, entry, hashed in rows:
            if not (isinstance(n, int) and isinstance(entry, bytes) and isinstance(hashed, bytes)) or n < 1:
                self._find("foreign", n if isinstance(n, int) else 0, "an entry that none of our programs wrote")
                continue
            if n != expected:
                self._find("missing", expected, _gap(expected, n))
            elif link(self.hash, entry) != hashed:
                self._find("altered", n, "the hash does not follow from the entry and those before it")
            expected, self.last_n, self.hash = n + 1, n, hashed
            self.entries += 1
            yield n, entry, hashed

    def _find(self, kind: Kind, n: int, words: str) -> None:
        self.findings.append(Finding(self.chain, kind, n, words))


def _gap(expected: int, found: int) -> str:
    return (
        f"entry {expected} is not there"
        if found == expected + 1
        else f"entries {expected} to {found - 1} are not there"
    )
