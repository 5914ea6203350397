"""A GSM modem on a pseudo-terminal: the AT commands that ours is sent, and a decoder of its own for what it is sent."""

from __future__ import annotations

import os
import pty
import re
import select
import threading
import tty
from dataclasses import dataclass, field


@dataclass
class Sms:
    reference: int
    number: str
    text: str
    part: tuple[int, int]  # (this, of)


def decoded(hexed: str) -> tuple[str, str, tuple[int, int]]:
    """Number, text, part of a SUBMIT: bit by bit, as the standard's tables say."""
    data = bytes.fromhex(hexed)[1:]
    assert data[0] & 3 == 1 and data[0] & 0x20, "a submit that asks for a report"
    digits = data[2]
    octets = data[4 : 4 + (digits + 1) // 2]
    number = "+" * (data[3] == 0x91) + "".join(f"{o % 16:x}{o // 16:x}" for o in octets).rstrip("f")
    rest = data[4 + len(octets) :]
    scheme, length, body = rest[1], rest[2], rest[3:]
    part, skip = (1, 1), 0
    if data[0] & 0x40:
        assert body[:3] == b"\x05\x00\x03"
        part, skip = (body[5], body[4]), 6
    if scheme == 8:
        assert length == len(body)
        return number, body[skip:].decode("utf-16-be"), part
    bits = "".join(f"{octet:08b}"[::-1] for octet in body)
    start = 49 if skip else 0
    count = length - (7 if skip else 0)
    signs = [int(bits[start + 7 * n : start + 7 * n + 7][::-1], 2) for n in range(count)]
    # the tests' texts keep to what is the same in ASCII, and to @ and the two brackets
    text, escaped = "", False
    for sign in signs:
        if sign == 27:
            escaped = True
            continue
        text += {0x3C: "[", 0x3E: "]"}[sign] if escaped else "@" if sign == 0 else chr(sign)
        escaped = False
    return number, text, part


def swapped(number: str) -> str:
    digits = number.lstrip("+") + "F" * (len(number.lstrip("+")) % 2)
    return "".join(b + a for a, b in zip(digits[::2], digits[1::2], strict=True))


@dataclass
class Modem:
    """`refuse`: a number for +CMS ERROR instead of taking a message; `mute`: it says nothing after a message."""

    refuse: int | None = None
    mute: bool = False
    slow_s: float = 0.0  # what one message takes
    reports: int | None = 0  # status of the reports that it makes at once; None: it makes none
    sent: list[Sms] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.device = os.ttyname(theirs)
        self._theirs = theirs
        self._reference = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)  # a read that still waits would keep the line open
        for handle in (self._theirs, self._ours):
            os.close(handle)

    def _say(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def _serve(self) -> None:
        held, text = b"", False
        while not self._over.is_set():
            if not select.select([self._ours], [], [], 0.05)[0]:
                continue
            held += os.read(self._ours, 1000)
            while found := re.search(rb"[\r\x1a\x1b]", held):
                line, end, held = held[: found.start()].decode(), found.group(), held[found.end() :]
                if text:
                    text = False
                    if end == b"\x1a":
                        self._take(line.strip())
                elif line.strip():
                    self.commands.append(line.strip())
                    if line.startswith("AT+CMGS="):
                        text = True
                        self._say("\r\n> ")
                    else:
                        self._say("\r\nOK\r\n")

    def _take(self, data: str) -> None:
        if self.refuse is not None:
            self._say(f"\r\n+CMS ERROR: {self.refuse}\r\n")
            return
        self._over.wait(self.slow_s)
        number, text, part = decoded(data)
        self._reference = (self._reference + 1) % 256
        self.sent.append(Sms(self._reference, number, text, part))
        if self.mute:
            return
        self._say(f"\r\n+CMGS: {self._reference}\r\n\r\nOK\r\n")
        if self.reports is not None:
            self.report(self._reference, number, self.reports)

    def report(self, reference: int, number: str, status: int) -> None:
        """+CDS, as when the handset has it."""
        digits = len(number.lstrip("+"))
        stamp = "62114281350002"
        pdu = f"0006{reference:02X}{digits:02X}91{swapped(number)}{stamp}{stamp}{status:02X}"
        self._say(f"\r\n+CDS: {len(pdu) // 2 - 1}\r\n{pdu}\r\n")

    def text(self, number: str, text: str) -> None:
        """+CMT: somebody writes to us, in UCS-2."""
        body = text.encode("utf-16-be")
        digits = len(number.lstrip("+"))
        pdu = f"0004{digits:02X}91{swapped(number)}0008{'62114281350002'}{len(body):02X}{body.hex().upper()}"
        self._say(f"\r\n+CMT: ,{len(pdu) // 2 - 1}\r\n{pdu}\r\n")
