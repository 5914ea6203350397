"""Each channel against a real server of its protocol: what arrives, and what each failure is called."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.local import free_port
from pipeline.notify.channels.by_apprise import AppriseChannel
from pipeline.notify.channels.gsm import GsmChannel
from pipeline.notify.channels.spool import SpoolChannel
from pipeline.notify.channels.webhook import WebhookChannel, signature
from pipeline.notify.letter import Letter
from pipeline.notify.outcome import Accepted, Passing, Permanent, Sent, Unknown
from tests.notify.modem import Modem
from tests.notify.servers import Mail, hook
from tests.waiting import until

LETTER = Letter(
    "id1", "0123456789abcdef", 2, "amina", "critical", "alert", True, "CRITICAL sos (repeat)", "CRITICAL: SOS from E-1 (repeat)",
    "CRITICAL: SOS from E-1\nDo: go\n(repeat)", "12345", "https://desk.example/a/x",
)  # fmt: skip


# ---- webhook ----------------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_signed_and_names_its_telling() -> None:
    async with hook() as server:
        assert await WebhookChannel(lambda: 1_700_000_000).send(f"{server.url}#secret", LETTER) == Sent("HTTP 200")
        headers, body = server.headers[0], server.bodies[0]
        assert headers["X-Rahdar-Signature"] == signature("secret", "1700000000", body)
        assert headers["X-Rahdar-Signature"] != signature("other", "1700000000", body)
        assert headers["Idempotency-Key"] == "id1"
        assert json.loads(body)["repeat"] is True and "secret" not in body.decode()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(204, Sent), (301, Permanent), (400, Permanent), (404, Permanent), (408, Passing), (429, Passing), (500, Passing), (503, Passing), (504, Unknown)],
)  # fmt: skip
async def test_what_a_status_means(status: int, outcome: Any) -> None:
    async with hook(answer=status) as server:
        assert isinstance(await WebhookChannel(lambda: 0).send(f"{server.url}#s", LETTER), outcome)


async def test_a_webhook_that_was_cut_off_may_have_heard_it() -> None:
    async with hook(answer=None) as server:
        assert isinstance(await WebhookChannel(lambda: 0).send(f"{server.url}#s", LETTER), Unknown)
        assert len(server.bodies) == 1


async def test_a_webhook_that_is_away_has_not() -> None:
    assert isinstance(await WebhookChannel(lambda: 0).send(f"http://127.0.0.1:{free_port()}/#s", LETTER), Passing)


@pytest.mark.parametrize(
    "address", ["", "https://x.example/hook", "ftp://x/#s", "amina", "http:///#s", "http://[::1/#s"]
)
async def test_what_is_no_address_is_never_tried_again(address: str) -> None:
    assert isinstance(await WebhookChannel(lambda: 0).send(address, LETTER), Permanent)


# ---- mail, and whatever else Apprise speaks ------------------------------------------------------------------------------------


@pytest.fixture
def mail() -> Iterator[Mail]:
    server = Mail()
    server.start()
    yield server
    server.stop()


async def test_a_mail_arrives(mail: Mail) -> None:
    assert await AppriseChannel().send(mail.address, LETTER) == Sent("accepted")
    ((subject, body),) = mail.heard
    assert subject == LETTER.title and "SOS from E-1" in body and "(repeat)" in body


@pytest.mark.parametrize(
    ("answer", "after", "outcome"),
    [
        ("550 no such user", "250 ok", Permanent("SMTP 550")),
        ("451 try later", "250 ok", Passing("SMTP 451")),
        ("250 ok", "554 refused", Permanent("SMTP 554")),
        ("250 ok", "452 disk full", Passing("SMTP 452")),
    ],
)
async def test_what_an_smtp_reply_means(mail: Mail, answer: str, after: str, outcome: Any) -> None:
    mail.answer, mail.after = answer, after
    assert await AppriseChannel().send(mail.address, LETTER) == outcome
    assert mail.heard == []


async def test_a_mail_server_that_is_away(mail: Mail) -> None:
    mail.stop()
    assert isinstance(await AppriseChannel().send(mail.address, LETTER), Passing)


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, Sent("accepted")), (404, Permanent("HTTP 404")), (429, Passing("HTTP 429")), (503, Passing("HTTP 503"))]
)  # fmt: skip
async def test_what_an_http_status_means_to_apprise(status: int, outcome: Any) -> None:
    async with hook(answer=status) as server:
        assert await AppriseChannel().send(f"json://127.0.0.1:{server.port}/x", LETTER) == outcome


async def test_apprise_is_cut_off() -> None:
    async with hook(answer=None) as server:
        assert isinstance(await AppriseChannel().send(f"json://127.0.0.1:{server.port}/x", LETTER), Unknown)
    assert isinstance(await AppriseChannel().send(f"json://127.0.0.1:{free_port()}/x", LETTER), Passing)
    assert isinstance(await AppriseChannel().send("nonsense", LETTER), Permanent)


async def test_two_people_at_once_do_not_read_each_others_failure(mail: Mail) -> None:
    async with hook(answer=503) as server:
        channel = AppriseChannel()
        sent = [channel.send(mail.address, LETTER), channel.send(f"json://127.0.0.1:{server.port}/x", LETTER)]
        assert await asyncio.gather(*sent * 1) == [Sent("accepted"), Passing("HTTP 503")]


# ---- a file -------------------------------------------------------------------------------------------------------------------


async def test_a_file_has_a_line_a_telling(tmp_path: Path) -> None:
    channel = SpoolChannel(tmp_path / "notices")
    assert await channel.send("wall", LETTER) == Sent("written")
    await channel.send("wall", replace(LETTER, id="id2"))
    lines = [json.loads(line) for line in (tmp_path / "notices" / "wall.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["id1", "id2"]
    assert isinstance(await channel.send("../etc", LETTER), Permanent)


async def test_a_disk_that_is_full_passes(tmp_path: Path) -> None:
    (tmp_path / "notices").write_text("a file where the folder should be")
    assert isinstance(await SpoolChannel(tmp_path / "notices").send("wall", LETTER), Passing)


async def test_a_mail_server_that_says_nothing_does_not_hold_up_the_critical() -> None:
    """It holds every thread that what is not critical may have."""
    mail, channel = Mail(), AppriseChannel(threads=2)
    mail.start()
    silent = socket.create_server(("127.0.0.1", 0))
    address = mail.address.replace(f":{mail.port}", f":{silent.getsockname()[1]}")
    held = [asyncio.ensure_future(channel.send(address, replace(LETTER, severity="high"))) for _ in range(4)]
    try:
        assert await until(lambda: silent in select.select([silent], [], [], 0)[0])
        assert await asyncio.wait_for(channel.send(mail.address, LETTER), 3) == Sent("accepted")
        assert not any(one.done() for one in held)
    finally:
        silent.close()
        await asyncio.gather(*held)
        mail.stop()


# ---- GSM ----------------------------------------------------------------------------------------------------------------------


class Line:
    """A modem, the channel on it, and what the channel told."""

    def __init__(self, **how: Any) -> None:
        self.modem = Modem(**how)
        self.reports: list[tuple[str, bool, str]] = []
        self.replies: list[tuple[str, str]] = []
        self.channel = GsmChannel(
            self.modem.device, lambda *r: self.reports.append(r), lambda *r: self.replies.append(r)
        )

    async def send(self, text: str = "", number: str = "+923001234567") -> Any:
        assert await until(lambda: self.channel.ready)
        return await self.channel.send(number, replace(LETTER, short=text or LETTER.short))

    def close(self) -> None:
        self.channel.close()
        self.modem.close()


@pytest.fixture
def line() -> Iterator[Any]:
    made: list[Line] = []

    def open_line(**how: Any) -> Line:
        made.append(Line(**how))
        return made[-1]

    yield open_line
    for one in made:
        one.close()


async def test_an_sms_is_told_when_the_handset_has_it(line: Any) -> None:
    sms = line()
    outcome = await sms.send()
    assert isinstance(outcome, Accepted)
    assert await until(lambda: sms.reports == [(outcome.receipt, True, "delivered to the handset")])
    (sent,) = sms.modem.sent
    assert (sent.number, sent.text) == ("+923001234567", LETTER.short)


async def test_of_a_long_one_every_part_must_be_reported(line: Any) -> None:
    sms = line(reports=None)
    outcome = await sms.send("ہزارہ " * 20)
    first, second = sms.modem.sent
    sms.modem.report(first.reference, first.number, 0)
    sms.modem.text("+923001234567", "is this line alive?")
    assert await until(lambda: sms.replies) and sms.reports == []
    sms.modem.report(second.reference, second.number, 0)
    assert await until(lambda: sms.reports == [(outcome.receipt, True, "delivered to the handset")])


async def test_what_is_critical_goes_before_all_that_waits_for_the_modem(line: Any) -> None:
    sms = line(slow_s=0.05)
    number, ordinary = "+923001234567", replace(LETTER, severity="high", short="high")
    assert await until(lambda: sms.channel.ready)
    sending = [asyncio.ensure_future(sms.channel.send(number, ordinary)) for _ in range(4)]
    assert await until(lambda: sms.modem.commands[-1].startswith("AT+CMGS"))
    assert isinstance(await sms.send(), Accepted)
    await asyncio.gather(*sending)
    assert [one.text for one in sms.modem.sent] == ["high", LETTER.short, "high", "high", "high"]


async def test_a_report_that_came_before_a_message_is_not_of_it(line: Any) -> None:
    """A modem counts its messages to 255 and begins anew; a centre may report twice, or of what was sent before we started."""
    sms = line(reports=None)
    assert await until(lambda: sms.channel.ready)
    sms.modem.report(1, "+923001234567", 0)
    sms.modem.text("+923001234567", "1")
    assert await until(lambda: len(sms.replies) == 1)
    outcome = await sms.send()
    assert (outcome.receipt[:6], sms.modem.sent[0].reference) == ("gsm 1@", 1)
    sms.modem.text("+923001234567", "2")
    assert await until(lambda: len(sms.replies) == 2) and sms.reports == []
    sms.modem.report(1, "+923001234567", 0)
    assert await until(lambda: sms.reports == [(outcome.receipt, True, "delivered to the handset")])


async def test_a_centre_that_gives_up_is_no_delivery(line: Any) -> None:
    sms = line(reports=0x45)
    outcome = await sms.send()
    assert await until(lambda: [r[:2] for r in sms.reports] == [(outcome.receipt, False)])


async def test_a_reply_reaches_us(line: Any) -> None:
    sms = line()
    await sms.send()
    sms.modem.text("+923001234567", "۱۲۳۴۵ ٹھیک")
    assert await until(lambda: sms.replies == [("+923001234567", "۱۲۳۴۵ ٹھیک")])


@pytest.mark.parametrize(
    ("code", "outcome"), [(1, Permanent), (28, Permanent), (42, Passing), (331, Passing), (500, Unknown)]
)
async def test_what_the_modem_says_no_with(line: Any, code: int, outcome: Any) -> None:
    sms = line(refuse=code)
    assert isinstance(await sms.send(), outcome)


async def test_a_modem_that_says_nothing_after_it_took_it(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.notify.channels.gsm.SEND_S", 0.3)
    sms = line(mute=True)
    assert isinstance(await sms.send(), Unknown)


async def test_what_is_no_number_is_not_sent(line: Any) -> None:
    sms = line()
    assert isinstance(await sms.send(number="amina"), Permanent) and sms.modem.sent == []


async def test_a_modem_that_is_pulled_out_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.notify.channels.gsm.AGAIN_S", 0.05)
    device = tmp_path / "modem"
    channel = GsmChannel(str(device), lambda *_: None, lambda *_: None)
    try:
        assert isinstance(await channel.send("+923001234567", LETTER), Passing)
        for _ in range(2):
            modem = Modem()
            device.symlink_to(modem.device)
            assert await until(lambda: channel.ready)
            assert isinstance(await channel.send("+923001234567", LETTER), Accepted)
            modem.close()
            device.unlink()
            assert await until(lambda: not channel.ready)
    finally:
        channel.close()
