"""A token is somebody with a name, a scope and an end; on disk it is nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clock import SetClock
from pipeline.people.tokens import DAY_US, LONGEST_DAYS, TokenError, TokenStore

T0 = 1_795_000_000_000_000


@pytest.fixture
def clock() -> SetClock:
    return SetClock(T0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "desk.sqlite"


@pytest.fixture
def tokens(file: Path, clock: SetClock) -> Iterator[TokenStore]:
    made = TokenStore(file, clock)
    yield made
    made.close()


def test_a_token_is_found_with_its_scope_and_the_file_does_not_hold_it(tokens: TokenStore, file: Path) -> None:
    text = tokens.make("grafana", "viewer", 30, "root", regions=("hazara",))
    found = tokens.find(text, "10.0.0.7")
    assert found is not None
    assert (found.name, found.role, found.regions, found.read_only) == ("grafana", "viewer", ("hazara",), True)
    secret = text.rsplit("_", 1)[-1].encode()
    for path in file.parent.iterdir():
        assert secret not in path.read_bytes()


@pytest.mark.parametrize("days_later", [29.99, 30.0, 31.0])
def test_it_ends_when_it_was_said_to(days_later: float, tokens: TokenStore, clock: SetClock) -> None:
    text = tokens.make("grafana", "viewer", 30, "root")
    clock.put(T0 + int(days_later * DAY_US))
    assert (tokens.find(text) is not None) is (days_later < 30)


def test_revoked_it_is_out_at_once_and_its_name_is_free(tokens: TokenStore) -> None:
    old = tokens.make("grafana", "viewer", 30, "root")
    with pytest.raises(TokenError, match="revoke it first"):
        tokens.make("grafana", "viewer", 30, "root")
    assert tokens.revoke("grafana") is not None
    assert tokens.revoke("grafana") is None
    assert tokens.find(old) is None
    new = tokens.make("grafana", "viewer", 30, "root")
    assert tokens.find(new) is not None
    assert [t.state(T0) for t in tokens.all()] in (["revoked", "good"], ["good", "revoked"])


@pytest.mark.parametrize("wrong", ["", "rahdar_", "x" * 5000, "rahdar_000000000000_" + "A" * 43, "Bearer x"])
def test_what_is_no_token_finds_nobody(wrong: str, tokens: TokenStore) -> None:
    tokens.make("grafana", "viewer", 30, "root")
    assert tokens.find(wrong) is None


def test_one_wrong_character_finds_nobody(tokens: TokenStore) -> None:
    text = tokens.make("grafana", "viewer", 30, "root")
    assert tokens.find(text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1]) is None


def test_the_last_use_is_known_to_a_minute(tokens: TokenStore, clock: SetClock) -> None:
    text = tokens.make("grafana", "viewer", 30, "root")
    assert tokens.all()[0].used_us is None
    for after_s, known_s in ((0, 0), (59, 0), (60, 60)):
        clock.put(T0 + after_s * 1_000_000)
        tokens.find(text, "10.0.0.7")
        assert (tokens.all()[0].used_us, tokens.all()[0].used_from) == (T0 + known_s * 1_000_000, "10.0.0.7")


@pytest.mark.parametrize(
    ("name", "role", "days", "regions", "words"),
    [("", "viewer", 1, None, "name"), ("a b", "viewer", 1, None, "name"), ("x", "admin", 1, None, "role"),
     ("x", "root", 1, None, "role"), ("x", "viewer", 0, None, "days"), ("x", "viewer", LONGEST_DAYS + 1, None, "days"),
     ("x", "viewer", 1, (), "region")],
)  # fmt: skip
def test_what_cannot_be_asked_for(
    name: str, role: str, days: float, regions: tuple[str, ...] | None, words: str, tokens: TokenStore
) -> None:
    with pytest.raises(TokenError, match=words):
        tokens.make(name, role, days, "root", regions=regions)
    assert tokens.all() == []
