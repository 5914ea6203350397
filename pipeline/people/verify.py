"""Is the record whole? Walks a chain from its beginning and holds it against every signed head; says all that is wrong, not the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.people.chain import Finding, Walk
from pipeline.people.chains import Chain
from pipeline.people.heads import Head, Line, line_hash, read_heads, verify

UNSIGNED_AFTER_US = 60_000_000
"""A head is due every ten seconds: what waits for longer was never signed, or its head was taken away."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one chain. `signed_n`: how far the newest good head reaches."""

    chain: str
    entries: int
    signed_n: int
    findings: tuple[Finding, ...]


def verify_chain(chain: Chain, files: Iterable[Path], keys: Mapping[str, Ed25519PublicKey], now_us: int) -> Verdict:
    """`files`: of heads, ours and copies of it. Raises UnreadableError when the database cannot be read."""
    findings: list[Finding] = []
    heads: list[Head] = []
    for i, path in enumerate(files):
        good, wrong = _check_file(chain.name, path, read_heads(path), keys, whole=i == 0)
        heads += good
        findings += wrong
    walk = Walk(chain.name)
    wanted: dict[int, list[Head]] = {}
    for head in heads:
        wanted.setdefault(head.n, []).append(head)
    signed_n, seen, oldest_unsigned = max(wanted, default=0), set(), None
    for n, entry, hashed in walk.rows(chain.rows() if chain.exists else ()):
        if n in wanted:
            seen.add(n)
            if any(head.hash != hashed.hex() for head in wanted[n]):
                findings.append(
                    Finding(chain.name, "altered", n, "the chain was written anew: a signed head says another hash")
                )
        elif n > signed_n and oldest_unsigned is None:
            oldest_unsigned = n, _at_us(entry)
    beyond = [n for n in wanted if n > walk.last_n]
    if beyond:
        words = f"the chain ends with {walk.last_n}, and a signed head says that it reached {max(beyond)}"
        findings.append(Finding(chain.name, "cut", walk.last_n + 1, words))
    if oldest_unsigned is not None and not beyond and now_us - oldest_unsigned[1] > UNSIGNED_AFTER_US:
        words = f"no signed head reaches entries {oldest_unsigned[0]} to {walk.last_n}"
        findings.append(Finding(chain.name, "unsigned", oldest_unsigned[0], words))
    found = sorted({*walk.findings, *findings}, key=lambda f: (f.n, f.kind, f.words))
    return Verdict(chain.name, walk.entries, max(seen, default=0), tuple(found))


def _check_file(
    chain: str, path: Path, lines: list[Line], keys: Mapping[str, Ed25519PublicKey], *, whole: bool
) -> tuple[list[Head], list[Finding]]:
    """The heads that count, and what is wrong with the file itself."""
    good: list[Head] = []
    findings: list[Finding] = []
    before = ""
    for line in lines:
        where, head = f"{path.name} line {line.number}", line.head
        if head is None:
            findings.append(Finding(chain, "altered", 0, f"{where} is no head"))
        elif head.chain != chain:
            findings.append(Finding(chain, "foreign", head.n, f"{where} is a head of the chain {head.chain!r}"))
        elif head.key not in keys:
            words = f"{where} is signed with the key {head.key}, which is not among those that we trust"
            findings.append(Finding(chain, "foreign", head.n, words))
        elif not verify(head, keys[head.key]):
            findings.append(Finding(chain, "altered", head.n, f"{where} is not what was signed"))
        else:
            if head.before != before and (whole or line.number > 1):
                findings.append(Finding(chain, "missing", head.n, f"{where} does not follow from the line before it"))
            if good and head.n <= good[-1].n:
                findings.append(Finding(chain, "foreign", head.n, f"{where} goes back from {good[-1].n}"))
            good.append(head)
        before = line_hash(line.data)
    return good, findings


def _at_us(entry: bytes) -> int:
    """When it was written; 0, long ago, when it does not say."""
    try:
        at_us = orjson.loads(entry)["at_us"]
    except (ValueError, KeyError, TypeError):
        return 0
    return at_us if isinstance(at_us, int) else 0


def tally(verdicts: Iterable[Verdict]) -> str:
    """`2 altered, 1 cut`."""
    counted = Counter(finding.kind for verdict in verdicts for finding in verdict.findings)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
