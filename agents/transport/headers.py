"""Headers of a record, as bytes in the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

_decoder = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def pack_headers(headers: Iterable[tuple[str, bytes]] | Mapping[str, bytes] | None) -> bytes | None:
    if not headers:
        return None
    return msgspec.msgpack.encode(list(headers.items() if isinstance(headers, Mapping) else headers))


def unpack_headers(packed: bytes | None) -> list[tuple[str, bytes]]:
    return _decoder.decode(packed) if packed else []
