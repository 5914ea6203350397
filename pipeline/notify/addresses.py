"""Where people are reached: a name in the plan, the address itself in a file or in the environment, never in the tree or in a log.

`RAHDAR_ADDRESS_AMINA_SMS` first, then the line `amina-sms: ...` of `RAHDAR_ADDRESSES_FILE`. The file is read again when it changes. A line may
be sealed (`rahdar address`): it is opened when it is dialled, and lies sealed in memory too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.people.keyfile import KeyFileError
from pipeline.people.secrets import SealError, is_sealed, open_vault

LONGEST = 2000
MOST_LINES = 10_000


class AddressesError(ValueError):
    """The file cannot be used; says why and what to do."""


def variable_of(name: str) -> str:
    return "RAHDAR_ADDRESS_" + name.upper().replace("-", "_")


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

    def __init__(
        self, path: Path | None, environment: Mapping[str, str] | None = None, key_file: Path | None = None
    ) -> None:
        """`key_file`: what opens sealed lines. Raises AddressesError, OSError when the file or the key cannot be used now."""
        self._path, self._key_file = path, key_file
        self._environment = os.environ if environment is None else environment
        self._known = self._read(path) if path else {}
        self._mark = self._stamp()
        self.fault = ""

    def _read(self, path: Path) -> dict[str, str]:
        found = read_addresses(path)
        for name, address in found.items():
            self._opened(name, address)  # what does not open is said now, not when somebody must be told
        return found

    def _opened(self, name: str, address: str) -> str:
        if not is_sealed(address):
            return address
        if self._key_file is None or not self._key_file.exists():
            raise AddressesError(
                f"{name} is sealed, and {self._key_file or 'its key file'} is not there; put the key back"
            )
        try:
            return open_vault(self._key_file).open(address, name).reveal()
        except (SealError, KeyFileError) as error:
            raise AddressesError(str(error)) from error

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
                self._known, self.fault = self._read(self._path), ""
            except (AddressesError, OSError, UnicodeDecodeError) as error:
                self.fault = str(error)
        if given := self._environment.get(variable_of(name)):
            return given
        try:
            return self._opened(name, self._known[name]) if name in self._known else None
        except (AddressesError, OSError) as error:
            self.fault = str(error)
            return None

    def names_of(self, address: str) -> list[str]:
        """Every name of this address in the file or the environment."""
        own = [name for name in self._known if self.find(name) == address]
        prefix = "RAHDAR_ADDRESS_"
        more = [
            k.removeprefix(prefix).lower().replace("_", "-")
            for k, v in self._environment.items()
            if k.startswith(prefix) and v == address
        ]
        return [*own, *more]
