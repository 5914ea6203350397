"""The page behind a message's link: one alert, one button. It needs no log-in: the link is signed, short-lived, and names its officer.

A GET shows, and does nothing else: mail scanners and previews follow links. The button's POST is the acknowledgement.
"""

from __future__ import annotations

import hashlib
import html
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import HTMLResponse

from pipeline.desk.security import address_of, same_origin
from pipeline.desk.services import Services, services
from pipeline.model.alert import Command
from pipeline.notify.links import read_link

router = APIRouter(include_in_schema=False)
Desk = Annotated[Services, Depends(services)]
Token = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{20,80}$")]

_PAGE = """<!doctype html>
<html lang="en" dir="ltr" data-theme="night">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">
  <title>Rahdar: answer</title>
  <link rel="icon" href="/static/icon.svg">
  <link rel="stylesheet" href="/static/tokens.css">
  <link rel="stylesheet" href="/static/door.css">
</head>
<body>
  <main>
    <h1>Rahdar <span lang="ur" dir="rtl">راهدار</span></h1>
    {body}
  </main>
</body>
</html>
"""


def _page(*parts: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(body="\n    ".join(parts)), status)


def _said(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _read(s: Services, token: str) -> tuple[str, str] | None:
    officers = [o for roster in s.live.plan.rosters.values() for o in roster.officers]
    return read_link(s.link_secret, token, officers, s.clock.now_us()) if s.link_secret else None


def _gone() -> HTMLResponse:
    return _page(_said("This link is not good, or not any more. Answer by the desk, by SMS, or by radio."), status=410)


def _about(alert: dict[str, Any]) -> list[str]:
    parts = [f"<p><strong>{html.escape(alert['severity'].upper())}</strong> {html.escape(alert['text'])}</p>"]
    if alert.get("response"):
        parts.append(_said(alert["response"]))
    return parts


def _taken(alert: dict[str, Any]) -> str:
    by = alert.get("acknowledged_by")
    return f"Taken by {by}." if by else "It is over." if alert.get("closed_at_us") else ""


@router.get("/a/{token}")
def show(token: Token, s: Desk) -> HTMLResponse:
    """What it is about, and the button. Nothing is acknowledged by looking."""
    found = _read(s, token)
    if found is None:
        return _gone()
    alert = s.live.alert(found[0])
    if alert is None:
        return _page(_said("The desk does not know this alert any more."), status=404)
    if taken := _taken(alert):
        return _page(*_about(alert), _said(taken))
    button = f'<form method="post" action="/a/{token}"><button class="primary">I have it ({html.escape(found[1])})</button></form>'
    return _page(*_about(alert), button)


@router.post("/a/{token}")
async def take(token: Token, request: Request, s: Desk) -> HTMLResponse:
    """The officer whom the link names has it. Answered only when it is on disk; pressing twice does it once."""
    if not same_origin(request):
        return _page(_said("Press the button on the page itself."), status=403)
    found = _read(s, token)
    if found is None:
        return _gone()
    alert_id, officer = found
    alert = s.live.alert(alert_id)
    if alert is None:
        return _page(_said("The desk does not know this alert any more."), status=404)
    if taken := _taken(alert):
        return _page(*_about(alert), _said(taken))
    s.audit.write(officer, "link_acknowledge", alert_id, address_of(request))
    command = Command(
        version=1, id=hashlib.blake2b(f"link{token}/{alert['revision']}".encode(), digest_size=12).hexdigest(), what="acknowledge",
        alert_id=alert_id, by=officer, at_us=s.clock.now_us(), text="by link",
    )  # fmt: skip
    try:
        await s.send_command(command)
    except (OSError, ConnectionError, TimeoutError):
        return _page(
            _said("Not recorded: the log cannot be reached. Press again, or answer by SMS or radio."), status=503
        )
    return _page(*_about(alert), _said(f"Yours, {officer}. It is on record."))
