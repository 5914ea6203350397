"""The records on the topics survive the way there and back, and what is not whole is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.observation import Fix, Press, Tick
from pipeline.model.wire import (
    COLUMNS,
    BatchBuilder,
    RawBatch,
    RawItem,
    WireError,
    decode_observations,
    decode_raw,
    encode_observations,
    encode_raw,
)

f4 = st.none() | st.floats(0, 1000, width=32)
names = st.text("abcdefghij-_0123456789", min_size=1, max_size=32)
fixes = st.builds(
    Fix,
    vehicle=names,
    device=names,
    seen_at_us=st.integers(0, 2**62),
    received_at_us=st.integers(0, 2**62),
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
    speed_mps=f4,
    course_deg=f4,
    accuracy_m=f4,
    altitude_m=f4,
    seq=st.integers(0, 2**62),
    body=st.integers(0, 2**64 - 1),
    flags=st.integers(0, 63),
)
others = st.builds(Tick, source=names, at_us=st.integers(0, 2**62)) | st.builds(
    Press,
    subject=names,
    what=st.sampled_from(["sos", "duress"]),
    seen_at_us=st.integers(0, 2**62),
    received_at_us=st.just(5),
)


@given(st.lists(fixes | others, max_size=30))
def test_observations_come_back_as_they_went(observations: list[Fix | Tick | Press]) -> None:
    """Every field of every fix, and every other observation at its place between them."""
    builder = BatchBuilder(cell="hazara", plan_hash="ab")
    builder.extend(observations)
    back = decode_observations(encode_observations(builder.build()))
    assert back.cell == "hazara"
    rows: list[object] = list(back.fixes.rows())
    for placed in reversed(back.others):
        rows.insert(placed.after, placed.what)
    assert rows == observations


def test_columns_are_views_of_the_record() -> None:
    """Decoding copies nothing: 1,000 fixes are 13 views."""
    builder = BatchBuilder()
    builder.extend(
        Fix(vehicle=f"v{i}", device="d", seen_at_us=i, received_at_us=i, lat=1.0, lon=2.0) for i in range(1000)
    )
    fixes = decode_observations(encode_observations(builder.build())).fixes
    for name, dtype in COLUMNS:
        column = getattr(fixes, name)
        assert column.dtype == np.dtype(dtype)
        assert column.base is not None
        assert not column.flags.writeable
        assert getattr(fixes, name) is column
    with pytest.raises(AttributeError):
        _ = fixes.colour  # type: ignore[attr-defined]  # that is the point
    assert math.isnan(fixes.speed_mps[0])


@pytest.mark.parametrize("cut", [0, 3, 8, 20, -1])
def test_a_torn_record_is_refused(cut: int) -> None:
    """A record that is cut anywhere says so and is not half read."""
    builder = BatchBuilder(cell="c")
    builder.add(Fix(vehicle="v", device="d", seen_at_us=1, received_at_us=2, lat=3.0, lon=4.0))
    data = encode_observations(builder.build())
    with pytest.raises(WireError):
        decode_observations(data[:cut])


def test_a_record_with_a_tail_is_refused() -> None:
    """Bytes behind the end mean that the record is not what we think it is."""
    with pytest.raises(WireError, match="0 fixes with 1 bytes"):
        decode_observations(encode_observations(BatchBuilder().build()) + b"x")


def test_raw_records_keep_the_bytes() -> None:
    """The evidence comes back exactly as it was sent, whatever it is."""
    item = RawItem(7, "c-1", "v1/0/c-1/native", bytes(range(256)), 123)
    batch = RawBatch(1, "ingest-1", "hash", [item], [Tick(source="ingest-1", at_us=9)])
    assert decode_raw(encode_raw(batch)) == batch


@pytest.mark.parametrize("data", [b"", b"\x00", b"{}", b"\x95\x02", b"\xff" * 100])
def test_what_is_no_raw_record_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_raw(data)


def test_a_future_version_is_refused_by_name() -> None:
    data = encode_raw(RawBatch(99, "s", "h", [], []))
    with pytest.raises(WireError, match="version 99"):
        decode_raw(data)


def test_places_of_names_come_along_and_are_for_the_engine_that_has_the_plan() -> None:
    builder = BatchBuilder("c", "h", "ingest", {"v1": 4, "d1": 2})
    builder.extend(
        [Fix(vehicle="v1", device=d, seen_at_us=1, received_at_us=2, lat=35.0, lon=73.0) for d in ("d1", "d9")]
    )
    sent = decode_observations(encode_observations(builder.build()))
    assert sent.source == "ingest"
    assert sent.places is not None
    assert dict(zip(sent.fixes.names, sent.places.tolist(), strict=True)) == {
        name: {"v1": 4, "d1": 2}.get(name, -1) for name in sent.fixes.names
    }
    assert decode_observations(encode_observations(BatchBuilder("c").build())).places is None
