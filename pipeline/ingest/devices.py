"""Which devices may come in: enrolled, moved, revoked. One directory holds all that a broker reads about it.

    ca.pem ca.key crl.pem            the authority and what it took back
    server.pem server.key            the broker's own
    passwords acl                    who may come in with a password; who may do what
    devices.json                     what was done: no secret in it
    issued/LOGIN/                    a certificate with its key, until it is handed over

Everything is done twice without harm: what is there stays. A secret is made once and given out once; nobody keeps it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509

from pipeline.clock import Clock
from pipeline.ingest.acl import NOTIFY, SHARDS, mosquitto_acl
from pipeline.ingest.authority import Authority, AuthorityError, utc, write_private
from pipeline.ingest.credentials import LOGIN, CredentialsError, mosquitto_hash, read_credentials
from pipeline.model.times import format_us

Kind = Literal["password", "certificate"]
OURS = "rahdar-"
RENEW_BEFORE = timedelta(days=60)
MOST_SHARDS = 64


class DevicesError(ValueError):
    """Cannot be done, and why. What was there is as it was."""


class Device(msgspec.Struct, kw_only=True):
    login: str
    kind: Kind
    state: Literal["pending", "enrolled", "revoked"]
    shard: str = "0"
    changed_at: str = ""
    serials: list[str] = msgspec.field(default_factory=list)
    """Of all its certificates, hexadecimal; of an enrolled one the last is good."""
    until: str | None = None
    ours: bool = False
    """Of our own programs: the bridge, the notifier."""


class Register(msgspec.Struct, kw_only=True):
    version: int = 1
    shards: list[str] = msgspec.field(default_factory=lambda: list(SHARDS))
    """Each is a login of the bridge's."""
    devices: dict[str, Device] = msgspec.field(default_factory=dict)


class Secret(msgspec.Struct, frozen=True):
    """To be handed over now: nobody can ask for it again."""

    login: str
    password: str | None = None
    directory: Path | None = None
    """Where certificate and key lie."""

    def __repr__(self) -> str:
        return f"Secret({self.login})"


