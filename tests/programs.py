"""Programs that are not Python's: servers of Debian's, started by the tests."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Where it is. Not here: the test is skipped, which CI takes for a failure."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
