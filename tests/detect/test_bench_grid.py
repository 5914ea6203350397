"""What `rahdar bench core` measures: the same fixes in records of other sizes, and so the same episodes."""

from __future__ import annotations

from pipeline.commands.bench_grid import SIZES, cut, ledger_of, world


def test_the_same_fixes_in_records_of_any_size_give_the_same_episodes() -> None:
    made = world(seed=3, vehicles=200, areas=300, records=4)
    whole = [fix for batch in made.measured for fix in batch.fixes.rows()]
    told = ledger_of(made, made.measured)
    assert len(whole) == 4_000
    assert len(told.episodes) > 50
    for size in SIZES:
        parts = [part for batch in made.measured for part in cut(batch, size)]
        assert max(len(part.fixes) for part in parts) == min(size, 200)
        assert [fix for part in parts for fix in part.fixes.rows()] == whole
        assert ledger_of(made, parts).lines() == told.lines()
