"""Signed heads: from time to time the number and hash of a chain's last entry are signed (Ed25519) and appended to a file beside it.

A chain shows what was altered in it, but not that its end was cut off; a head says how long it was. Heads follow from one another too. Copies
of the file and of the public key belong on another machine: whoever can write all files here can rewrite all of them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.people.keyfile import KeyFileError, read_or_make

FOLDER = "audit"  # in RAHDAR_VAR
KEY_FILE, PUBLIC_FILE = "audit.key", "audit.pub"
LONGEST_LINE = 1000
_DOMAIN = b"rahdar audit head 1\0"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`before`: SHA-256 of the line before it in its file, empty for the first. `key`: which key signed."""

    chain: str
    n: int
    hash: str
    at_us: int
    before: str
    key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        row = msgspec.to_builtins(self)
        del row["signature"]
        return _DOMAIN + orjson.dumps(row, option=orjson.OPT_SORT_KEYS)

    def line(self) -> bytes:
        return orjson.dumps(msgspec.to_builtins(self), option=orjson.OPT_SORT_KEYS) + b"\n"


_decode = msgspec.json.Decoder(Head, strict=True).decode


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file of heads; `head` None: it is none."""

    number: int
    data: bytes
    head: Head | None


def read_heads(path: Path) -> list[Line]:
    """In the file's order. A last line that was not finished is not there: its head was never whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_parsed(number, line) for number, line in enumerate(data.split(b"\n")[:-1], 1)]


def _parsed(number: int, line: bytes) -> Line:
    try:
        head = _decode(line) if len(line) <= LONGEST_LINE else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        head = None
    return Line(number, line, head)


def line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


# ---- keys -----------------------------------------------------------------------------------------------------------


def key_id(public: Ed25519PublicKey) -> str:
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def verify(head: Head, public: Ed25519PublicKey) -> bool:
    try:
        public.verify(base64.b64decode(head.signature, validate=True), head.signed_bytes())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def read_public_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    """Lines `ed25519 ID BASE64`. Raises KeyFileError when one is none; FileNotFoundError."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(words[2], validate=True))
        except (IndexError, ValueError) as error:
            raise KeyFileError(f"{path}: line {number} is no public key of `ed25519 ID BASE64`") from error
        found[key_id(public)] = public
    return found


def public_line(public: Ed25519PublicKey) -> str:
    return f"ed25519 {key_id(public)} {base64.b64encode(public.public_bytes_raw()).decode()}\n"


class Signer:
    """The key of this machine, made (0600) at the first use; its public half is added to those in `audit.pub`. Raises KeyFileError, OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / KEY_FILE
        data = read_or_make(path, _new_key)
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(data.strip(), validate=True))
        except ValueError as error:
            raise KeyFileError(
                f"{path}: no Ed25519 key in base64; put the copy back that was kept elsewhere"
            ) from error
        self.public = self._key.public_key()
        self.id = key_id(self.public)
        self._publish(folder / PUBLIC_FILE)

    def _publish(self, path: Path) -> None:
        if not path.exists() or self.id not in read_public_keys(path):
            _append(path, public_line(self.public).encode())

    def file_of(self, chain: str) -> Path:
        return self.folder / f"{chain}.heads"

    def sign(self, chain: str, n: int, hashed: bytes, at_us: int) -> Head | None:
        """Append a head, unless one for this number or a later one is there. On disk when it returns."""
        path = self.file_of(chain)
        with _locked(path):
            _mend_end(path)
            last = _last_line(path)
            if last is not None and last.head is not None and n <= last.head.n:
                return None
            before = line_hash(last.data) if last else ""
            bare = Head(chain=chain, n=n, hash=hashed.hex(), at_us=at_us, before=before, key=self.id)
            signature = base64.b64encode(self._key.sign(bare.signed_bytes())).decode()
            head = msgspec.structs.replace(bare, signature=signature)
            _append(path, head.line())
        return head

    def last(self, chain: str) -> Head | None:
        """The newest head of this chain's file."""
        line = _last_line(self.file_of(chain))
        return line.head if line else None


def _last_line(path: Path) -> Line | None:
    """Without reading what is before it: a file of heads grows for years."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * LONGEST_LINE))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    return _parsed(0, lines[-1]) if lines else None


def _new_key() -> bytes:
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()) + b"\n"


def _append(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _mend_end(path: Path) -> None:
    """A line that a power cut left unfinished never counted: it goes."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - 2 * LONGEST_LINE))
        end = file.read()
        if end and not end.endswith(b"\n"):
            file.truncate(start + end.rfind(b"\n") + 1)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One signer at a time, also among processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
