"""An officer's number opens only with its key and for its officer, and is seen nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.people.keyfile import KeyFileError
from pipeline.people.secrets import LONGEST_ADDRESS, Address, SealError, Vault, is_sealed, mask, open_vault, rotate

NUMBER = "+923001234567"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "var" / "addresses.key"


@given(address=st.text(min_size=1, max_size=80), whose=st.text(max_size=40))
def test_what_is_sealed_opens_again(address: str, whose: str) -> None:
    vault = Vault([bytes(32)])
    sealed = vault.seal(address, whose)
    assert is_sealed(sealed)
    assert vault.open(sealed, whose).reveal() == address


def test_the_key_is_made_once_and_for_the_owner_alone(key: Path) -> None:
    sealed = open_vault(key).seal(NUMBER, "khan/sms")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert open_vault(key).open(sealed, "khan/sms").reveal() == NUMBER
    assert list(key.parent.iterdir()) == [key]


def test_a_key_that_others_may_read_is_refused(key: Path) -> None:
    open_vault(key)
    key.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_vault(key)


@pytest.mark.parametrize("data", [b"\n", b"not base64!\n", b"AAAA\n"])
def test_a_key_file_that_holds_no_key_is_refused_and_not_replaced(data: bytes, key: Path) -> None:
    key.parent.mkdir()
    key.write_bytes(data)
    key.chmod(0o600)
    with pytest.raises(KeyFileError):
        open_vault(key)
    assert key.read_bytes() == data


def test_a_number_that_is_moved_to_another_officer_does_not_open(key: Path) -> None:
    vault = open_vault(key)
    with pytest.raises(SealError, match="somebody else"):
        vault.open(vault.seal(NUMBER, "khan/sms"), "shah/sms")


def test_any_altered_character_is_seen(key: Path) -> None:
    vault = open_vault(key)
    sealed = vault.seal(NUMBER, "khan/sms")
    for i in range(len(sealed) - 1):  # of the last one only some bits count
        other = "A" if sealed[i] != "A" else "B"
        with pytest.raises(SealError):
            vault.open(sealed[:i] + other + sealed[i + 1 :], "khan/sms")


def test_the_same_number_never_looks_the_same(key: Path) -> None:
    vault = open_vault(key)
    assert vault.seal(NUMBER, "khan/sms") != vault.seal(NUMBER, "khan/sms")


def test_after_a_rotation_old_and_new_open_and_the_old_can_be_sealed_again(key: Path) -> None:
    old = open_vault(key).seal(NUMBER, "khan/sms")
    vault = rotate(key)
    again = vault.seal_again(old, "khan/sms")
    assert again != old
    assert vault.seal_again(again, "khan/sms") == again
    first_line = key.read_bytes().splitlines()[0]
    key.write_bytes(first_line)  # the old key is thrown away
    assert open_vault(key).open(again, "khan/sms").reveal() == NUMBER
    with pytest.raises(SealError, match="not in the key file"):
        open_vault(key).open(old, "khan/sms")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_an_address_is_bounded_and_a_plain_one_is_not_taken_for_sealed() -> None:
    vault = Vault([os.urandom(32)])
    with pytest.raises(SealError):
        vault.seal("1" * (LONGEST_ADDRESS + 1), "khan/sms")
    with pytest.raises(SealError, match="not sealed"):
        vault.open(NUMBER, "khan/sms")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (NUMBER, "+92 3** ***45 67"),
        ("+92 300 123-4567", "+92 3** ***45 67"),
        ("03001234567", "030 **** 45 67"),
        ("+4915112345678", "+491 ****** 56 78"),
        ("1234567", "*****67"),
        ("123456", "***"),
        ("amina.khan@police.example", "a***@police.example"),
        ("https://hooks.example/T0/secret", "https://***"),
        ("tgram://123:token/456", "tgram://***"),
        ("call sign Delta", "***"),
        ("", "***"),
    ],
)
def test_masks(address: str, shown: str) -> None:
    assert mask(address) == shown


@given(st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True))
def test_a_mask_hides_enough_that_nobody_can_dial(number: str) -> None:
    hidden = mask(number).count("*")
    assert hidden >= 3
    assert number.lstrip("+") not in mask(number).replace(" ", "")


def test_an_address_shows_its_mask_however_it_is_printed() -> None:
    address = Address(NUMBER)
    for shown in (str(address), repr(address), f"{address}", f"{address:>30}", repr([address])):
        assert "1234567" not in shown and "***45 67" in shown
