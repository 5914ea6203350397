"""The record is whole, or `rahdar audit verify` says what was done to it: every way of touching it is tried."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import sqlalchemy as sa

from pipeline.alert.tables import metadata
from pipeline.clock import SetClock
from pipeline.people.audit import AuditLog, Entry
from pipeline.people.chain import link
from pipeline.people.chains import alert_chain, people_chain
from pipeline.people.heads import FOLDER, Head, Signer, read_heads, read_public_keys
from pipeline.people.keeper import BrokenChainError, HeadKeeper, sign
from pipeline.people.keyfile import KeyFileError
from pipeline.people.verify import UNSIGNED_AFTER_US, verify_chain

T0, SECOND_US = 1_795_000_000_000_000, 1_000_000
ENTRIES, SIGNED_AT = 12, (4, 8, 12)


class Record:
    """A people's chain of twelve entries, signed at the fourth, eighth and twelfth."""

    def __init__(self, var: Path) -> None:
        self.var, self.clock = var, SetClock(T0 + ENTRIES * SECOND_US)
        self.signer = Signer(var / FOLDER)
        self.log = AuditLog(var / "audit.sqlite", self.clock)
        self.chain = people_chain(var)

    def fill(self) -> None:
        for n in range(1, ENTRIES + 1):
            self.write(n)
            if n in SIGNED_AT:
                sign(self.chain, self.signer, self.clock)

    def write(self, n: int) -> None:
        self.clock.put(T0 + n * SECOND_US)
        self.log.write("amina" if n % 2 else "bilal", "trail", f"c-{n}", "10.0.0.5")

    @property
    def heads(self) -> Path:
        return self.signer.file_of("people")

    def sql(self, *statements: str) -> None:
        """By other hands."""
        with sqlite3.connect(self.var / "audit.sqlite") as db:
            for statement in statements:
                db.execute(statement)
        db.close()

    def rewrite(self, first: int, entry: bytes | None = None) -> None:
        """Another entry, and all hashes from there on made to follow: by somebody who knows how the chain is made."""
        with sqlite3.connect(self.var / "audit.sqlite") as db:
            rows = db.execute("SELECT n, entry, hash FROM audit ORDER BY n").fetchall()
            before = b"" if first == 1 else rows[first - 2][2]
            for n, old, _ in rows[first - 1 :]:
                data = entry if n == first and entry else old
                before = link(before, data)
                db.execute("UPDATE audit SET entry = ?, hash = ? WHERE n = ?", (data, before, n))
        db.close()

    def lines(self) -> list[bytes]:
        return self.heads.read_bytes().splitlines(keepends=True)

    def findings(self, *copies: Path, later_s: float = 3600.0) -> list[tuple[str, int]]:
        keys = read_public_keys(self.var / FOLDER / "audit.pub")
        now = self.clock.now_us() + int(later_s * SECOND_US)
        verdict = verify_chain(self.chain, [self.heads, *copies], keys, now)
        return [(finding.kind, finding.n) for finding in verdict.findings]

    def close(self) -> None:
        self.log.close()
        self.chain.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written and signed once: every test has a copy of its own."""
    var = tmp_path_factory.mktemp("record")
    made = Record(var)
    made.fill()
    made.close()
    return var


@pytest.fixture
def record(tmp_path: Path, filled: Path) -> Iterator[Record]:
    made = Record(shutil.copytree(filled, tmp_path / "var"))
    yield made
    made.close()


def forged(who: str) -> bytes:
    return Entry(T0, who, "trail", "c-1").encoded()


def test_a_record_that_nobody_touched_is_whole(record: Record) -> None:
    assert record.findings() == []
    verdict = verify_chain(record.chain, [record.heads], {record.signer.id: record.signer.public}, T0)
    assert (verdict.entries, verdict.signed_n) == (ENTRIES, ENTRIES)


ON_THE_CHAIN: dict[str, tuple[Callable[[Record], None], list[tuple[str, int]]]] = {
    "who it was": (lambda r: r.sql("UPDATE audit SET entry = cast(replace(entry, 'amina', 'nobod') AS blob) WHERE n = 5"), [("altered", 5)]),
    "a hash": (lambda r: r.sql("UPDATE audit SET hash = x'00' WHERE n = 6"), [("altered", 6), ("altered", 7)]),
    "a signed hash": (lambda r: r.sql("UPDATE audit SET hash = zeroblob(32) WHERE n = 8"), [("altered", 8), ("altered", 8), ("altered", 9)]),
    "an entry taken out": (lambda r: r.sql("DELETE FROM audit WHERE n = 6"), [("missing", 6)]),
    "two taken out": (lambda r: r.sql("DELETE FROM audit WHERE n IN (6, 7)"), [("missing", 6)]),
    "the first taken out": (lambda r: r.sql("DELETE FROM audit WHERE n = 1"), [("missing", 1)]),
    "taken out, and the rest moved up": (
        lambda r: r.sql("DELETE FROM audit WHERE n = 6", "UPDATE audit SET n = -n WHERE n > 6", "UPDATE audit SET n = -n - 1 WHERE n < 0"),
        [("altered", 6), ("altered", 8), ("cut", 12)],
    ),
    "an entry put in before all": (lambda r: r.sql("INSERT INTO audit VALUES (0, x'7b7d', x'00')"), [("foreign", 0)]),
    "an entry of another type": (lambda r: r.sql("UPDATE audit SET entry = cast(entry AS text) WHERE n = 3"), [("foreign", 3), ("missing", 3)]),
    "two exchanged": (
        lambda r: r.sql("UPDATE audit SET n = 100 WHERE n = 6", "UPDATE audit SET n = 6 WHERE n = 7", "UPDATE audit SET n = 7 WHERE n = 100"),
        [("altered", 6), ("altered", 7), ("altered", 8)],
    ),
    "cut at its end": (lambda r: r.sql("DELETE FROM audit WHERE n > 10"), [("cut", 11)]),
    "cut by one": (lambda r: r.sql("DELETE FROM audit WHERE n = 12"), [("cut", 12)]),
    "emptied": (lambda r: r.sql("DELETE FROM audit"), [("cut", 1)]),
    "dropped": (lambda r: r.sql("DROP TABLE audit"), [("cut", 1)]),
    "written anew from the fifth on": (lambda r: r.rewrite(5, forged("nobody")), [("altered", 8), ("altered", 12)]),
    "the last written anew": (lambda r: r.rewrite(12, forged("nobody")), [("altered", 12)]),
    "all written anew": (lambda r: r.rewrite(1, forged("nobody")), [("altered", 4), ("altered", 8), ("altered", 12)]),
}  # fmt: skip


@pytest.mark.parametrize("how", ON_THE_CHAIN)
def test_whatever_is_done_to_the_chain_is_seen(how: str, record: Record) -> None:
    touch, seen = ON_THE_CHAIN[how]
    touch(record)
    assert record.findings() == seen


def test_a_file_that_is_gone_was_cut(record: Record) -> None:
    record.log.close()
    (record.var / "audit.sqlite").unlink()
    assert record.findings() == [("cut", 1)]


def test_cut_and_written_on_is_seen(record: Record) -> None:
    """The desk goes on appending; the keeper does not sign what does not follow from what it signed."""
    record.sql("DELETE FROM audit WHERE n > 10")
    for n in (11, 12, 13):
        record.write(n + 100)
    with pytest.raises(BrokenChainError, match="12"):
        sign(record.chain, record.signer, record.clock)
    assert record.findings() == [("altered", 12), ("unsigned", 13)]


def edit(record: Record, change: Callable[[list[bytes]], list[bytes]]) -> None:
    record.heads.write_bytes(b"".join(change(record.lines())))


def other_key(line: bytes, tmp_path: Path) -> bytes:
    """The same head, signed by somebody else in the name of our key, or of theirs."""
    stranger = Signer(tmp_path / "elsewhere")
    old = orjson.loads(line)
    stranger.sign("people", old["n"], bytes.fromhex(old["hash"]), old["at_us"])
    return stranger.file_of("people").read_bytes()


ON_THE_HEADS: dict[str, tuple[Callable[[Record], None], list[tuple[str, int]]]] = {
    "a number": (lambda r: edit(r, lambda ls: [ls[0], ls[1].replace(b'"n":8', b'"n":7'), ls[2]]), [("altered", 7), ("missing", 12)]),
    "a hash": (lambda r: edit(r, lambda ls: [_other_hash(ls[0]), *ls[1:]]), [("altered", 4), ("missing", 8)]),
    "a signature": (lambda r: edit(r, lambda ls: [*ls[:2], _other_signature(ls[2])]), [("altered", 12), ("unsigned", 9)]),
    "a line that is none": (lambda r: edit(r, lambda ls: [ls[0], b"rubbish\n", *ls[1:]]), [("altered", 0), ("missing", 8)]),
    "one taken out of the middle": (lambda r: edit(r, lambda ls: [ls[0], ls[2]]), [("missing", 12)]),
    "the first taken out": (lambda r: edit(r, lambda ls: ls[1:]), [("missing", 8)]),
    "the last taken out": (lambda r: edit(r, lambda ls: ls[:2]), [("unsigned", 9)]),
    "all taken out": (lambda r: edit(r, lambda ls: []), [("unsigned", 1)]),
    "two exchanged": (lambda r: edit(r, lambda ls: [ls[0], ls[2], ls[1]]), [("foreign", 8), ("missing", 8), ("missing", 12)]),
    "one twice": (lambda r: edit(r, lambda ls: [*ls, ls[2]]), [("foreign", 12), ("missing", 12)]),
    "signed by a stranger": (lambda r: edit(r, lambda ls: [*ls[:2], other_key(ls[2], r.var)]), [("foreign", 12), ("unsigned", 9)]),
    "of another chain": (lambda r: _of_another_chain(r), [("foreign", 99)]),
}  # fmt: skip


def _other_hash(line: bytes) -> bytes:
    row = orjson.loads(line)
    return orjson.dumps({**row, "hash": "00" * 32}, option=orjson.OPT_SORT_KEYS) + b"\n"


def _other_signature(line: bytes) -> bytes:
    row = orjson.loads(line)
    return orjson.dumps({**row, "signature": "A" * 86 + "=="}, option=orjson.OPT_SORT_KEYS) + b"\n"


def _of_another_chain(record: Record) -> None:
    record.signer.sign("alert", 99, b"\0" * 32, T0)
    with record.heads.open("ab") as file:
        file.write(record.signer.file_of("alert").read_bytes())


@pytest.mark.parametrize("how", ON_THE_HEADS)
def test_whatever_is_done_to_the_heads_is_seen(how: str, record: Record) -> None:
    touch, seen = ON_THE_HEADS[how]
    touch(record)
    assert sorted(record.findings()) == sorted(seen)


def test_chain_and_heads_cut_together_are_seen_by_a_copy_that_was_kept_elsewhere(
    record: Record, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.heads"
    shutil.copy(record.heads, copy)
    record.sql("DELETE FROM audit WHERE n > 8")
    edit(record, lambda lines: lines[:2])
    assert record.findings() == [], "nobody on this machine can see it: so a copy belongs on another"
    assert record.findings(copy) == [("cut", 9)]
    copy.write_bytes(b"".join(copy.read_bytes().splitlines(keepends=True)[2:]))  # a copy that began late
    assert record.findings(copy) == [("cut", 9)]


def test_a_key_that_was_exchanged_with_all_heads_is_seen_by_the_public_key_that_was_kept(record: Record) -> None:
    kept = read_public_keys(record.var / FOLDER / "audit.pub")
    record.rewrite(1, forged("nobody"))
    shutil.rmtree(record.var / FOLDER)
    sign(record.chain, Signer(record.var / FOLDER), record.clock)
    assert record.findings() == []
    verdict = verify_chain(record.chain, [record.heads], kept, T0 + 3600 * SECOND_US)
    assert [(f.kind, f.n) for f in verdict.findings] == [("unsigned", 1), ("foreign", 12)]


def test_a_lost_key_is_replaced_and_its_heads_still_hold(record: Record) -> None:
    (record.var / FOLDER / "audit.key").unlink()
    record.write(13)
    signer = Signer(record.var / FOLDER)
    assert signer.id != record.signer.id
    sign(record.chain, signer, record.clock)
    assert record.findings() == []
    assert len(read_public_keys(record.var / FOLDER / "audit.pub")) == 2


@pytest.mark.parametrize(("later_s", "found"), [(59, []), (60, []), (61, [("unsigned", 13)])])
def test_what_was_just_written_may_wait_a_minute_for_its_head(
    later_s: float, found: list[tuple[str, int]], record: Record
) -> None:
    record.write(13)
    assert UNSIGNED_AFTER_US == 60 * SECOND_US
    assert record.findings(later_s=later_s) == found


def test_a_line_that_a_power_cut_left_unfinished_never_was_and_the_next_head_follows(record: Record) -> None:
    record.write(13)
    with record.heads.open("ab") as file:
        file.write(b'{"at_us":17')
    assert record.findings(later_s=1) == []
    assert sign(record.chain, record.signer, record.clock) is not None
    assert record.findings() == []


def test_the_key_is_for_the_owner_alone(record: Record) -> None:
    key = record.var / FOLDER / "audit.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Signer(record.var / FOLDER)


def test_several_processes_append_to_one_chain(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path / "audit.sqlite") for _ in range(4)]
    threads = [
        threading.Thread(target=lambda log=log: [log.write("amina", "trail", f"c-{i}") for i in range(8)]) for log in logs
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(logs[0].entries())) == 32
    chain = people_chain(tmp_path)
    assert verify_chain(chain, [], {}, 0).findings == ()
    chain.close()
    for log in logs:
        log.close()


def test_what_a_stranger_chooses_is_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.sqlite")
    log.write("\ud800" * 3, "login_failed", "x" * 100_000, detail="\n\0")
    (entry,) = log.entries()
    assert len(entry.subject) == 500
    assert entry.who == "???"
    log.close()


def test_the_keeper_signs_the_alerts_chain_beside_its_writer_and_once_more_when_it_ends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'alert.sqlite'}"
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    before, audit = b"", metadata.tables["audit"]

    def append(n: int) -> None:
        nonlocal before
        entry = orjson.dumps({"at_us": T0, "n": n})
        before = link(before, entry)
        with engine.begin() as tx:
            tx.execute(sa.insert(audit), [{"n": n, "entry": entry, "hash": before}])

    keeper = HeadKeeper([alert_chain(url)], tmp_path / FOLDER, SetClock(T0), every_s=3600)
    append(1)
    keeper.turn()
    keeper.turn()
    keeper.start()
    append(2)
    append(3)
    keeper.stop()
    signer = Signer(tmp_path / FOLDER)
    heads = [line.head for line in read_heads(signer.file_of("alert"))]
    assert [head.n for head in heads if isinstance(head, Head)] == [1, 3]
    alerts = alert_chain(url)
    assert verify_chain(alerts, [signer.file_of("alert")], {signer.id: signer.public}, T0).findings == ()
    alerts.close()
    engine.dispose()


def test_a_key_that_cannot_be_used_stops_nobody_and_is_tried_again(record: Record) -> None:
    key = record.var / FOLDER / "audit.key"
    key.chmod(0o644)
    record.write(13)
    keeper = HeadKeeper([people_chain(record.var)], record.var / FOLDER, record.clock)
    keeper.turn()
    assert record.findings() == [("unsigned", 13)]
    key.chmod(0o600)
    keeper.turn()
    keeper.stop()
    assert record.findings() == []


def test_no_chain_is_no_fault_before_anything_was_written(tmp_path: Path) -> None:
    for chain in (people_chain(tmp_path), alert_chain(f"sqlite:///{tmp_path / 'alert.sqlite'}")):
        assert verify_chain(chain, [tmp_path / "none.heads"], {}, T0).findings == ()
        chain.close()
    assert list(tmp_path.iterdir()) == []
