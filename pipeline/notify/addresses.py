"""Where people are reached: a name in the plan, the address itself in a file or in the environment, never in the tree or in a log.

`RAHDAR_ADDRESS_AMINA_SMS` first, then the line `amina-sms: ...` of `RAHDAR_ADDRESSES_FILE`. The file is read again when it changes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

LONGEST = 2000
MOST_LINES = 10_000


class AddressesError(ValueError):
    """The file cannot be used; says why and what to do."""


def variable_of(name: str) -> str:
    return "RAHDAR_ADDRESS_" + name.upper().replace("-", "_")


def masked(address: str) -> str:
    """What may be shown: enough to tell two apart, not enough to call."""
    return f"{'*' * 3}{address[-2:]}" if len(address) > 6 else "***"


def read_addresses(path: Path) -> dict[str, str]:
    """Name -> address. Raises AddressesError: whoever else may read the file, and what is no line; OSError."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AddressesError(f"{path} may be read by others; chmod 600 it")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:MOST_LINES], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, address = line.partition(":")
        if not colon or not address.strip() or len(address) > LONGEST:
            raise AddressesError(f"{path}: line {number} is not NAME: ADDRESS")
        found[name.strip()] = address.strip()
    return found


class Addresses:
    """Looks names up. A file that has become unreadable changes nothing: a slip of the pen must not silence everybody."""

    def __init__(self, path: Path | None, environment: Mapping[str, str] | None = None) -> None:
        """Raises AddressesError, OSError when the file cannot be used now."""
        self._path = path
        self._environment = os.environ if environment is None else environment
        self._known = read_addresses(path) if path else {}
        self._mark = self._stamp()
        self.fault = ""

    def _stamp(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def find(self, name: str) -> str | None:
        mark = self._stamp()
        if self._path is not None and mark != self._mark:
            self._mark = mark
            try:
                self._known, self.fault = read_addresses(self._path), ""
            except (AddressesError, OSError, UnicodeDecodeError) as error:
                self.fault = str(error)
        return self._environment.get(variable_of(name)) or self._known.get(name)

    def names_of(self, address: str) -> list[str]:
        """Every name of this address in the file or the environment."""
        own = [name for name, known in self._known.items() if known == address]
        prefix = "RAHDAR_ADDRESS_"
        more = [
            k.removeprefix(prefix).lower().replace("_", "-")
            for k, v in self._environment.items()
            if k.startswith(prefix) and v == address
        ]
        return [*own, *more]
