"""Who may log in: a YAML file with argon2 hashes, edited by `rahdar operator`; and links that log in once."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipeline.desk.sessions import SessionStore
from pipeline.people.database import Regions
from pipeline.people.keyfile import write_over
from pipeline.people.roles import ROLES, Role

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
REGION = re.compile(r"[A-Za-z0-9_-]{1,32}")
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200
FILE_NAME = "desk.sqlite"

# the second profile of RFC 9106, 4: 64 MiB, three passes
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=2)
# of a password that nobody has, with the same costs: a name that nobody has takes as long as one that somebody has
NOBODY = "$argon2id$v=19$m=65536,t=3,p=2$b1gu3iopzEXxt/5V7g7XlQ$qsoHg48Fafi3y0dbNMRzZesFRG2+CdC25MqJWLkpHCw"


class OperatorsError(ValueError):
    """The file cannot be used as it is; says where and what to do."""


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    role: Role
    hash: str
    regions: Regions = None
    """Where they may look and act; None: everywhere."""
    disabled: bool = False

    @property
    def stamp(self) -> str:
        """Changes with the password, the role and the regions: sessions that were begun under another one are over."""
        seen = "\0".join((self.hash, self.role, *(self.regions if self.regions is not None else ("*",))))
        return hashlib.sha256(seen.encode()).hexdigest()[:16]


class Operators:
    """The file, read again whenever it changes, so that a removed operator is out at once."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Operator] = {}

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
        """Slow on purpose, and as slow for a name that nobody has, or that is shut out."""
        operator = self.all().get(name)
        try:
            _hasher.verify(operator.hash if operator else NOBODY, password[: LONGEST_PASSWORD + 1])
        except (VerificationError, InvalidHashError):
            return None
        return operator if operator and not operator.disabled and len(password) <= LONGEST_PASSWORD else None

    def put(self, name: str, role: Role, password: str, regions: Iterable[str] | None = None) -> None:
        """Add an operator, or give a known one another role, password and regions."""
        self.check(name, password, regions)
        self._change(lambda known: {**known, name: Operator(name, role, _hashed(name, password), _regions(regions))})

    def check(self, name: str, password: str, regions: Iterable[str] | None) -> None:
        """Raises OperatorsError when these cannot be, before anything is written."""
        if self.path is None:
            raise OperatorsError("RAHDAR_OPERATORS_FILE is not set; name the file that holds the operators")
        if not NAME.fullmatch(name):
            raise OperatorsError(f"{name!r} cannot be a login: letters, digits, `.`, `_` and `-`, 32 at most")
        _check_password(name, password)
        _regions(regions)

    def change_password(self, name: str, password: str) -> None:
        self._replace(name, lambda operator: replace(operator, hash=_hashed(name, password)))

    def change_role(self, name: str, role: Role, regions: Iterable[str] | None) -> None:
        self._replace(name, lambda operator: replace(operator, role=role, regions=_regions(regions)))

    def disable(self, name: str, disabled: bool = True) -> None:
        """Shut out, and still on the list: the name is not given to somebody else. Or let in again."""
        self._replace(name, lambda operator: replace(operator, disabled=disabled))

    def remove(self, name: str) -> bool:
        if name not in self.all():
            return False
        self._change(lambda known: {key: operator for key, operator in known.items() if key != name})
        return True

    def _replace(self, name: str, change: Callable[[Operator], Operator]) -> None:
        def changed(known: dict[str, Operator]) -> dict[str, Operator]:
            if name not in known:
                raise OperatorsError(f"no operator is called {name!r}; `rahdar operator list` says who there is")
            return {**known, name: change(known[name])}

        self._change(changed)

    def _change(self, change: Callable[[dict[str, Operator]], dict[str, Operator]]) -> None:
        """One at a time, also among processes: nobody's change is lost under another's."""
        if self.path is None:
            raise OperatorsError("RAHDAR_OPERATORS_FILE is not set; name the file that holds the operators")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(self.path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._stamp = None
            self._write(change(self.all()))

    def _write(self, known: dict[str, Operator]) -> None:
        assert self.path is not None
        rows = [_row(operator) for operator in sorted(known.values(), key=lambda o: o.name)]
        text = "# Who may log in to the desk. Written by `rahdar operator`.\n" + yaml.safe_dump(
            {"operators": rows}, sort_keys=False, width=1000
        )
        write_over(self.path, text.encode())
        self._stamp = None


def _row(operator: Operator) -> dict[str, Any]:
    row: dict[str, Any] = {"name": operator.name, "role": operator.role, "hash": operator.hash}
    if operator.regions is not None:
        row["regions"] = list(operator.regions)
    if operator.disabled:
        row["disabled"] = True
    return row


def _check_password(name: str, password: str) -> None:
    if len(password) < SHORTEST_PASSWORD:
        raise OperatorsError(f"the password has {len(password)} characters; give {SHORTEST_PASSWORD} or more")
    if len(password) > LONGEST_PASSWORD:
        raise OperatorsError(f"the password has {len(password)} characters; give {LONGEST_PASSWORD} or fewer")
    if name.lower() in password.lower() and len(password) < len(name) + SHORTEST_PASSWORD:
        raise OperatorsError("the password is the name and little more; give another one")
    if len(set(password)) < 5:
        raise OperatorsError("the password repeats a few characters; give another one")


def _hashed(name: str, password: str) -> str:
    _check_password(name, password)
    return _hasher.hash(password)


def _regions(regions: Iterable[str] | None) -> Regions:
    if regions is None:
        return None
    found = tuple(sorted(set(regions)))
    for region in found:
        if not REGION.fullmatch(region):
            raise OperatorsError(f"{region!r} cannot be a region: letters, digits, `_` and `-`, 32 at most")
    if not found:
        raise OperatorsError("name a region, or leave regions out: then all are meant")
    return found


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
        regions, disabled = row.get("regions"), row.get("disabled", False)
        if not isinstance(disabled, bool) or not (regions is None or _are_names(regions)):
            raise fault(f"operator {row['name']!r}: `regions` is a list of names, `disabled` is true or false")
        role = cast(Role, row["role"])
        known[row["name"]] = Operator(row["name"], role, row["hash"], _regions(regions), disabled)
    return known


def _are_names(regions: Any) -> bool:
    return (
        isinstance(regions, list) and bool(regions) and all(isinstance(r, str) and REGION.fullmatch(r) for r in regions)
    )


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
