"""Our own certificate authority: who a device is, the broker's own certificate, and the list of what is revoked.

A certificate's common name is a login and nothing else: a name with a slash would pass Mosquitto's ACL pattern `v1/+/%u/...` as a topic
level more, so no other name is ever signed. Keys are P-256. Files with keys are readable by us alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.ingest.credentials import LOGIN

CA_DAYS, SERVER_DAYS, DEVICE_DAYS = 3650, 825, 730
SKEW = timedelta(days=1)
"""A device whose clock is a little slow believes us all the same."""
_HOST = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z"
)


class AuthorityError(ValueError):
    """Cannot be done, and why."""


@dataclass(frozen=True, slots=True)
class Issued:
    certificate_pem: bytes
    key_pem: bytes
    serial: int
    until: datetime


def write_private(path: Path, content: bytes | str, mode: int = 0o600) -> None:
    """Whole or not at all, on disk when it returns, and never readable by others on the way."""
    data = content.encode() if isinstance(content, str) else content
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)


class Authority:
    """`ca.pem`, `ca.key` and `crl.pem` in one directory."""

    def __init__(self, directory: Path, now: datetime) -> None:
        self.directory = directory
        self.now = now
        self.certificate_path = directory / "ca.pem"
        self.key_path = directory / "ca.key"
        self.crl_path = directory / "crl.pem"

    def exists(self) -> bool:
        return self.certificate_path.exists() and self.key_path.exists()

    def create(self, name: str = "Rahdar devices") -> None:
        """Once; an authority that is there stays. Raises AuthorityError when half of one is there."""
        if self.exists():
            return
        if self.certificate_path.exists():
            raise AuthorityError(
                f"{self.certificate_path} is there, {self.key_path} is not: restore the key, or move the certificate away"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            self._begin(subject, subject, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self.key_path, _pem(key))
        write_private(self.certificate_path, made.public_bytes(serialization.Encoding.PEM), 0o644)

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        except FileNotFoundError as error:
            raise AuthorityError(
                f"there is no authority in {self.directory}; make one by `rahdar device setup`"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise AuthorityError(f"{self.directory}: the authority cannot be read ({error})") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AuthorityError(f"{self.key_path} is not the key of {self.certificate_path}")
        return certificate, key

    def _begin(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - SKEW)
            .not_valid_after(self.now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def issue(self, login: str, days: int = DEVICE_DAYS) -> Issued:
        """A client certificate with its key. Raises AuthorityError for a name that is no login."""
        if not LOGIN.match(login):
            raise AuthorityError(
                f"{login[:64]!r} is no login: 1 to 32 of A-Z a-z 0-9 _ - (a slash in it would open topics of others)"
            )
        return self._issue(login, days, [ExtendedKeyUsageOID.CLIENT_AUTH], None)

    def issue_server(self, hosts: Sequence[str], days: int = SERVER_DAYS, *, also_client: bool = False) -> Issued:
        """A server's own certificate, for every name and address that it is called by. `also_client`: it calls its fellows as well."""
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                if not _HOST.match(host):
                    raise AuthorityError(f"{host[:64]!r} is neither a host name nor an address") from None
                names.append(x509.DNSName(host))
        if not names:
            raise AuthorityError("the broker needs a name or address that devices call it by")
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if also_client else [])]
        return self._issue(hosts[0][:64], days, usages, x509.SubjectAlternativeName(names))

    def _issue(
        self, name: str, days: int, usages: Sequence[x509.ObjectIdentifier], names: x509.SubjectAlternativeName | None
    ) -> Issued:
        ca, ca_key = self._load()
        until = min(self.now + timedelta(days=days), ca.not_valid_after_utc)
        if until <= self.now:
            raise AuthorityError(f"{self.certificate_path} is past its time ({ca.not_valid_after_utc:%Y-%m-%d})")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            self._begin(subject, ca.subject, key.public_key(), (until - self.now).days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        made = builder.sign(ca_key, hashes.SHA256())
        return Issued(
            made.public_bytes(serialization.Encoding.PEM), _pem(key), made.serial_number, made.not_valid_after_utc
        )

    def write_crl(self, serials: Iterable[int]) -> None:
        """The whole list anew. It stays valid as long as the authority: Mosquitto refuses everybody once a list has run out."""
        ca, ca_key = self._load()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ca.subject)
            .last_update(self.now - SKEW)
            .next_update(ca.not_valid_after_utc)
        )
        for serial in sorted(set(serials)):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.now).build()
            )
        made = builder.sign(ca_key, hashes.SHA256())
        write_private(self.crl_path, made.public_bytes(serialization.Encoding.PEM), 0o644)


def read_revoked(crl: Path, ca: Path) -> frozenset[int]:
    """Serial numbers that are no longer good. Raises AuthorityError, OSError."""
    try:
        found = x509.load_pem_x509_crl(crl.read_bytes())
        key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        good = found.is_signature_valid(key)
    except (ValueError, AssertionError, InvalidSignature) as error:
        raise AuthorityError(f"{crl}: no list of revoked certificates ({error})") from error
    if not good:
        raise AuthorityError(f"{crl} is not signed by {ca}")
    return frozenset(entry.serial_number for entry in found)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def utc(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC)
