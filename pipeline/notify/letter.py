"""One telling in words: what every channel is handed. The word "repeat" is in it when the person may have heard it before."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.notify.leases import Task
from pipeline.notify.links import LINK_US, link_token, reply_code
from pipeline.plan.roster import Officer

SEVERITY_WORDS = {
    "en": {"critical": "CRITICAL", "high": "HIGH", "medium": "MEDIUM", "low": "LOW"},
    "ur": {"critical": "انتہائی سنگین", "high": "سنگین", "medium": "درمیانہ", "low": "معمولی"},
}
REPEAT = {"en": "(repeat)", "ur": "(repeat دوبارہ)"}
ANSWER = {"en": "Reply {code} to take it.", "ur": "جواب میں {code} بھیجیں۔"}
DO = {"en": "Do: ", "ur": "کریں: "}


@dataclass(frozen=True, slots=True)
class Letter:
    """`short` is for a handset, `long` for a screen. `id` is the same for every try: whoever can, drops a double by it."""

    id: str
    alert: str
    revision: int
    person: str
    severity: str
    kind: str
    repeat: bool
    title: str
    short: str
    long: str
    code: str = ""
    link: str = ""
    lat: float | None = None
    lon: float | None = None
    at_us: int = 0
    expires_us: int = 0


def letter_for(task: Task, officer: Officer | None, secret: bytes, desk_url: str, now_us: int) -> Letter:
    """`desk_url` "": no link."""
    message = task.message
    language = officer.language if officer else "en"
    words = SEVERITY_WORDS[language][message.severity]
    answers = message.kind == "alert"
    code = reply_code(secret, message.alert, task.person) if answers else ""
    token = link_token(secret, message.alert, task.person, now_us + LINK_US) if answers and desk_url else None
    link = f"{desk_url}/a/{token}" if token else ""
    repeat = REPEAT[language] if task.repeat else ""
    tag = f"[{message.alert[:8]} r{message.revision}]"
    head = f"{words}: {message.text}" if message.kind != "correction" else message.text
    short = [head, ANSWER[language].format(code=code) if code else "", repeat]
    long = [
        head,
        f"{DO[language]}{message.response}" if answers and message.response else "",
        link,
        f"{tag} {repeat}".strip(),
    ]
    title = " ".join(part for part in (words, message.rule or message.kind, message.subject, repeat) if part)
    return Letter(
        task.id, message.alert, message.revision, task.person, message.severity, message.kind, task.repeat, title,
        " ".join(part for part in short if part), "\n".join(part for part in long if part), code, link,
        message.lat, message.lon, message.at_us, message.expires_us,
    )  # fmt: skip
