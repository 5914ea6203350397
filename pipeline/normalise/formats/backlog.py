"""A message that is a JSON array is as many inputs. One that broke off loses what it lost, and nothing else."""

from __future__ import annotations

import re

import msgspec

from pipeline.normalise.reasons import RefusedError

MOST_IN_ONE = 1000
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_MARK = re.compile(rb'["{}\[\],]')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def is_array(payload: bytes) -> bool:
    return payload.lstrip()[:1] == b"["


def elements(payload: bytes) -> list[bytes]:
    """The elements of an array, whole or not. Raises RefusedError: malformed (there is none) or oversized (too many)."""
    found = parts(payload)
    if not found:
        raise RefusedError("malformed", "an array of nothing")
    if len(found) > MOST_IN_ONE:
        raise RefusedError("oversized", f"{len(found)} observations in one message; at most {MOST_IN_ONE}")
    return found


def parts(payload: bytes) -> list[bytes]:
    """The same, however many there are."""
    try:
        return [bytes(raw) for raw in _raws.decode(payload)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return salvage(payload)


def salvage(payload: bytes) -> list[bytes]:
    """The elements as their brackets and commas part them, in one pass; the last holds all that could not be parted."""
    found: list[bytes] = []
    start = at = payload.find(b"[") + 1
    depth = 1
    while depth and (mark := _MARK.search(payload, at)):
        at = mark.end()
        if mark[0] == b'"':
            string = _STRING.match(payload, mark.start())
            if string is None:
                break
            at = string.end()
        elif mark[0] in b"{[":
            depth += 1
        elif mark[0] in b"}]":
            depth -= 1
        elif depth == 1:
            found.append(payload[start : mark.start()])
            start = at
    end = at - 1 if not depth else len(payload)
    found += [payload[start:end], payload[at:] if not depth else b""]
    return [part.strip() for part in found if part.strip()]
