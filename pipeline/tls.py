"""The client's side of TLS, the same towards every server that we call."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(
    ca: Path | str | None,
    certificate: Path | str | None = None,
    key: Path | str | None = None,
    password: str | None = None,
) -> ssl.SSLContext:
    """`ca` None: the system's authorities. `certificate`: what we show of ourselves; `key` None: it is in the same file. `password`: of an
    encrypted key. Raises OSError, ssl.SSLError (which is one); ValueError when the key is encrypted and there is no password."""

    def asked() -> str:  # or OpenSSL would ask at the terminal
        if password is None:
            raise ValueError(f"{key or certificate} is encrypted, and there is no password for it")
        return password

    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(str(certificate), str(key) if key else None, asked)
    return context
