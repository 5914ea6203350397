"""Consumer groups: who lives, who reads which partition, and since which generation. All of it inside the log's
transactions.

A change of members raises the group's generation. Partitions are shared out anew only when every member has let go of
what it had (`join` with that generation) or has been put out; so no partition is ever read by two. Who was put out is
no member any more: its commits and its records are refused, however late it wakes up.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.transport.schema import FencedError
from agents.transport.writer import Transaction

LET_GO_WITHIN_S = 60.0
"""A member that lives but has not let go of its partitions for that long is put out."""


@dataclass(frozen=True, slots=True)
class Member:
    """One consumer, in one process of this machine. Its id is new with every start."""

    id: str
    group: str
    pid: int
    started: float
    boot: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a member stands: `shares` is None until the generation's partitions are shared out."""

    generation: int
    shares: frozenset[tuple[str, int]] | None


@functools.cache
def boot() -> str:
    """This start of this machine, and whose process ids we see: those of another container mean nothing here."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"


def started(pid: int) -> float | None:
    """When this process was started, in ticks since the machine was: the clock may be set, that stays. None when it
    is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def this_member(group: str, number: int, timeout_s: float) -> Member:
    pid = os.getpid()
    ticks = started(pid) or 0.0
    return Member(f"{group}/{pid}-{ticks:.0f}-{number}", group, pid, ticks, boot(), timeout_s)


def is_dead(pid: int, ticks: float, its_boot: str) -> bool:
    """Whether the very process that wrote this is certainly gone."""
    if its_boot == boot():
        return started(pid) != ticks
    return its_boot.split()[0] != boot().split()[0]


