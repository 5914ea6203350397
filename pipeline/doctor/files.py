"""Certificates and secrets: do they hold, until when, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from pipeline.doctor.finding import Finding, fault, note, ok
from pipeline.ingest.acl import SHARDS
from pipeline.ingest.bridge import parse_address
from pipeline.kafka_url import is_kafka, kafka_place
from pipeline.settings import Settings

SOON = timedelta(days=30)
RENEW = "`rahdar device setup` renews the broker's, `rahdar device enrol --renew` a device's; deploy/setup all of a deployment"


def _shards(s: Settings) -> tuple[str, ...]:
    try:
        return parse_address(s.mqtt_url).shards
    except ValueError:
        return SHARDS


def _each(path: Path | None, shards: Iterable[str]) -> list[Path]:
    if path is None:
        return []
    return [Path(str(path).replace("{shard}", shard)) for shard in shards] if "{shard}" in str(path) else [path]


def secret_files(s: Settings) -> list[tuple[str, Path]]:
    """What must be readable by us, and by nobody else."""
    named = {
        name: getattr(s, name)
        for name in Settings.model_fields
        if name.endswith("_file") and not name.endswith(("_cert_file", "_ca_file"))
    }
    shards = _shards(s)
    return [(f"RAHDAR_{name.upper()}", path) for name, given in named.items() for path in _each(given, shards)]


def secrets(s: Settings) -> Iterator[Finding]:
    files = secret_files(s)
    wrong = 0
    for setting, path in files:
        try:
            mode = path.stat().st_mode & 0o777
            readable = os.access(path, os.R_OK)
            size = path.stat().st_size
        except FileNotFoundError:
            wrong += 1
            yield fault("secrets", f"{setting}: there is no {path}", _made_by(setting))
            continue
        except PermissionError as error:
            wrong += 1
            yield fault(
                "secrets", f"{setting}: {error.filename} may not be looked at", "let its reader into the folder"
            )
            continue
        if mode & 0o077:
            wrong += 1
            yield fault(
                "secrets", f"{setting}: others may read {path} ({mode:04o})", f"chmod 600 {path}; renew it if they did"
            )
        elif not readable:
            wrong += 1
            yield fault("secrets", f"{setting}: {path} may not be read by us", f"chown {os.geteuid()} {path}")
        elif size == 0 and setting != "RAHDAR_MQTT_PASSWORDS_FILE":
            wrong += 1
            yield fault("secrets", f"{setting}: {path} is empty", _made_by(setting))
    if not wrong:
        yield ok("secrets", f"{len(files)} files, each for its reader only")


def _made_by(setting: str) -> str:
    return {
        "RAHDAR_INFLUX_TOKEN_FILE": "`rahdar influx setup` writes it",
        "RAHDAR_OPERATORS_FILE": "`rahdar operator add NAME --role operator` makes it",
        "RAHDAR_MQTT_PASSWORDS_FILE": "`rahdar device enrol LOGIN --password` makes it",
        "RAHDAR_MQTT_TLS_KEY_FILE": "`rahdar device setup` makes it",
    }.get(setting, "put it back from a backup, or unset the setting")


def _mentioned(s: Settings) -> list[Path]:
    shards = _shards(s)
    named = (s.mqtt_tls_ca_file, s.mqtt_tls_cert_file, s.notify_cert_file, s.tak_ca_file, s.tak_cert_file)
    found = [path for one in named for path in _each(one, shards)]
    if is_kafka(s.log_url):
        with suppress(ValueError):  # a URL that says nothing is the settings' fault
            found += [Path(file) for file in (kafka_place(s.log_url).files or ())[:2]]
    if s.mqtt_tls_ca_file is not None:
        found += [p for name in ("crl.pem", "server.pem") if (p := s.mqtt_tls_ca_file.with_name(name)).exists()]
    return found


def certificates(s: Settings, more: Path | None, now: datetime) -> Iterator[Finding]:
    """Those that the settings name and what lies beside the authority; and all below `more`."""
    paths = _mentioned(s)
    if more is not None:
        paths += sorted(p for p in more.rglob("*.pem"))
    good, soonest = 0, None
    for path in dict.fromkeys(paths):
        try:
            data = path.read_bytes()
        except OSError as error:
            yield fault("certificates", f"{path}: {error.strerror}", "`rahdar device setup` makes what is missing")
            continue
        try:
            until, faults = _look_at(path, data, now)
        except ValueError as error:
            yield fault(
                "certificates", f"{path} is no certificate ({error})", "put it back from a backup, or have it made anew"
            )
            continue
        yield from faults
        if not faults:
            good += 1
            soonest = min(soonest or (until, path), (until, path))
    if soonest is not None:
        yield ok("certificates", f"{good} hold; the first to end is {soonest[1]}, {soonest[0]:%Y-%m-%d}")
    elif not paths:
        yield note("certificates", "none are used")


def _look_at(path: Path, data: bytes, now: datetime) -> tuple[datetime, list[Finding]]:
    """Until when, and what is wrong. Raises ValueError when it is neither a certificate nor a list of revoked ones."""
    if b"X509 CRL" in data:
        crl = x509.load_pem_x509_crl(data)
        until = crl.next_update_utc or now
        late = "it has run out: Mosquitto refuses everybody" if until <= now else "it runs out soon"
        cure = "any change by `rahdar device` writes it anew: `rahdar device setup`"
        return until, [fault("certificates", f"{path}: {late} ({until:%Y-%m-%d})", cure)] if until - now < SOON else []
    found = x509.load_pem_x509_certificate(data)
    until = found.not_valid_after_utc
    faults = []
    if found.not_valid_before_utc > now:
        faults.append(
            fault(
                "certificates", f"{path} holds from {found.not_valid_before_utc:%Y-%m-%d} only", "is our clock right?"
            )
        )
    if until <= now:
        faults.append(fault("certificates", f"{path} has run out on {until:%Y-%m-%d}", RENEW))
    elif until - now < SOON:
        faults.append(
            fault("certificates", f"{path} runs out on {until:%Y-%m-%d}, in {(until - now).days} days", RENEW)
        )
    key = path.with_suffix(".key")
    if path.name != "ca.pem" and key.exists() and os.access(key, os.R_OK):
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if private.public_key() != found.public_key():
            faults.append(
                fault(
                    "certificates",
                    f"{key} is not the key of {path.name}",
                    "put the pair back together, or have it made anew",
                )
            )
    authority = path.with_name("ca.pem")
    public = path.parent.name == "web"  # people's browsers may be shown a certificate of a public authority
    if path != authority and not public and authority.exists() and not _is_signed_by(found, authority):
        faults.append(fault("certificates", f"{path} is not of the authority beside it ({authority.name})", RENEW))
    return until, faults


def _is_signed_by(found: x509.Certificate, authority: Path) -> bool:
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.read_bytes()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
