"""Who may log in: a YAML file with argon2 hashes, edited by `rahdar operator`; and links that log in once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipeline.desk.sessions import SessionStore

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
SHORTEST_PASSWORD = 10
FILE_NAME = "desk.sqlite"

# the second profile of RFC 9106, 4: 64 MiB, three passes
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=2)


class OperatorsError(ValueError):
    """The file cannot be used as it is; says where and what to do."""


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    role: Role
    hash: str


class Operators:
    """The file, read again whenever it changes, so that a removed operator is out at once."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Operator] = {}
        self._nobody = ""

    def all(self) -> dict[str, Operator]:
        if self.path is None:
            return {}
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._known, self._stamp = {}, None
            return {}
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._known = _parse(self.path)
            self._stamp = stamp
        return self._known

    def verify(self, name: str, password: str) -> Operator | None:
        """Slow on purpose, and as slow for a name that nobody has."""
        operator = self.all().get(name)
        if operator is None:
            self._nobody = self._nobody or _hasher.hash("nobody has this password")
        try:
            _hasher.verify(operator.hash if operator else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return operator

    def put(self, name: str, role: Role, password: str) -> None:
        """Add an operator, or give a known one another role and password."""
        if self.path is None:
            raise OperatorsError("RAHDAR_OPERATORS_FILE is not set; name the file that holds the operators")
        if not NAME.fullmatch(name):
            raise OperatorsError(f"{name!r} cannot be a login: letters, digits, `.`, `_` and `-`, 32 at most")
        if len(password) < SHORTEST_PASSWORD:
            raise OperatorsError(f"the password has {len(password)} characters; give {SHORTEST_PASSWORD} or more")
        known = dict(self.all())
        known[name] = Operator(name, role, _hasher.hash(password))
        self._write(known)

    def remove(self, name: str) -> bool:
        known = dict(self.all())
        if known.pop(name, None) is None:
            return False
        self._write(known)
        return True

    def _write(self, known: dict[str, Operator]) -> None:
        assert self.path is not None
        rows = [{"name": o.name, "role": o.role, "hash": o.hash} for o in sorted(known.values(), key=lambda o: o.name)]
        text = "# Who may log in to the desk. Written by `rahdar operator`.\n" + yaml.safe_dump(
            {"operators": rows}, sort_keys=False, width=1000
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".new")
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)
        self._stamp = None


def _parse(path: Path) -> dict[str, Operator]:
    def fault(what: str) -> OperatorsError:
        return OperatorsError(f"{path}: {what}; write it with `rahdar operator add`")

    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fault(f"not YAML ({error})") from error
    rows = data.get("operators") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise fault("has no list named `operators`")
    known: dict[str, Operator] = {}
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("name", "role", "hash")):
            raise fault("an operator needs `name`, `role` and `hash`")
        if row["role"] not in ROLES:
            raise fault(f"operator {row['name']!r} has the role {row['role']!r}, which is none of {', '.join(ROLES)}")
        if not NAME.fullmatch(row["name"]) or row["name"] in known:
            raise fault(f"the name {row['name']!r} is not a login, or stands there twice")
        known[row["name"]] = Operator(row["name"], cast(Role, row["role"]), row["hash"])
    return known


def one_time_link(
    directory: Path, desk_url: str, login: str = "demo", role: Role = "operator", for_s: float = 3600.0
) -> str:
    """A link that logs `login` in once, within `for_s`. `directory` is a local stack's: its desk
    keeps sessions in `directory/var`."""
    store = SessionStore(directory / "var" / FILE_NAME)
    try:
        token = store.make_link(login, role, for_s)
    finally:
        store.close()
    return f"{desk_url.replace('//0.0.0.0', '//127.0.0.1').rstrip('/')}/enter?token={token}"
