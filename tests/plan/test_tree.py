"""YAML as planners mean it: words stay words, every key knows its line, nothing can be made to explode."""

from __future__ import annotations

import pytest

from pipeline.plan.tree import read_tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("on", "on"), ("no", "no"), ("yes", "yes"), ("21:30", "21:30"), ("2026-11-23", "2026-11-23"), ("0x10", "0x10"),
        ("017", 17), ("1_000", "1_000"), ("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("nan", "nan"), (".inf", ".inf"),
        ("true", True), ("false", False), ("~", None), ("null", None), ("", None), ("'12'", "12"), ('"off"', "off"), ("3 min", "3 min"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    tree = read_tree(f"key: {text}\n".encode(), "f")
    assert tree.faults == []
    assert tree.data == {"key": value} and type(tree.data["key"]) is type(value)


def test_every_key_knows_its_line() -> None:
    tree = read_tree(b"a:\n  - x: 1\n    y: [1,\n      2]\nb:\n  c: 2\n", "f")
    assert tree.data == {"a": [{"x": 1, "y": [1, 2]}], "b": {"c": 2}}
    assert [tree.line_of(p) for p in (("a",), ("a", 0, "y"), ("a", 0, "y", 1), ("b", "c"), ("b", "z"), ())] == [
        1,
        3,
        4,
        6,
        5,
        1,
    ]


def test_an_empty_file_is_nothing_and_no_fault() -> None:
    assert read_tree(b"# only a comment\n", "f").data is None
    assert read_tree(b"", "f").faults == []


@pytest.mark.parametrize(
    "data",
    [b"a: &x [1]\nb: *x", b"a: !!binary aGk=", b"[" * 100_000, b"{a: " * 50_000, b"a: b: c", b"\xff", b"a: 1\n---\nb: 2", b"? [a]\n: 1", b"\x00", b"a: \x01"],
    ids=["alias", "tag", "deep lists", "deep maps", "colons", "not UTF-8", "two documents", "list as key", "nul", "control"],
)  # fmt: skip
def test_what_is_refused_comes_back_as_a_fault(data: bytes) -> None:
    tree = read_tree(data, "f")
    assert tree.data is None
    assert len(tree.faults) == 1
