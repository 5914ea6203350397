"""Compiled functions, kept on disk between runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at the first call, or load what an earlier run has compiled. No fast-math: the law wants the same bytes everywhere."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))
