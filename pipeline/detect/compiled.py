"""Compiled functions, kept on disk between runs, and what they are handed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import types
from numba.experimental import structref

F = TypeVar("F", bound=Callable[..., Any])


def _keep_where() -> None:
    """Numba looks only at a function's own file to tell whether what it kept is stale, not at the functions that it calls. So what
    is kept has a place of its own for every state of the sources of this package."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for source in sorted(here.rglob("*.py")):
        digest.update(source.read_bytes())
    beside = here / "__pycache__"
    root = beside if os.access(beside if beside.exists() else here, os.W_OK) else Path.home() / ".cache" / "rahdar"
    config: Any = numba.config
    config.CACHE_DIR = str(root / f"compiled-{digest.hexdigest()[:12]}")


_keep_where()


def compiled(function: F) -> F:
    """Compile at the first call, or load what an earlier run has compiled. No fast-math: the law wants the same bytes everywhere."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


def bare(function: F) -> F:
    """As `compiled`, for what makes no array: none is counted as in use, which of thirty arrays costs more than to judge a fix."""
    return cast(F, numba.njit(cache=True, nogil=True, _nrt=False)(function))  # type: ignore[call-overload]  # numba's stubs leave it out


@structref.register
class BoxType(types.StructRef):
    """Numba's type of a `Box`; it differs by what is in it."""


class Box(structref.StructRefProxy):
    """A tuple of arrays that compiled code finds under `held`. To take a tuple of thirty arrays apart costs as much as to judge five fixes;
    a box is taken apart when it is made and not at every call."""


structref.define_proxy(Box, BoxType, ["held"])  # type: ignore[no-untyped-call]  # numba says no types


@compiled
def boxed(held: Any) -> Any:
    """A box of these very arrays: what is written to them is seen in it, but for whoever puts another array in their place."""
    return Box(held)  # type: ignore[no-untyped-call]  # as above