class Devices:
    """All methods raise DevicesError, AuthorityError, CredentialsError or OSError."""

    def __init__(self, directory: Path, clock: Clock, passwords: Path | None = None) -> None:
        self.directory = directory
        self.clock = clock
        self.passwords = passwords or directory / "passwords"
        self.acl = directory / "acl"
        self.authority = Authority(directory, utc(clock.now_us()))

    # ---- what is there ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _register(self) -> Iterator[Register]:
        """Alone with the directory until it is left."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(fd)

    def read(self) -> Register:
        path = self.directory / "devices.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Register)
        except FileNotFoundError:
            return Register()
        except msgspec.MsgspecError as error:
            raise DevicesError(f"{path}: not a register of devices ({error}); restore it from a backup") from error

    def _write(self, register: Register) -> None:
        write_private(
            self.directory / "devices.json", msgspec.json.format(msgspec.json.encode(register), indent=1) + b"\n"
        )

    def _for_broker(self, path: Path, content: bytes | str, mode: int = 0o600) -> None:
        """The broker reads it: who runs as root gives it to whom the directory belongs to."""
        write_private(path, content, mode)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def _publish(self, register: Register) -> None:
        """What the brokers read: the list of revoked certificates, and the ACL."""
        gone = [serial for device in register.devices.values() for serial in _not_good(device)]
        if self.authority.exists():
            self.authority.write_crl(int(serial, 16) for serial in gone)
            self._for_broker(self.authority.crl_path, self.authority.crl_path.read_bytes(), 0o644)
        shut_out = [device.login for device in register.devices.values() if device.state == "revoked"]
        self._for_broker(self.acl, mosquitto_acl(shut_out))

    # ---- the broker -----------------------------------------------------------------------------------------------------

    def setup(self, hosts: Sequence[str], shards: Sequence[str] = SHARDS) -> list[str]:
        """Authority, the broker's certificate for these names, ACL, and certificates for our own bridge and notifier. Returns what
        was made; what is there and good stays."""
        if not 0 < len(shards) <= MOST_SHARDS or not all(LOGIN.match(shard) for shard in shards):
            raise DevicesError(f"1 to {MOST_SHARDS} shards, with names of A-Z a-z 0-9 _ -")
        made = []
        with self._register() as register:
            devices = {
                login for login, device in register.devices.items() if not device.ours
            } | self._credentials().keys()
            if taken := sorted(devices & set(shards)):
                raise DevicesError(f"{taken[0]} is a device: it would read what the whole shard of that name says")
            if not self.authority.exists():
                self.authority.create()
                made.append(str(self.authority.certificate_path))
            self._for_broker(self.authority.certificate_path, self.authority.certificate_path.read_bytes(), 0o644)
            if not self._server_is_good(hosts):
                server = self.authority.issue_server(hosts)
                self._for_broker(self.directory / "server.key", server.key_pem)
                self._for_broker(self.directory / "server.pem", server.certificate_pem, 0o644)
                made.append(str(self.directory / "server.pem"))
            if not self.passwords.exists():
                self._for_broker(self.passwords, "")
                made.append(str(self.passwords))
            register.shards = list(shards)
            self._write(register)
            self._publish(register)
            for login in (*shards, NOTIFY):
                device = register.devices.get(login)
                if device is None or device.state != "enrolled":
                    made.append(str(self._certificate(register, login, login, None)))
                    register.devices[login].ours = True
                    self._write(register)
        return made

    def _server_is_good(self, hosts: Sequence[str]) -> bool:
        try:
            found = x509.load_pem_x509_certificate((self.directory / "server.pem").read_bytes())
            ca = x509.load_pem_x509_certificate(self.authority.certificate_path.read_bytes())
            found.verify_directly_issued_by(ca)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
            return False
        except Exception:  # noqa: BLE001  # a signature of another authority has its own exception; whatever it is, it is not good
            return False
        known = {str(name.value) for name in names}
        return (
            (self.directory / "server.key").exists()
            and set(hosts) <= known
            and found.not_valid_after_utc - self.authority.now > RENEW_BEFORE
        )

    # ---- devices ----------------------------------------------------------------------------------------------------------

    def enrol(
        self, login: str, kind: Kind, shard: str = "0", renew: bool = False, out: Path | None = None
    ) -> Secret | None:
        """A secret for this device; None: it has one. `renew`: another one, and the old one is no longer good."""
        _check(login, shard)
        with self._register() as register:
            device = register.devices.get(login)
            if login in {*register.shards, *SHARDS} or (device is not None and device.ours):
                raise DevicesError(f"{login} is a shard: a device of that name would read what all others in it say")
            if device is not None and device.state == "enrolled" and not renew:
                if device.kind != kind:
                    raise DevicesError(f"{login} is enrolled with a {device.kind}; --renew makes it a {kind}")
                if device.shard != shard:
                    raise DevicesError(f"{login} is enrolled in shard {device.shard}; see `rahdar device move`")
                return None
            if device is None and login in self._credentials() and not renew:
                raise DevicesError(f"{login} has a password in {self.passwords} already; --renew makes a new one")
            if kind == "certificate":
                self._set_password(login, None)
                return Secret(login, directory=self._certificate(register, login, shard, out))
            password = secrets.token_urlsafe(24)
            self._set_password(login, mosquitto_hash(password))
            self._enrolled(register, login, "password", shard, None, None)
            return Secret(login, password=password)

    def _certificate(self, register: Register, login: str, shard: str, out: Path | None) -> Path:
        """Known in the register before it exists: no certificate is ever out that cannot be revoked."""
        directory = out or self.directory / "issued" / login
        if out is None:
            directory.parent.mkdir(exist_ok=True, mode=0o700)
        directory.mkdir(exist_ok=True, mode=0o700)
        issued = self.authority.issue(login)
        device = register.devices.get(login)
        serials = [*(device.serials if device else []), f"{issued.serial:x}"]
        register.devices[login] = Device(
            login=login, kind="certificate", state="pending", shard=shard, changed_at=self._now(), serials=serials
        )
        self._write(register)
        write_private(directory / "device.key", issued.key_pem)
        write_private(directory / "device.pem", issued.certificate_pem, 0o644)
        write_private(directory / "ca.pem", self.authority.certificate_path.read_bytes(), 0o644)
        self._enrolled(register, login, "certificate", shard, f"{issued.serial:x}", issued.until)
        return directory

    def _enrolled(
        self, register: Register, login: str, kind: Kind, shard: str, serial: str | None, until: datetime | None
    ) -> None:
        before = register.devices.get(login)
        serials = [s for s in (before.serials if before else []) if s != serial]
        register.devices[login] = Device(
            login=login,
            kind=kind,
            state="enrolled",
            shard=shard,
            changed_at=self._now(),
            serials=[*serials, serial] if serial else serials,
            until=f"{until:%Y-%m-%d}" if until else None,
        )
        self._write(register)
        self._publish(register)

    def move(self, login: str, shard: str) -> bool:
        """Into another shard: it publishes to another topic. False: it is there already."""
        _check(login, shard)
        with self._register() as register:
            device = register.devices.get(login)
            if device is None or device.state != "enrolled":
                raise DevicesError(f"{login} is not enrolled")
            if register.shards and shard not in register.shards:
                raise DevicesError(f"no bridge reads shard {shard}: there are {', '.join(register.shards)}")
            if device.shard == shard:
                return False
            device.shard, device.changed_at = shard, self._now()
            self._write(register)
            return True

    def revoke(self, login: str) -> bool:
        """It may do nothing from now on. False: it could not before either."""
        if not LOGIN.match(login):
            raise DevicesError(f"{login[:64]!r} is no login")
        with self._register() as register:
            device = register.devices.get(login)
            known = login in self._credentials()
            if device is None and not known:
                raise DevicesError(f"{login} is not enrolled: nothing to revoke")
            if device is not None and device.state == "revoked" and not known:
                self._publish(register)  # once more, in case we were stopped between
                return False
            if device is None:
                device = register.devices[login] = Device(login=login, kind="password", state="enrolled")
            device.state, device.changed_at = "revoked", self._now()
            self._write(register)
            self._set_password(login, None)
            self._publish(register)
            return True

    def _credentials(self) -> dict[str, str]:
        try:
            return read_credentials(self.passwords)
        except FileNotFoundError:
            return {}

    def _set_password(self, login: str, hashed: str | None) -> None:
        """This line and no other."""
        known = self._credentials()  # a file with a fault is not written over
        if hashed is None and login not in known:
            return
        lines = self.passwords.read_text(encoding="utf-8").splitlines() if self.passwords.exists() else []
        lines = [line for line in lines if line.strip().partition(":")[0] != login]
        if hashed is not None:
            lines.append(f"{login}:{hashed}")
        self._for_broker(self.passwords, "".join(f"{line}\n" for line in lines))

    def _now(self) -> str:
        return format_us(self.clock.now_us())


def _check(login: str, shard: str) -> None:
    if not LOGIN.match(login):
        raise DevicesError(
            f"{login[:64]!r} is no login: 1 to 32 of A-Z a-z 0-9 _ - (a slash in it would open topics of others)"
        )
    if login.startswith(OURS):
        raise DevicesError(f"{login}: logins that begin with {OURS} are our own; `rahdar device setup` makes them")
    if not LOGIN.match(shard):
        raise DevicesError(f"{shard[:64]!r} is no shard: 1 to 32 of A-Z a-z 0-9 _ -")


def _not_good(device: Device) -> Iterable[str]:
    good = device.state == "enrolled" and device.kind == "certificate"
    return device.serials[:-1] if good else device.serials


__all__ = ["AuthorityError", "CredentialsError", "Device", "Devices", "DevicesError", "Secret"]
