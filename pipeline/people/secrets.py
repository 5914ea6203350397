"""Officers' phones and other addresses: sealed where they lie, masked wherever they are shown, open only where they are dialled.

A sealed address is text (`sealed:1:<key>:<base64url>`, AES-256-GCM) that may stand in a YAML file or a database. It is bound to whom it
belongs to: moved to another officer's row it does not open. The key lies in a file of its own, never beside what it seals in a backup.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.people.keyfile import KeyFileError, read_or_make, write_over

FILE_NAME = "addresses.key"  # in RAHDAR_VAR
PREFIX = "sealed:1:"
KEY_BYTES = 32
NONCE_BYTES = 12
LONGEST_ADDRESS = 500
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{4,24}")


class SealError(ValueError):
    """It does not open: says why, and never what was in it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A phone number, mail address or webhook. Printed, logged or formatted it is its mask; `reveal()` is for the channel alone."""

    _plain: str = field(repr=False)

    def reveal(self) -> str:
        return self._plain

    def __str__(self) -> str:
        return mask(self._plain)

    def __repr__(self) -> str:
        return f"Address({mask(self._plain)!r})"

    def __format__(self, spec: str) -> str:
        return format(mask(self._plain), spec)


class Vault:
    """Seals with the newest key, opens with any that is kept. Made by `open_vault`; holds keys, so its repr says nothing."""

    def __init__(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"a vault needs keys of {KEY_BYTES} bytes")
        self._newest = _key_id(keys[0])
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}

    def seal(self, address: str, whose: str) -> str:
        """`whose`: whom and what it is for, as in `officer/channel`; the same text opens it again. Raises SealError when it is too long."""
        if not address or len(address) > LONGEST_ADDRESS:
            raise SealError(f"an address has 1 to {LONGEST_ADDRESS} characters; this one has {len(address)}")
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, address.encode(), _bound(whose))
        return f"{PREFIX}{self._newest}:{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def open(self, sealed: str, whose: str) -> Address:
        """Raises SealError: not sealed, sealed with a key that is not here, altered, or sealed for somebody else."""
        if not is_sealed(sealed) or len(sealed) > 8 * LONGEST_ADDRESS:
            raise SealError(f"the address of {whose} is not sealed; seal it first")
        key_id, _, body = sealed[len(PREFIX) :].partition(":")
        cipher = self._ciphers.get(key_id) if _KEY_ID.fullmatch(key_id) else None
        if cipher is None:
            raise SealError(
                f"the address of {whose} is sealed with the key {key_id[:8]!r}, which is not in the key file"
            )
        try:
            data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return Address(cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(whose)).decode())
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise SealError(
                f"the address of {whose} was altered, or belongs to somebody else; enter it again"
            ) from error

    def seal_again(self, sealed: str, whose: str) -> str:
        """The same address under the newest key; as it was when it is already."""
        if sealed.startswith(f"{PREFIX}{self._newest}:"):
            return sealed
        return self.seal(self.open(sealed, whose).reveal(), whose)


def is_sealed(text: str) -> bool:
    return text.startswith(PREFIX)


def open_vault(path: Path) -> Vault:
    """The vault of this key file, which is made (0600) at the first use. Raises KeyFileError when it cannot be used."""
    return Vault(_keys(path, read_or_make(path, _new_line)))


def rotate(path: Path) -> Vault:
    """A new newest key in front of those that are there. What they sealed still opens, until it is sealed again."""
    data = read_or_make(path, _new_line)
    _keys(path, data)
    write_over(path, _new_line() + data)
    return open_vault(path)


def _keys(path: Path, data: bytes) -> list[bytes]:
    try:
        keys = [base64.b64decode(line, validate=True) for line in data.split()]
    except binascii.Error as error:
        raise KeyFileError(
            f"{path}: not a list of keys in base64; put the copy back that was kept elsewhere"
        ) from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise KeyFileError(f"{path}: a key has {KEY_BYTES} bytes; put the copy back that was kept elsewhere")
    return keys


def _new_line() -> bytes:
    return base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"rahdar key id\0" + key).hexdigest()[:8]


def _bound(whose: str) -> bytes:
    return b"rahdar address\0" + whose.encode()


# ---- masks ------------------------------------------------------------------------------------------------------


def mask(address: str) -> str:
    """What people and logs see: enough to tell two numbers apart, too little to dial. `+92 3** ***45 67`, `a***@police.example`."""
    text = address.strip()
    if _PHONE.fullmatch(text):
        return _mask_phone(text)
    parts = urlsplit(text) if "://" in text else None
    if parts is not None:
        return f"{parts.scheme}://***"  # the rest may be a token
    name, at, host = text.rpartition("@")
    if at and name and host:
        return f"{name[0]}***@{host}"
    return "***"


def _mask_phone(text: str) -> str:
    """Country, first digit and last four of a number in full; of a shorter one the last two; of a very short one nothing."""
    digits = [c for c in text if c.isdigit()]
    plus = "+" if text.startswith("+") else ""
    if len(digits) < 7:
        return "***"
    if len(digits) < 10:
        return plus + "*" * (len(digits) - 2) + "".join(digits[-2:])
    shown = "".join([*digits[:3], *("*" * (len(digits) - 7)), *digits[-4:]])
    if plus and len(digits) == 12:  # Pakistan's form
        return f"+{shown[:2]} {shown[2:5]} {shown[5:10]} {shown[10:]}"
    return f"{plus}{shown[:3]} {shown[3:-4]} {shown[-4:-2]} {shown[-2:]}"
