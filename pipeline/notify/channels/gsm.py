"""SMS through a GSM modem on a serial line, by AT commands: the path that needs no internet.

The address is a telephone number, `+92...`. The setting RAHDAR_GSM_DEVICE names the line (`/dev/ttyUSB2`, 115200 baud). What the modem takes
is `Accepted`: told is only whose handset reported it. One message takes seconds, so what is critical goes before all that waits. A reply with the message's code acknowledges; it counts from that officer's
own number alone. A modem that is pulled out is looked for again every few seconds; meanwhile sending fails in passing.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import serial

from pipeline.notify.channels.pdu import Deliver, PduError, Report, read_pdu, submits
from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Accepted, Outcome, Passing, Permanent, Unknown

log = logging.getLogger("rahdar.notify.gsm")

REPORT_WITHIN_S = 120.0
ANSWER_S = 5.0
SEND_S = 30.0
AGAIN_S = 3.0
SETUP = ("ATE0", "AT+CMEE=1", "AT+CMGF=0", "AT+CSMS=0", "AT+CNMI=2,2,0,1,0")
PERMANENT = frozenset({1, 8, 10, 21, 28, 29, 30, 50, 69, 304, 305})
"""+CMS errors (27.005) that another try does not change: no such number, barred, rejected, not subscribed."""
NOBODY_KNOWS = frozenset({332, 500})
_ERROR = re.compile(r"\+CM[ES] ERROR: (\d+)")
_SENT = re.compile(r"\+CMGS: (\d+)")
RECEIPT = "gsm "


class ModemError(Exception):
    """The modem said no, with its number; -1: it said nothing, or ERROR alone."""

    def __init__(self, code: int, silent: bool = False) -> None:
        super().__init__(f"+CMS {code}" if code >= 0 else "no answer" if silent else "ERROR")
        self.code, self.silent = code, silent


class GsmChannel:
    """`on_report(receipt, delivered, why)` and `on_reply(number, text)` are called on the modem's thread."""

    def __init__(
        self, device: str, on_report: Callable[[str, bool, str], None], on_reply: Callable[[str, str], None], baud: int = 115200
    ) -> None:  # fmt: skip
        self._device, self._baud = device, baud
        self._on_report, self._on_reply = on_report, on_reply
        self._port: serial.Serial | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._sends, self._book = ThreadPoolExecutor(1, "gsm-send"), threading.Lock()  # one line, one dialogue
        self._free, self._busy, self._urgent = asyncio.Condition(), False, 0
        self._awaited: dict[int, str] = {}  # reference of a part -> receipt
        self._parts: dict[str, set[int]] = {}  # receipt -> references that have not been reported
        self._early: dict[int, tuple[float, Report]] = {}  # a report may come before its part's number was read
        self._joined = 0
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._run, name="gsm", daemon=True)
        self._reader.start()

    @property
    def ready(self) -> bool:
        """The modem is there and set up."""
        return self._port is not None

    def await_again(self, receipts: list[str]) -> None:
        """What was handed to the modem before we started and has not been reported."""
        for receipt in receipts:
            self._await(receipt, {int(n) for n in receipt.removeprefix(RECEIPT).split("@")[0].split("+")}, 0.0)

    async def send(self, address: str, letter: Letter) -> Outcome:
        async with self._line(letter.severity == "critical"):
            return await asyncio.get_running_loop().run_in_executor(self._sends, self._send, address, letter)

    @asynccontextmanager
    async def _line(self, urgent: bool) -> AsyncIterator[None]:
        """Ours for one message, after what is urgent."""
        async with self._free:
            self._urgent += urgent
            try:
                await self._free.wait_for(lambda: not self._busy and (urgent or not self._urgent))
                self._busy = True
            finally:
                self._urgent -= urgent
                self._free.notify_all()
        try:
            yield
        finally:
            async with self._free:
                self._busy = False
                self._free.notify_all()

    def close(self) -> None:
        self._over.set()
        self._sends.shutdown(wait=False, cancel_futures=True)
        if self._port is not None:
            self._port.close()
        self._reader.join(5)

    # ---- sending ----------------------------------------------------------------------------------------------------------

    def _send(self, address: str, letter: Letter) -> Outcome:
        self._joined = (self._joined + 1) % 256
        try:
            parts = submits(address, letter.short, self._joined)
        except PduError as error:
            return Permanent(str(error))
        references: list[int] = []
        began_s = time.monotonic()
        if self._port is None:
            return Passing("the modem is away")
        try:
            for part in parts:
                self._command(f"AT+CMGS={part.length}\r", (">",), ANSWER_S)
                said = self._command(part.data + "\x1a", ("OK",), SEND_S)
                found = next((m for line in said if (m := _SENT.match(line))), None)
                references.append(int(found[1]) if found else 0)
        except ModemError as error:
            return _failed(error, bool(references))
        except (OSError, serial.SerialException):
            return Unknown("the line broke") if references else Passing("the line broke")
        receipt = f"{RECEIPT}{'+'.join(map(str, references))}@{letter.id[:8]}"
        self._await(receipt, set(references), began_s)
        return Accepted(receipt, REPORT_WITHIN_S)

    def _await(self, receipt: str, references: set[int], since_s: float) -> None:
        """A modem counts to 255 and begins anew: a report that came before then is of another message."""
        with self._book:
            self._parts[receipt] = set(references)
            for reference in references:
                self._awaited[reference] = receipt
            early = [self._early.pop(r) for r in references if r in self._early]
        for at_s, report in early:
            if at_s >= since_s:
                self._reported(report)

    def _command(self, text: str, ends: tuple[str, ...], within_s: float) -> list[str]:
        """What the modem says until one of `ends`. Raises ModemError."""
        assert self._port is not None
        while not self._answers.empty():
            self._answers.get_nowait()
        self._port.write(text.encode("ascii"))
        said: list[str] = []
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self._port.write(b"\x1b\r")  # out of a text that it may still be waiting for
                raise ModemError(-1, silent=True) from None
            if line in ends:
                return said
            if line == "ERROR" or _ERROR.match(line):
                found = _ERROR.match(line)
                raise ModemError(int(found[1]) if found else -1)
            said.append(line)

    # ---- the modem's own words ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with serial.Serial(self._device, self._baud, timeout=0.2, write_timeout=5, exclusive=True) as port:
                    self._opened(port)
                    self._listen(port)
            except (OSError, serial.SerialException, ModemError, TypeError) as error:
                # TypeError: pyserial reads from a line that was closed under it
                if not self._over.is_set():
                    log.warning("modem on %s: %s", self._device, error)
            self._port = None
            self._over.wait(AGAIN_S)

    def _opened(self, port: serial.Serial) -> None:
        """Set it up before anybody may send by it. Its echo is still on: what it says twice is ignored."""
        for command in SETUP:
            port.write(f"{command}\r".encode())
            deadline = time.monotonic() + ANSWER_S
            while (line := port.readline().decode("ascii", "replace").strip()) != "OK":
                if "ERROR" in line:
                    if not command.startswith("AT+CSMS"):  # an old modem does not know it, and needs it no more
                        raise ModemError(-1)
                    break
                if time.monotonic() > deadline:
                    raise ModemError(-1, silent=True)
        self._port = port
        log.info("modem on %s: ready", self._device)

    def _listen(self, port: serial.Serial) -> None:
        held = b""
        expected = False
        while not self._over.is_set():
            held += port.read(max(1, port.in_waiting))
            if held.lstrip().startswith(b">"):  # the prompt has no end of line
                self._answers.put(">")
                held = held.lstrip()[1:]
            while b"\n" in held or b"\r" in held:
                line, held = re.split(rb"[\r\n]", held, maxsplit=1)
                text = line.decode("ascii", "replace").strip()
                if not text:
                    continue
                if expected:
                    expected = False
                    self._heard(text)
                elif text.startswith(("+CMT:", "+CDS:")):
                    expected = True
                else:
                    self._answers.put(text)
            held = held[-2000:]

    def _heard(self, text: str) -> None:
        try:
            found = read_pdu(text)
        except PduError as error:
            log.warning("an SMS that cannot be read: %s", error)
            return
        if isinstance(found, Deliver):
            self._on_reply(found.number, found.text)
        else:
            self._reported(found)

    def _reported(self, report: Report) -> None:
        if 0x20 <= report.status < 0x40:  # the centre goes on trying
            return
        with self._book:
            receipt = self._awaited.pop(report.reference, None)
            if receipt is None:
                self._early[report.reference] = time.monotonic(), report
                return
            left = self._parts.get(receipt, set())
            left.discard(report.reference)
            failed = report.status >= 0x40
            if left and not failed:
                return
            self._parts.pop(receipt, None)
            for other in left:
                self._awaited.pop(other, None)
        why = f"not delivered, status {report.status}" if failed else "delivered to the handset"
        self._on_report(receipt, not failed, why)


def _failed(error: ModemError, some_sent: bool) -> Outcome:
    if error.silent or error.code in NOBODY_KNOWS or some_sent:
        return Unknown(str(error))
    return Permanent(str(error)) if error.code in PERMANENT else Passing(str(error))