def share_out(
    topics_of: Mapping[str, Collection[str]], partitions: Mapping[str, int], before: Mapping[tuple[str, int], str]
) -> dict[tuple[str, int], str]:
    """Who reads which (topic, partition). Equal numbers of different topics go together; who had a number keeps it if
    it can.

    topics_of: member -> the topics it asks for. partitions: topic -> their number. before: the last sharing out.
    """
    members = sorted(topics_of)
    if not members:
        return {}
    numbers = range(max(partitions.values(), default=0))
    had: dict[int, str] = {}
    for (_, number), member in sorted(before.items()):
        had.setdefault(number, member)
    room = {member: len(numbers) // len(members) for member in members}
    extra = len(numbers) % len(members)
    owner: dict[int, str] = {}
    for number in numbers:  # first those that stay where they are
        member = had.get(number, "")
        if member in room and (room[member] > 0 or (room[member] == 0 and extra > 0)):
            extra -= room[member] == 0
            room[member] -= 1
            owner[number] = member
    for number in numbers:
        if number not in owner:
            member = max(members, key=lambda m: (room[m], m))
            room[member] -= 1
            owner[number] = member
    shares: dict[tuple[str, int], str] = {}
    for topic, count in partitions.items():
        readers = [member for member in members if topic in topics_of[member]]
        for number in range(count if readers else 0):
            first = owner[number]
            shares[topic, number] = first if first in readers else readers[number % len(readers)]
    return shares


# ---- inside a transaction ------------------------------------------------------------------------------------------


def join(tx: Transaction, member: Member, topics: Collection[str], now: float) -> Seat:
    """Come in as a new member."""
    tx.db.execute(
        "insert or replace into members values(?,?,?,?,?,?,?,?,?)",
        (
            member.id,
            member.group,
            member.pid,
            member.started,
            member.boot,
            now,
            member.timeout_s,
            -1,
            json.dumps(sorted(topics)),
        ),
    )
    _raise_generation(tx, member.group, now)
    return rejoin(tx, member, now)


def ask_for(tx: Transaction, member: Member, topics: Collection[str], now: float) -> None:
    """Ask for other topics than before: everything is shared out anew."""
    tx.db.execute("update members set topics=? where id=?", (json.dumps(sorted(topics)), member.id))
    _raise_generation(tx, member.group, now)


def rejoin(tx: Transaction, member: Member, now: float) -> Seat:
    """Say that one has let go of everything. Raises FencedError."""
    generation = tx.db.execute("select generation from groups where name=?", (member.group,)).fetchone()
    if tx.db.execute("update members set heartbeat=? where id=?", (now, member.id)).rowcount == 0 or generation is None:
        raise FencedError(f"{member.id} was put out of its group")
    tx.db.execute("update members set joined=? where id=?", (generation[0], member.id))
    tx.change_groups()
    put_out_the_dead(tx, member.group, now)
    return seat(tx, member)


def seat(tx: Transaction, member: Member) -> Seat:
    """Raises FencedError."""
    row = tx.db.execute(
        "select m.joined, g.assigned from members m join groups g on g.name = m.grp where m.id=?", (member.id,)
    ).fetchone()
    if row is None:
        raise FencedError(f"{member.id} was put out of its group")
    if row[0] != row[1]:
        return Seat(row[0], None)
    return Seat(
        row[0],
        frozenset(
            tx.db.execute("select topic, partition from shares where grp=? and member=?", (member.group, member.id))
        ),
    )


def leave(tx: Transaction, member: Member, now: float) -> None:
    if tx.db.execute("delete from members where id=?", (member.id,)).rowcount:
        _raise_generation(tx, member.group, now)
        put_out_the_dead(tx, member.group, now)


def beat(tx: Transaction, member: Member, now: float) -> None:
    """I live; and look whether the others do. Raises FencedError."""
    row = tx.db.execute("select heartbeat from members where id=?", (member.id,)).fetchone()
    if row is None:
        raise FencedError(f"{member.id} was put out of its group")
    tx.db.execute("update members set heartbeat=? where id=?", (now, member.id))
    # Who could not write for long, as with a full disk, does not judge others that could not either.
    put_out_the_dead(tx, member.group, now, judge_silence=now - row[0] < member.timeout_s)


def commit(tx: Transaction, member: Member, generation: int, offsets: Iterable[tuple[str, int, int]]) -> None:
    """Keep (topic, partition, next offset). Raises FencedError when the member is out, or these partitions were given
    to it in an older generation."""
    row = tx.db.execute("select joined from members where id=?", (member.id,)).fetchone()
    if row is None or row[0] != generation:
        raise FencedError(f"{member.id}: its commit for generation {generation} is refused")
    tx.db.executemany(
        "insert or replace into committed values(?,?,?)",
        [(member.group, tx.topic(topic).tp(partition), offset) for topic, partition, offset in offsets],
    )


def put_out_the_dead(tx: Transaction, group: str, now: float, *, judge_silence: bool = True) -> None:
    """Remove members whose process is gone, who are silent, or who hold on to their partitions; share out when all
    have let go."""
    row = tx.db.execute("select generation, assigned, since from groups where name=?", (group,)).fetchone()
    if row is None:
        return
    generation, assigned, since = row
    out = []
    members = tx.db.execute(
        "select id, pid, started, boot, heartbeat, timeout, joined from members where grp=?", (group,)
    ).fetchall()
    for member, pid, ticks, its_boot, heartbeat, timeout, joined in members:
        silent = judge_silence and now - heartbeat > timeout
        holds_on = assigned != generation and joined != generation and now - since > LET_GO_WITHIN_S
        if silent or holds_on or is_dead(pid, ticks, its_boot):
            out.append((member,))
    if out:
        tx.db.executemany("delete from members where id=?", out)
        tx.change_groups()
        if assigned == generation:
            generation = _raise_generation(tx, group, now)
            assigned = -1
    if assigned != generation:
        _share_out(tx, group, generation)


def _raise_generation(tx: Transaction, group: str, now: float) -> int:
    tx.change_groups()
    tx.db.execute(
        "insert into groups values(?,1,0,?) "
        "on conflict(name) do update set generation=generation+1, since=excluded.since",
        (group, now),
    )
    return int(tx.db.execute("select generation from groups where name=?", (group,)).fetchone()[0])


def _share_out(tx: Transaction, group: str, generation: int) -> None:
    rows = tx.db.execute("select id, joined, topics from members where grp=?", (group,)).fetchall()
    if any(joined != generation for _, joined, _ in rows):
        return
    topics_of = {member: json.loads(topics) for member, _, topics in rows}
    partitions = {topic: tx.topic(topic).partitions for topics in topics_of.values() for topic in topics}
    before = {
        (topic, n): member
        for topic, n, member in tx.db.execute("select topic, partition, member from shares where grp=?", (group,))
    }
    shares = share_out(topics_of, partitions, before)
    tx.db.execute("delete from shares where grp=?", (group,))
    tx.db.executemany(
        "insert into shares values(?,?,?,?)", [(group, topic, n, member) for (topic, n), member in shares.items()]
    )
    tx.db.execute("update groups set assigned=? where name=?", (generation, group))
    tx.change_groups()


def now_s() -> float:
    """Seconds since this machine was started: the same for all its processes, whatever is done to its clock."""
    return time.monotonic()
