"""Where a log is: `log://DIR` (relative) or `log:///DIR` (absolute); everything else belongs to Kafka."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from yarl import URL

SCHEME = "log://"


def is_log(url: str) -> bool:
    return url.startswith(SCHEME)


def log_directory(url: str) -> Path:
    """The absolute directory that a `log://` URL as a person writes it names. Raises ValueError."""
    rest = url.removeprefix(SCHEME)
    if rest == url or not rest:
        raise ValueError(f"{url!r} is no log: give log://DIRECTORY or log:///ABSOLUTE/DIRECTORY")
    return Path(os.path.abspath(rest))  # noqa: PTH100  # resolve() would follow links, and two names of one log would differ


def broker_url(url: str) -> str:
    """What Faust may be given. It parses URLs, takes a relative path's first part for a host and lowers its case, and
    splits at commas."""
    if not is_log(url):
        return url
    return SCHEME + quote(str(log_directory(url)), safe="/")


def directory_of(url: URL) -> Path:
    """The directory in a URL as Faust hands it back."""
    return log_directory(SCHEME + unquote(f"{url.raw_host or ''}{url.raw_path}"))
