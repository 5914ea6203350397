"""When a record leaves: at once in quiet times, spaced when much comes, never later than it must."""

from pipeline.ingest.batcher import LONGEST_S, MOST_ITEMS, SPACING_S, Batcher
from pipeline.model.wire import RawItem


def items(first: int, n: int = 1) -> list[RawItem]:
    return [RawItem(i, "d1", "v1/0/d1/native", b"{}", i) for i in range(first, first + n)]


def ids(taken: list[tuple[str, list[RawItem]]]) -> list[list[int]]:
    return [[item.id for item in part] for _, part in taken]


def test_in_quiet_times_one_fix_leaves_at_once() -> None:
    batcher = Batcher()
    for second in range(3):
        batcher.add("c", items(second), float(second))
        assert ids(batcher.take(float(second), idle=True)) == [[second]]


def test_the_next_record_of_a_cell_stands_off_from_its_last_one_and_takes_all_that_came() -> None:
    batcher = Batcher()
    batcher.add("c", items(0), 0.0)
    assert batcher.take(0.0, idle=True)
    for i in range(1, 5):
        batcher.add("c", items(i), i * SPACING_S / 5)
        assert not batcher.take(i * SPACING_S / 5, idle=True)
    assert batcher.due_s(idle=True) == SPACING_S
    batcher.add("other", items(9), SPACING_S / 2)
    assert ids(batcher.take(SPACING_S / 2, idle=True)) == [[9]]  # one cell's haste delays no other
    assert ids(batcher.take(SPACING_S, idle=True)) == [[1, 2, 3, 4]]
    assert batcher.due_s(idle=True) is None


def test_while_something_is_on_its_way_it_waits_as_long_as_it_may() -> None:
    batcher = Batcher()
    batcher.add("c", items(0), 5.0)
    assert not batcher.take(5.0 + LONGEST_S / 2, idle=False)
    assert batcher.due_s(idle=False) == 5.0 + LONGEST_S
    assert ids(batcher.take(5.0 + LONGEST_S, idle=False)) == [[0]]


def test_a_full_record_waits_for_nothing() -> None:
    batcher = Batcher()
    batcher.add("c", items(0), 0.0)
    batcher.take(0.0, idle=True)
    batcher.add("c", items(1, MOST_ITEMS + 1), SPACING_S / 10)
    assert [len(part) for part in ids(batcher.take(SPACING_S / 10, idle=False))] == [MOST_ITEMS, 1]
