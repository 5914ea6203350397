"""The record: twice is once, a crash loses nothing that the log has not, and readers are never in the writer's way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.model.alert import AlertEvent
from pipeline.model.episode import Change
from pipeline.model.observation import Flag, Link, Order, Press, Reading, Statement, Tick
from pipeline.model.wire import BatchBuilder, ObservationBatch, decode_observations, encode_observations
from pipeline.record.read import MOST_POINTS, Reader
from pipeline.record.tables import path_of
from pipeline.record.write import KEEP_POSITIONS_US, PRUNE_ROWS, Taken, Writer, signed
from tests.alert.builders import alert, at, batch, change, episode
from tests.detect.plans import T0, fix

PLACE = ("episodes", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "record.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer(path)) as one:
        yield one


def seen(*observations: Any) -> ObservationBatch:
    builder = BatchBuilder("c")
    builder.extend(observations)
    return decode_observations(encode_observations(builder.build()))


def taken(*changes: Change, epoch: int = 1, offset: int = 1, events: list[AlertEvent] | None = None, fixes: list[Any] | None = None) -> Taken:  # fmt: skip
    return Taken(
        observations=[seen(*fixes)] if fixes else [],
        changes=[(PLACE, batch(*changes, epoch=epoch))] if changes else [],
        events=events or [],
        offsets={PLACE: offset},
    )


def event(seq: int, transition: Any = "opened", of: Any = None, **state: Any) -> AlertEvent:
    return AlertEvent(version=1, seq=seq, at_us=at(seq), transition=transition, reason="BEGAN", actor="policy", alert=alert(of, **state))  # fmt: skip


def dump(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as db:
        names = [n for (n,) in db.execute("select name from sqlite_master where type = 'table'")]
        return {n: db.execute(f"select * from {n} order by 1, 2, 3").fetchall() for n in names}


EVERYTHING = Taken(
    observations=[
        seen(
            fix(0, 0, 0),
            fix(1, 9, 0, body=2**64 - 1),
            Press(subject="v1", what="sos", seen_at_us=at(1), received_at_us=at(1), body=2**63),
            Reading(sensor="door", what="open", value=True, seen_at_us=at(1), received_at_us=at(1)),
            Link(device="v1-d0", state="online", seen_at_us=at(1), received_at_us=at(1), body=7),
            Statement(subject="v1", what="count", by="amina", seen_at_us=at(1), received_at_us=at(1)),
            Order(what="movement", effective_from_us=at(0), seen_at_us=at(1), received_at_us=at(1)),
            Tick(source="ingest", at_us=at(1)),
        )
    ],
    changes=[(PLACE, batch(change("begin", episode(lat=35.0))))],
    events=[event(1), event(2, "acknowledged", acknowledged_at_us=at(2))],
    offsets={PLACE: 7, ("observations", 2): 9},
)


def test_everything_has_its_row(writer: Writer, path: Path) -> None:
    writer.write(EVERYTHING)
    rows = dump(path)
    assert {name: len(found) for name, found in rows.items()} == {"positions": 2, "others": 5, "episodes": 1, "alerts": 1, "alert_events": 2, "offsets": 2}  # fmt: skip
    assert sorted((r[0], r[1]) for r in rows["others"]) == [("link", "v1-d0"), ("order", "movement"), ("press", "v1"), ("reading", "door"), ("statement", "v1")]  # fmt: skip


def test_written_twice_is_the_same(writer: Writer, path: Path) -> None:
    writer.write(EVERYTHING)
    once = dump(path)
    writer.write(EVERYTHING)
    assert dump(path) == once


def test_written_twice_by_two_one_after_the_other_is_the_same(writer: Writer, path: Path) -> None:
    writer.write(EVERYTHING)
    once = dump(path)
    with closing(Writer(path)) as second:
        assert second.offsets() == {PLACE: 7, ("observations", 2): 9}
        second.write(EVERYTHING)
    assert dump(path) == once


def test_offsets_go_on_and_others_stay(writer: Writer) -> None:
    assert writer.offsets() == {}
    writer.write(Taken(offsets={PLACE: 3, ("episodes", 1): 5}))
    writer.write(Taken(offsets={PLACE: 4}))
    assert writer.offsets() == {PLACE: 4, ("episodes", 1): 5}


def test_a_write_that_fails_leaves_nothing_and_can_be_done_again(writer: Writer, path: Path) -> None:
    writer.write(taken(offset=1, fixes=[fix(0, 0, 0)]))
    before = dump(path)
    bad = taken(change("begin", episode()), offset=2, fixes=[fix(1, 0, 0)], events=[event(2**70)])
    with pytest.raises(OverflowError):
        writer.write(bad)
    assert dump(path) == before
    writer.write(taken(change("begin", episode()), offset=2, fixes=[fix(1, 0, 0)]))
    assert writer.offsets() == {PLACE: 2}
    assert len(dump(path)["positions"]) == 2


# ---- episodes ---------------------------------------------------------------------------------------------------------------

E, LATER, OTHER = episode(0), episode(5), episode(9, subject="v2")
FATES: list[tuple[str, list[Change], list[tuple[str, float | None]]]] = [
    ("goes on", [change("begin", E)], [(E.id, None)]),
    ("ended", [change("begin", E), change("end", episode(0, 4))], [(E.id, 4)]),
    ("ended, then goes on after all", [change("end", episode(0, 4)), change("amend", E)], [(E.id, None)]),
    ("end amended", [change("end", episode(0, 4)), change("amend", episode(0, 6))], [(E.id, 6)]),
    ("dated anew", [change("begin", E), change("amend", LATER, E)], [(LATER.id, None)]),
    ("dated anew, then ended", [change("begin", E), change("amend", LATER, E), change("end", episode(5, 8))], [(LATER.id, 8)]),
    ("two are one", [change("begin", E), change("begin", LATER), change("amend", E, E, LATER)], [(E.id, None)]),
    ("retracted", [change("begin", E), change("begin", OTHER), change("retract", E)], [(OTHER.id, None)]),
    ("retracted with what it replaced", [change("begin", E), change("retract", LATER, E)], []),
    ("retracted and back", [change("begin", E), change("retract", E), change("begin", E)], [(E.id, None)]),
    ("retracted, never told", [change("retract", E)], []),
]  # fmt: skip


@pytest.mark.parametrize("apart", [False, True], ids=["one write", "a write each"])
@pytest.mark.parametrize(("changes", "left"), [row[1:] for row in FATES], ids=[row[0] for row in FATES])
def test_what_becomes_of_an_episode(writer: Writer, path: Path, changes: list[Change], left: list[tuple[str, float | None]], apart: bool) -> None:  # fmt: skip
    for some in [[c] for c in changes] if apart else [changes]:
        writer.write(taken(*some))
    found = [(e["id"], e["ended_at_us"]) for e in Reader(path).episodes(0, at(99))]
    assert found == [(i, None if m is None else at(m)) for i, m in left]


def test_an_owner_that_was_replaced_is_not_heard(writer: Writer, path: Path) -> None:
    writer.write(taken(change("begin", E), epoch=3, offset=1))
    writer.write(taken(change("retract", E), change("begin", LATER), epoch=2, offset=2))
    assert [e["id"] for e in Reader(path).episodes(0, at(99))] == [E.id]
    with closing(Writer(path)) as reopened:
        reopened.write(taken(change("retract", E), epoch=2, offset=3))
        assert [e["id"] for e in Reader(path).episodes(0, at(99))] == [E.id]
        reopened.write(taken(change("retract", E), epoch=3, offset=4))
    assert Reader(path).episodes(0, at(99)) == []


def test_of_another_log_earlier_epochs_count(writer: Writer, path: Path) -> None:
    writer.write(taken(change("begin", E), epoch=3, offset=9))
    writer.begin_anew(*PLACE)
    assert PLACE not in writer.offsets()
    writer.write(taken(change("begin", LATER), epoch=1, offset=1))
    assert writer.offsets()[PLACE] == 1
    assert LATER.id in [e["id"] for e in Reader(path).episodes(0, at(99))]


@pytest.mark.parametrize(
    ("from_", "to", "found"),
    [(0, 3, False), (0, 4, True), (5, 6, True), (8, 20, True), (8.001, 20, False)],
    ids=["before", "touches its beginning", "within", "touches its end", "after"],
)
def test_episodes_that_touch_a_time(writer: Writer, path: Path, from_: float, to: float, found: bool) -> None:
    writer.write(taken(change("end", episode(4, 8))))
    assert bool(Reader(path).episodes(at(from_), at(to))) == found


def test_an_open_episode_touches_every_later_time(writer: Writer, path: Path) -> None:
    writer.write(taken(change("begin", episode(4, severity="high"), mode="shadow")))
    (row,) = Reader(path).episodes(at(500), at(501))
    assert (row["rule"], row["subject"], row["severity"], row["mode"], row["ended_at_us"]) == ("stop.unscheduled", "v1", "high", "shadow", None)  # fmt: skip


# ---- alerts -----------------------------------------------------------------------------------------------------------------


def test_alert_events_are_kept_in_order_and_once(writer: Writer, path: Path) -> None:
    first, second, third = event(1), event(2, "noted", notes=("called",)), event(3, of=OTHER)
    writer.write(taken(events=[third, first]))
    writer.write(taken(events=[second, first, third]))
    assert Reader(path).alert_events(first.alert.id) == [first, second]
    assert Reader(path).last_alert_events() == [second, third]


def test_an_older_event_does_not_undo_a_newer_one(writer: Writer, path: Path) -> None:
    closed, opened = event(2, "closed", closed_at_us=at(2)), event(1)
    writer.write(taken(events=[closed]))
    writer.write(taken(events=[opened]))
    assert Reader(path).last_alert_events() == [closed]


def test_all_open_alerts_are_told_and_the_newest_of_the_closed(writer: Writer, path: Path) -> None:
    opened = [event(n, of=episode(n)) for n in (1, 2, 3)]
    closed = [event(n, "closed", of=episode(n), closed_at_us=at(n)) for n in range(10, 16)]
    writer.write(taken(events=[*opened, *closed]))
    assert [e.seq for e in Reader(path).last_alert_events(closed=2)] == [1, 2, 3, 14, 15]


# ---- positions --------------------------------------------------------------------------------------------------------------


def test_what_was_not_said_is_not_there(writer: Writer, path: Path) -> None:
    writer.write(taken(fixes=[fix(0, 0, 0, speed=None, accuracy=None), fix(1, 0, 0, speed=1.23456)]))
    first, second = Reader(path).trail("v1", 0, at(99))
    assert (first.speed_mps, first.accuracy_m, second.speed_mps, second.accuracy_m) == (None, None, 1.235, 5.0)


def test_a_trail_is_one_vehicles_in_time_without_what_the_rules_leave_out(writer: Writer, path: Path) -> None:
    kept_out = [msgspec.structs.replace(fix(10 + n, 0, 0), flags=int(f)) for n, f in enumerate((Flag.OUTSIDE_PLAN, Flag.IMPLAUSIBLE, Flag.INACCURATE))]  # fmt: skip
    late = msgspec.structs.replace(fix(20, 0, 0), flags=int(Flag.LATE | Flag.CLOCK_UNTRUSTED))
    writer.write(taken(fixes=[late, fix(2, 9, 9), fix(1, 0, 0), fix(3, 0, 0, vehicle="v2"), fix(60, 0, 0), *kept_out]))
    trail = Reader(path).trail("v1", T0 + 1_000_000, T0 + 20_000_000)
    assert [(p.seen_at_us - T0) // 1_000_000 for p in trail] == [1, 2, 20]


def test_a_long_trail_is_thinned(writer: Writer, path: Path) -> None:
    one = fix(0, 0, 0)
    fixes = [msgspec.structs.replace(one, seen_at_us=T0 + n, seq=n) for n in range(MOST_POINTS * 2 + 1)]
    writer.write(taken(fixes=fixes[:MOST_POINTS]))
    assert len(Reader(path).trail("v1", 0, at(99))) == MOST_POINTS
    writer.write(taken(fixes=fixes))
    trail = Reader(path).trail("v1", 0, at(99))
    assert [p.seen_at_us - T0 for p in trail] == list(range(0, MOST_POINTS * 2 + 1, 3))


def test_the_newest_position_of_each_vehicle(writer: Writer, path: Path) -> None:
    newest = fix(5, 50, 0, speed=4.0)
    writer.write(taken(fixes=[fix(1, 0, 0), newest, fix(3, 0, 0), fix(2, 7, 0, vehicle="v2")]))
    found = {f.vehicle: f for f in Reader(path).latest_fixes()}
    assert set(found) == {"v1", "v2"}
    v1 = found["v1"]
    assert (v1.seen_at_us, v1.device, v1.lat, v1.lon, v1.speed_mps) == (newest.seen_at_us, newest.device, newest.lat, newest.lon, 4.0)  # fmt: skip


@pytest.mark.parametrize(("body", "kept"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)])
def test_hashes_are_kept_signed(body: int, kept: int) -> None:
    assert signed(body) == kept


# ---- pruning ----------------------------------------------------------------------------------------------------------------


def test_pruning_takes_old_positions_and_nothing_else(writer: Writer, path: Path) -> None:
    writer.write(EVERYTHING)
    writer.write(taken(fixes=[fix(3600, 0, 0)]))
    before = dump(path)
    assert writer.prune(at(0) + KEEP_POSITIONS_US) == 0, "ninety days old is not too old"
    assert writer.prune(at(0) + KEEP_POSITIONS_US + 1) == 1
    assert writer.prune(at(30) + KEEP_POSITIONS_US) == 1
    assert writer.prune(at(30) + KEEP_POSITIONS_US) == 0
    after = dump(path)
    assert [row[1] for row in after.pop("positions")] == [at(60)]
    before.pop("positions")
    assert after == before, "episodes, alerts, offsets and presses stay"


def test_pruning_takes_a_little_at_a_time(writer: Writer, path: Path) -> None:
    one = fix(0, 0, 0)
    writer.write(taken(fixes=[msgspec.structs.replace(one, seen_at_us=T0 + n) for n in range(PRUNE_ROWS + 5)]))
    later = at(9) + KEEP_POSITIONS_US
    assert [writer.prune(later) for _ in range(3)] == [PRUNE_ROWS, 5, 0]


# ---- reading beside the writer ------------------------------------------------------------------------------------------------


def ask_everything(reader: Reader) -> list[Any]:
    return [reader.trail("v1", 0, at(99)), reader.alert_events("x"), reader.last_alert_events(), reader.latest_fixes(), reader.episodes(0, at(99))]  # fmt: skip


def test_no_file_is_an_empty_record_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    assert ask_everything(Reader(path)) == [[]] * 5
    assert not path.exists()


def test_a_file_without_tables_is_an_empty_record(tmp_path: Path) -> None:
    (tmp_path / "record.db").touch()
    assert ask_everything(Reader(tmp_path / "record.db")) == [[]] * 5


def test_a_file_that_is_no_database_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Reader(tmp_path / "record.db").latest_fixes()


def test_the_reader_cannot_write(writer: Writer, path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        Reader(path)._ask("delete from positions")


def test_an_open_transaction_is_neither_seen_nor_in_the_way(writer: Writer, path: Path) -> None:
    writer.write(taken(fixes=[fix(0, 0, 0)]))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        other.execute("delete from positions")
        assert len(Reader(path).latest_fixes()) == 1
        other.execute("rollback")


def test_readers_during_writes_see_whole_transactions(writer: Writer, path: Path) -> None:
    """Every write takes two positions and one offset; a reader never sees one of the two."""
    faults: list[Any] = []
    read, stop = threading.Event(), threading.Event()

    def ask() -> None:
        last = 0
        while not stop.is_set():
            try:
                n = len(Reader(path).trail("v1", 0, at(99)))
                ask_everything(Reader(path))
            except Exception as error:
                faults.append(error)
                return
            if n % 2 or n < last:
                faults.append((last, n))
            last = n
            if n:
                read.set()

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for thread in readers:
        thread.start()
    for n in range(200):
        writer.write(taken(offset=n, fixes=[fix(2 * n, 0, 0), fix(2 * n + 1, 0, 0)], events=[event(n + 1)]))
    assert read.wait(20)
    stop.set()
    for thread in readers:
        thread.join(20)
    assert faults == []
    assert len(Reader(path).trail("v1", 0, at(99))) == 400


@pytest.mark.parametrize(("url", "path"), [("sqlite:////var/a.db", "/var/a.db"), ("sqlite:///a.db", "a.db")])
def test_the_file_of_a_url(url: str, path: str) -> None:
    assert path_of(url) == Path(path)


@pytest.mark.parametrize("url", ["postgresql://h/d", "/var/a.db", "sqlite://"])
def test_another_url_names_the_setting(url: str) -> None:
    with pytest.raises(ValueError, match="RAHDAR_RECORD_URL"):
        path_of(url)
