"""`rahdar audit`: the record of what people did and looked at, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli import BadInput, Unreachable
from pipeline.clock import WallClock
from pipeline.commands.people import record, refusals, when
from pipeline.commands.run import read_settings
from pipeline.model.times import parse_us
from pipeline.people.chains import Chain, UnreadableError, alert_chain, people_chain
from pipeline.people.heads import FOLDER, PUBLIC_FILE, Signer, public_line, read_public_keys
from pipeline.people.keyfile import KeyFileError
from pipeline.people.verify import Verdict, tally, verify_chain

CHAINS = ("alert", "people")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _chains(only: str | None) -> list[Chain]:
    settings = read_settings()
    both = alert_chain(settings.alert_url), people_chain(settings.var)
    return [chain for chain in both if only in (None, chain.name)]


@click.group()
def audit() -> None:
    """What people did and looked at, on record: two chains, `alert` and `people`, with signed heads."""


@audit.command()
@click.option("--chain", "only", type=click.Choice(CHAINS), help="Default: both.")
@click.option("--heads", "copies", multiple=True, type=_FILE, help="A copy of heads that was kept elsewhere.")
@click.option("--public-key", type=_FILE, help="Trust only the keys in this file: the one that was kept elsewhere.")
def verify(only: str | None, copies: tuple[Path, ...], public_key: Path | None) -> None:
    """Is the record whole? Exit 1 and a line for each finding: altered, missing, cut, foreign, unsigned."""
    folder = read_settings().var / FOLDER
    verdicts: list[Verdict] = []
    with refusals(KeyFileError):
        trusted = public_key or folder / PUBLIC_FILE
        keys = read_public_keys(trusted) if trusted.exists() else {}
        for chain in _chains(only):
            files = [folder / f"{chain.name}.heads", *(path for path in copies if _is_of(path, chain.name))]
            try:
                verdicts.append(verify_chain(chain, files, keys, WallClock().now_us()))
            except UnreadableError as error:
                raise Unreachable(str(error)) from error
            finally:
                chain.close()
    for verdict in verdicts:
        for finding in verdict.findings:
            click.echo(str(finding))
        if not verdict.findings:
            click.echo(f"{verdict.chain}: whole, {verdict.entries} entries, signed up to {verdict.signed_n}")
    if any(verdict.findings for verdict in verdicts):
        raise BadInput(f"the record is not whole: {tally(verdicts)}")


def _is_of(path: Path, chain: str) -> bool:
    """By what its first line says; what is no head belongs to all, and is found to be none."""
    first = path.read_bytes().partition(b"\n")[0]
    try:
        return bool(orjson.loads(first)["chain"] == chain)
    except (ValueError, KeyError, TypeError):
        return True


@audit.command()
@click.option("--chain", "only", type=click.Choice(CHAINS), help="Default: both, one after the other.")
@click.option("--since", help="As 2026-11-24T18:00:00Z.")
@click.option("--who", help="A login, as amina; token:NAME; shell:USER; policy.")
@click.option("--what", help="As login, login_failed, trail, residence, token_made, acknowledged.")
@click.option("--subject", help="A vehicle, an alert, a name.")
@click.option("--last", type=click.IntRange(1, 1_000_000), help="Only so many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def show(
    only: str | None, since: str | None, who: str | None, what: str | None, subject: str | None, last: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Who did and looked at what, when and from where. Asking is on record too."""
    try:
        since_us = parse_us(since) if since else 0
    except ValueError as error:
        raise BadInput(f"--since {since!r}: {error}") from error
    asked = {"chain": only, "since": since, "who": who, "what": what, "subject": subject, "last": last}
    wanted = {"who": who, "what": what, "subject": subject}
    with refusals():
        record("export", "audit", json.dumps({key: value for key, value in asked.items() if value is not None}))
        rows: list[dict[str, Any]] = []
        for chain in _chains(only):
            try:
                rows += (
                    row
                    for row in _entries(chain)
                    if row["at_us"] >= since_us and all(v is None or row[k] == v for k, v in wanted.items())
                )
            except UnreadableError as error:
                raise Unreachable(str(error)) from error
            finally:
                chain.close()
    rows.sort(key=lambda row: row["at_us"])
    for row in rows[-last:] if last else rows:
        click.echo(orjson.dumps(row) if as_json else _line(row))


def _entries(chain: Chain) -> Iterator[dict[str, Any]]:
    """Both chains' entries in one form. What is no entry is shown as what it is."""
    for n, entry, _ in chain.rows() if chain.exists else ():
        try:
            raw = orjson.loads(entry)
        except (ValueError, TypeError):
            raw = None
        row = raw if isinstance(raw, dict) else {"what": "unreadable"}
        at_us = row.get("at_us")
        yield {
            "chain": chain.name, "n": n, "at_us": at_us if isinstance(at_us, int) else 0,
            "who": str(row.get("who", row.get("by", ""))),
            "what": str(row.get("what", row.get("transition", row.get("command", "")))),
            "subject": str(row.get("subject", row.get("alert", ""))), "from": str(row.get("from", "")),
            "detail": str(row.get("detail", row.get("reason", ""))),
        }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    words = (
        when(row["at_us"]),
        row["chain"],
        row["n"],
        row["who"],
        row["what"],
        row["subject"],
        row["from"],
        row["detail"],
    )
    return "\t".join(_plain(str(word)) for word in words)


def _plain(word: str) -> str:
    """Strangers choose names: nothing of them steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in word) or "-"


@audit.command()
def key() -> None:
    """The public key: keep it on another machine, and verify with it there (`--public-key`)."""
    with refusals():
        click.echo(public_line(Signer(read_settings().var / FOLDER).public), nl=False)
