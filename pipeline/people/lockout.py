"""Failed log-ins cost time, and only whom they should.

Somebody who never logged in from this browser is counted by name and address, by address, and by name from anywhere. A browser that logged
in before carries a device's mark: it is counted by that mark alone, so whoever guesses from elsewhere cannot keep it out. What is refused
while a pause lasts is not counted, and every count is forgotten after a while: no lock lasts for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import Clock, WallClock
from pipeline.people.database import hash_token, open_database

SECOND_US = 1_000_000
MOST_ROWS = 20_000
DEVICE_S = 180 * 86_400.0
DEVICES_OF_ONE = 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS failed (
  scope TEXT NOT NULL, key TEXT NOT NULL, login TEXT NOT NULL, count INTEGER NOT NULL, until_us INTEGER NOT NULL,
  last_us INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failed_last ON failed (last_us);
CREATE TABLE IF NOT EXISTS device (
  mark_hash BLOB PRIMARY KEY, login TEXT NOT NULL, used_us INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """`free` failures cost nothing; then a pause that doubles. Without a failure for `forget_s` all is forgotten."""

    free: int
    first_s: float
    longest_s: float
    forget_s: float

    def pause_s(self, count: int) -> float:
        """After this many failures."""
        return min(self.first_s * 2 ** min(count - self.free, 20), self.longest_s) if count >= self.free else 0.0


PATIENCE = {
    "pair": Patience(5, 30.0, 900.0, 86_400.0),  # this name from this address
    "device": Patience(5, 30.0, 900.0, 86_400.0),  # this browser, which was let in before
    "address": Patience(20, 30.0, 900.0, 3_600.0),  # any name from this address
    "name": Patience(50, 30.0, 300.0, 3_600.0),  # this name from anywhere, by browsers that nobody knows
}
Scope = tuple[str, str]


def _hidden(name: str) -> str:
    """People type their password where the name belongs: what was typed does not lie on disk."""
    return hash_token(name).hex()[:32]


class Lockout:
    """Kept on disk: a restart forgives nothing, and `rahdar operator unlock` reaches a desk that runs."""

    FREE = PATIENCE["pair"].free

    def __init__(self, path: Path | str = ":memory:", clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._db = open_database(path, _SCHEMA)

    def close(self) -> None:
        self._db.close()

    def locked_for_s(self, name: str, address: str, device: str = "") -> float:
        """How long this one has to wait; 0: not at all."""
        now = self._clock.now_us()
        until = max((self._until(scope) for scope in self._scopes(name, address, device)), default=0)
        return max(0.0, (until - now) / SECOND_US)

    def failed(self, name: str, address: str, device: str = "") -> None:
        """Counted before the password is looked at, so that attempts at the same time count too."""
        now = self._clock.now_us()
        hidden = _hidden(name)
        for scope, key in self._scopes(name, address, device):
            patience = PATIENCE[scope]
            count = self._count(scope, key, now, patience) + 1
            until = now + int(patience.pause_s(count) * SECOND_US)
            self._db.execute(
                "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?, ?)", (scope, key, hidden, count, until, now)
            )
        self._bound()

    def succeeded(self, name: str, address: str, device: str = "") -> str:
        """Forgives what was counted for this browser. Returns the mark that it carries from now on."""
        known = self.knows(device, name)
        scopes = self._scopes(name, address, device)
        self._forget(scope for scope in scopes if scope[0] in ("pair", "device"))
        if not known:  # the attempt itself was counted there
            self._take_back(scope for scope in scopes if scope[0] in ("address", "name"))
        mark = device if known else secrets.token_urlsafe(32)
        now = self._clock.now_us()
        self._db.execute("INSERT OR REPLACE INTO device VALUES (?, ?, ?)", (hash_token(mark), _hidden(name), now))
        self._db.execute(
            "DELETE FROM device WHERE used_us <= ? OR login = ? AND mark_hash NOT IN "
            "(SELECT mark_hash FROM device WHERE login = ? ORDER BY used_us DESC LIMIT ?)",
            (now - int(DEVICE_S * SECOND_US), _hidden(name), _hidden(name), DEVICES_OF_ONE),
        )
        return mark

    def knows(self, device: str, name: str) -> bool:
        """Whether this browser was let in under this name before."""
        if not device or len(device) > 100:
            return False
        row = self._db.execute(
            "SELECT 1 FROM device WHERE mark_hash = ? AND login = ? AND used_us > ?",
            (hash_token(device), _hidden(name), self._clock.now_us() - int(DEVICE_S * SECOND_US)),
        ).fetchone()
        return row is not None

    def unlock(self, name: str) -> int:
        """Forgive all that was counted under this name, and the addresses that it was tried from. How many counts there were."""
        name = _hidden(name)
        addresses = [
            key.partition("\0")[2] for (key,) in self._db.execute("SELECT key FROM failed WHERE login = ? AND scope = 'pair'", (name,))
        ]  # fmt: skip
        gone = self._db.execute("DELETE FROM failed WHERE login = ?", (name,)).rowcount
        for address in addresses:
            gone += self._db.execute("DELETE FROM failed WHERE scope = 'address' AND key = ?", (address,)).rowcount
        return gone

    def forget_devices(self, name: str) -> None:
        self._db.execute("DELETE FROM device WHERE login = ?", (_hidden(name),))

    # ---- rows -------------------------------------------------------------------------------------------------------

    def _scopes(self, name: str, address: str, device: str) -> list[Scope]:
        if self.knows(device, name):
            return [("device", hash_token(device).hex())]
        return [("pair", f"{_hidden(name)}\0{address}"), ("address", address), ("name", _hidden(name))]

    def _until(self, scope: Scope) -> int:
        row = self._db.execute("SELECT until_us FROM failed WHERE scope = ? AND key = ?", scope).fetchone()
        return int(row[0]) if row else 0

    def _count(self, scope: str, key: str, now: int, patience: Patience) -> int:
        row = self._db.execute(
            "SELECT count FROM failed WHERE scope = ? AND key = ? AND last_us > ?",
            (scope, key, now - int(patience.forget_s * SECOND_US)),
        ).fetchone()
        return int(row[0]) if row else 0

    def _forget(self, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            self._db.execute("DELETE FROM failed WHERE scope = ? AND key = ?", scope)

    def _take_back(self, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            self._db.execute(
                "UPDATE failed SET count = max(0, count - 1), until_us = 0 WHERE scope = ? AND key = ?", scope
            )

    def _bound(self) -> None:
        """Flooded with names, the oldest half is forgotten."""
        (rows,) = self._db.execute("SELECT count(*) FROM failed").fetchone()
        if rows > MOST_ROWS:
            self._db.execute(
                "DELETE FROM failed WHERE (scope, key) IN (SELECT scope, key FROM failed ORDER BY last_us LIMIT ?)",
                (MOST_ROWS // 2,),
            )
