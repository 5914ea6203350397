"""The alert database on PostgreSQL, dumped while its stage writes, goes on elsewhere from where the dump stands."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.alert.store import AlertStore
from pipeline.alert.tables import make_engine
from pipeline.model.alert import AlertEvent
from tests.alert.builders import WORDS, at, batch, change, episode
from tests.alert.servers import postgres, programs
from tests.notify.builders import manned

N, BEFORE = 60, 20
EPISODES = [episode(n, subject=f"v{n % 7}", rule="area.forbidden", obj=f"a{n}", severity="high") for n in range(N)]
PLAN = manned(vehicles=tuple(f"v{n}" for n in range(7)))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


def client(program: str, *words: str) -> list[str]:
    where = programs()
    assert where is not None
    return [str(where / program), *words]


def fed(store: AlertStore, first: int, end: int) -> None:
    """Record n of the episodes' topic: one begins at minute n, and the one before the last ends."""
    for n in range(first, end):
        changes = [change("begin", EPISODES[n])]
        if n >= 2:
            over = EPISODES[n - 2]
            changes.append(change("end", episode(n - 2, n, subject=over.subject, rule=over.rule, obj=over.object, severity="high"), revision=2))  # fmt: skip
        store.take_changes([("episodes", 0, n, batch(*changes))], at(n))


def all_of(store: AlertStore) -> list[AlertEvent]:
    return store.unpublished(100_000)


def tellings(url: str) -> list[tuple[str, ...]]:
    engine = make_engine(url)
    try:
        with engine.connect() as look:
            return [tuple(row) for row in look.execute(sa.text("select id, person, state from outbox order by id"))]
    finally:
        engine.dispose()


def test_a_dump_taken_while_the_stage_writes_goes_on_from_where_it_stands(server: str, tmp_path: Path) -> None:
    """`pg_dump` is one transaction: what it has is whole, and reading the log on from its positions tells the rest, once."""
    with closing(AlertStore(server, PLAN, lambda _: WORDS)) as live:
        fed(live, 0, BEFORE)
        dumping = subprocess.Popen(client("pg_dump", "-Fc", "-d", server, "-f", str(tmp_path / "alert.dump")))
        fed(live, BEFORE, N)
        assert dumping.wait(60) == 0
        told = all_of(live)
        open_ones = live.open_alerts()
    there = server.rsplit("/", 1)[0] + "/elsewhere"
    subprocess.run(client("createdb", "--maintenance-db", server, "elsewhere"), check=True)
    subprocess.run(client("pg_restore", "--exit-on-error", "-d", there, str(tmp_path / "alert.dump")), check=True)

    with closing(AlertStore(there, PLAN, lambda _: WORDS)) as back:
        stands = back.positions()["episodes", 0]
        assert BEFORE <= stands <= N
        assert all_of(back) == told[: len(all_of(back))]
        fed(back, 0, N)  # the whole log again: what it has taken it knows by its position
        assert all_of(back) == told
        assert back.open_alerts() == open_ones
        assert back.audit_fault() is None
    assert tellings(there) == tellings(server)
