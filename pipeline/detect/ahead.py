"""Memory that is needed soon is asked for early: vehicles come in no order, so what a fix needs of its own is seldom in the cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from pipeline.detect.compiled import bare
from pipeline.detect.form import FIX
from pipeline.detect.ground import cell_at

LINE_BYTES = 64
FIX_BYTES = FIX.itemsize
LEAD = FIRST = 16  # fixes ahead
SECOND, THIRD, FOURTH = 12, 8, 4


def _prefetch(typing_context: Any, array: Any, place: Any, offset: Any) -> Any:
    """Have one line of the cache filled: `offset` bytes behind the start of array[place]. Changes nothing and waits for nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        (stride, *_) = cgutils.unpack_tuple(builder, view.strides)  # type: ignore[no-untyped-call]  # as above
        start = builder.mul(stride, arguments[1])
        at = builder.gep(builder.bitcast(view.data, byte), [builder.add(start, arguments[2])])
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        )
        builder.call(fetch, [at, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


_ask_for: Any = intrinsic(_prefetch)


@bare
def ask_for(array: Any, place: int, lines: int) -> None:
    for line in range(lines):
        _ask_for(array, place, line * LINE_BYTES)


@bare
def look_ahead(st: Any, rows: Any, pairs: Any, legs: Any, fixes: Any, start: int, i: int) -> None:
    """For fixes after fix i, from `start` on: in four steps, since where the one thing lies is told by the other. To be called for every
    i from LEAD before the start."""
    j = i + FIRST
    if start <= j < len(fixes) and fixes[j].slot >= 0:
        slot = fixes[j].slot
        ask_for(rows, slot, 5)
        ask_for(legs, slot, 2)
        ask_for(pairs, slot, 2)
        cell = cell_at(st.box, fixes[j].x, fixes[j].y)
        if cell >= 0:
            ask_for(st.starts, cell, 1)
    j = i + SECOND
    if start <= j < len(fixes) and fixes[j].slot >= 0:
        ask_for(st.vehicles, rows[fixes[j].slot].vehicle, 2)
        cell = cell_at(st.box, fixes[j].x, fixes[j].y)
        if cell >= 0:
            ask_for(st.entries, st.starts[cell], 1)
    j = i + THIRD
    if start <= j < len(fixes) and fixes[j].slot >= 0:
        first, last = st.vehicles[rows[fixes[j].slot].vehicle].legs
        if first < last:
            ask_for(st.legs, first, 1)
    j = i + FOURTH
    if start <= j < len(fixes) and fixes[j].slot >= 0:
        slot = fixes[j].slot
        first, last = st.vehicles[rows[slot].vehicle].legs
        if first < last:
            leg = st.legs[first]
            ask_for(st.parts, leg.parts[0], 1)
            segment = legs[slot, 0].segment
            if segment >= 0:
                ask_for(st.vertices, max(0, st.ranges[leg.line, 0] + segment - 4), 9)


@bare
def look_back(pool: Any, chains: Any, fixes: Any, i: int) -> None:
    """The same from the first fix on, where fixes are remembered."""
    j = i + SECOND
    if 0 <= j < len(fixes) and fixes[j].slot >= 0:
        ask_for(chains, fixes[j].slot, 1)
    j = i + FOURTH
    if 0 <= j < len(fixes) and fixes[j].slot >= 0:
        c = chains[fixes[j].slot]
        if c.tail >= 0:
            _ask_for(pool, c.tail, c.in_tail * FIX_BYTES)
            _ask_for(pool, c.tail, c.in_tail * FIX_BYTES + LINE_BYTES)
