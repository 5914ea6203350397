"""Where Kafka is, and by what right: `kafka://a:9092,b:9092`, or `kafkas://a:9093,b:9093?ca=FILE&cert=FILE&key=FILE` for TLS with a certificate
of our own, which the broker asks for. One URL says all, since every stage and reader is given only that."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pipeline.tls import client_context

PLAIN, SECURE = "kafka://", "kafkas://"
FORM = "kafka://HOST:PORT or kafkas://HOST:PORT?ca=FILE&cert=FILE&key=FILE"
FILES = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class KafkaPlace:
    """`servers`: host:port. `files`: ca, cert and key; None: no TLS."""

    servers: tuple[str, ...]
    files: tuple[str, str, str] | None

    @property
    def faust_url(self) -> str:
        return ";".join(PLAIN + server for server in self.servers)

    def context(self) -> ssl.SSLContext | None:
        """Raises ConnectionError that names the file. Made anew each time: a renewed certificate counts from the next start on."""
        if self.files is None:
            return None
        ca, cert, key = self.files
        try:
            return client_context(ca, cert, key)
        except OSError as error:
            raise ConnectionError(f"RAHDAR_LOG_URL: {ca}, {cert} or {key}: {error}") from error

    def client_options(self) -> dict[str, Any]:
        """For a client of aiokafka."""
        context = self.context()
        options: dict[str, Any] = {"bootstrap_servers": list(self.servers)}
        return options if context is None else options | {"security_protocol": "SSL", "ssl_context": context}


def is_kafka(url: str) -> bool:
    return url.startswith((PLAIN, SECURE))


@lru_cache(maxsize=16)
def kafka_place(url: str) -> KafkaPlace:
    """Raises ValueError that says what it should be. Several servers stand behind one another with `,`, or as URLs with `;`."""
    whole, _, query = url.partition("?")
    scheme = SECURE if whole.startswith(SECURE) else PLAIN
    parts = whole.replace(",", ";").split(";")
    servers = tuple(part.removeprefix(scheme).rstrip("/") for part in parts)
    said = dict(parse_qsl(query, keep_blank_values=True))
    wrong = not whole.startswith(scheme) or any(not s or "/" in s for s in servers)
    wanted = set(FILES) if scheme == SECURE else set()
    if wrong or set(said) != wanted or not all(said.values()):
        raise ValueError(f"RAHDAR_LOG_URL is {url!r}; give {FORM}")
    return KafkaPlace(servers, (said["ca"], said["cert"], said["key"]) if scheme == SECURE else None)
