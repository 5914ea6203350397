"""SMS as a modem takes and gives them: PDUs of 3GPP TS 23.040, text in the GSM alphabet (23.038) or, for Urdu, in UCS-2.

Long texts become parts that the handset joins. Every part asks for a report of its delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = {"^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65}
_ESCAPE = 0x1B
_BACK = {code: sign for sign, code in EXTENDED.items()}
MOST_PARTS = 4
_SEPTETS, _SEPTETS_OF_PARTS = 160, 153
_UNITS, _UNITS_OF_PARTS = 70, 67


class PduError(ValueError):
    """It is no PDU that we know."""


@dataclass(frozen=True, slots=True)
class Submit:
    """`length`: what AT+CMGS is told, octets without the service centre's."""

    length: int
    data: str  # hex


@dataclass(frozen=True, slots=True)
class Deliver:
    number: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """Of one part: `status` 0 is delivered, below 0x20 too, below 0x40 still trying, the rest is given up."""

    reference: int
    number: str
    status: int


def septets(text: str) -> list[int] | None:
    """In the GSM alphabet; None: it has signs that are not in it."""
    out: list[int] = []
    for sign in text:
        if sign in EXTENDED:
            out += [_ESCAPE, EXTENDED[sign]]
        elif (at := BASIC.find(sign)) >= 0 and sign != "\x1b":
            out.append(at)
        else:
            return None
    return out


def packed(codes: list[int], shift: int = 0) -> bytes:
    """Seven bits each, after `shift` empty bits."""
    bits = length = 0
    out = bytearray()
    length = shift
    for code in codes:
        bits |= code << length
        length += 7
        while length >= 8:
            out.append(bits & 0xFF)
            bits >>= 8
            length -= 8
    if length:
        out.append(bits & 0xFF)
    return bytes(out)


def unpacked(data: bytes, count: int, shift: int = 0) -> list[int]:
    bits = int.from_bytes(data, "little") >> shift
    return [(bits >> (7 * n)) & 0x7F for n in range(count)]


def submits(number: str, text: str, reference: int) -> list[Submit]:
    """The parts of one message. `reference` (0-255) joins them. Too long a text is cut. Raises PduError: no number."""
    codes = septets(text)
    if codes is not None:
        parts = _cut(codes)
        return [_submit(number, 0, packed(p, 1) if len(parts) > 1 else packed(p), len(p), reference, n, len(parts))
                for n, p in enumerate(parts)]  # fmt: skip
    units = text.encode("utf-16-be")
    size = 2 * (_UNITS if len(units) <= 2 * _UNITS else _UNITS_OF_PARTS)
    cut = [units[at : at + size] for at in range(0, len(units), size)][:MOST_PARTS]
    return [_submit(number, 8, part, len(part), reference, n, len(cut)) for n, part in enumerate(cut)]


def _cut(codes: list[int]) -> list[list[int]]:
    if len(codes) <= _SEPTETS:
        return [codes]
    parts: list[list[int]] = []
    at = 0
    while at < len(codes) and len(parts) < MOST_PARTS:
        end = min(at + _SEPTETS_OF_PARTS, len(codes))
        if end < len(codes) and codes[end - 1] == _ESCAPE:
            end -= 1  # an escape stays with what it escapes
        parts.append(codes[at:end])
        at = end
    return parts


def _submit(number: str, scheme: int, body: bytes, length: int, reference: int, n: int, of: int) -> Submit:
    header = bytes([5, 0, 3, reference & 0xFF, of, n + 1]) if of > 1 else b""
    if header:
        length += 7 if scheme == 0 else len(header)  # 48 bits and one to fill are seven septets
    first = 0x21 | (0x40 if header else 0)  # submit, a report is asked for, with a header
    tpdu = bytes([first, 0]) + _address(number) + bytes([0, scheme, length]) + header + body
    return Submit(len(tpdu), "00" + tpdu.hex().upper())


def _address(number: str) -> bytes:
    digits = number.removeprefix("+")
    if not digits.isascii() or not digits.isdigit() or not 3 <= len(digits) <= 20:
        raise PduError("not a telephone number")
    padded = digits + ("F" if len(digits) % 2 else "")
    swapped = "".join(padded[i + 1] + padded[i] for i in range(0, len(padded), 2))
    return bytes([len(digits), 0x91 if number.startswith("+") else 0x81]) + bytes.fromhex(swapped)


def _number(data: bytes, at: int) -> tuple[str, int]:
    count, kind = data[at], data[at + 1]
    size = (count + 1) // 2
    body = data[at + 2 : at + 2 + size]
    if kind & 0x70 == 0x50:  # a name
        return _text(unpacked(body, count * 4 // 7)), at + 2 + size
    digits = "".join(f"{octet & 15:X}{octet >> 4:X}" for octet in body)[:count]
    return ("+" if kind & 0x70 == 0x10 else "") + digits, at + 2 + size


def _text(codes: list[int]) -> str:
    out, escaped = [], False
    for code in codes:
        if code == _ESCAPE and not escaped:
            escaped = True
            continue
        out.append(_BACK.get(code, " ") if escaped else BASIC[code])
        escaped = False
    return "".join(out)


def read_pdu(text: str) -> Deliver | Report:
    """What a modem hands on. Raises PduError."""
    try:
        data = bytes.fromhex(text.strip())
        at = 1 + data[0]
        first = data[at]
        if first & 3 == 2:
            reference = data[at + 1]
            number, at = _number(data, at + 2)
            return Report(reference, number, data[at + 14])
        if first & 3 != 0:
            raise PduError("neither a message nor a report")
        number, at = _number(data, at + 1)
        scheme, length = data[at + 1], data[at + 9]
        body = data[at + 10 :]
        skip = 1 + body[0] if first & 0x40 else 0
        if scheme & 0x0C == 8:
            return Deliver(number, body[skip:length].decode("utf-16-be", "replace"))
        if scheme & 0x0C == 4:
            return Deliver(number, body[skip:length].decode("latin-1"))
        septet_skip = -(-skip * 8 // 7)
        return Deliver(number, _text(unpacked(body, length)[septet_skip:]))
    except (ValueError, IndexError) as error:
        raise PduError(str(error)) from error
