"""`rahdar operator`, `token` and `audit`: what is changed is on record first, and a touched record is exit code 1."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from pipeline.desk.operators import FILE_NAME, Operators
from pipeline.desk.sessions import SessionStore
from pipeline.notify.addresses import Addresses, AddressesError
from pipeline.people.audit import AuditLog
from pipeline.people.lockout import Lockout
from pipeline.people.tokens import TokenStore

PASSWORD = "a long enough password"


class Shell:
    def __init__(self, var: Path) -> None:
        self.var = var
        self.password = var / "password"
        self.password.write_text(PASSWORD + "\n")

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(words))
        assert result.exit_code == code, result.output
        return result

    def recorded(self) -> list[tuple[str, str]]:
        log = AuditLog(self.var / "audit.sqlite")
        try:
            return [(entry.what, entry.subject) for entry in log.entries()]
        finally:
            log.close()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("RAHDAR_VAR", str(tmp_path))
    monkeypatch.setenv("RAHDAR_ALERT_URL", f"sqlite:///{tmp_path / 'alert.sqlite'}")
    monkeypatch.setenv("RAHDAR_OPERATORS_FILE", str(tmp_path / "operators.yaml"))
    return Shell(tmp_path)


def test_an_operators_life(shell: Shell) -> None:
    operators = Operators(shell.var / "operators.yaml")
    word = ("--password-file", str(shell.password))
    shell.run("operator", "add", "amina", "--role", "operator", "--region", "hazara", *word)
    assert shell.run("operator", "list").output == "amina\toperator\thazara\n"
    first = operators.all()["amina"]
    shell.run("operator", "role", "amina", "supervisor")
    assert shell.run("operator", "list").output == "amina\tsupervisor\tall regions\n"
    shell.run("operator", "passwd", "amina", *word)
    assert operators.all()["amina"].hash != first.hash
    store = SessionStore(shell.var / FILE_NAME)
    token, session = store.begin("amina", "supervisor", "password", address="10.0.0.5")
    assert shell.run("operator", "sessions").output.split("\t")[:2] == [session.id, "amina"]
    shell.run("operator", "disable", "amina")
    assert store.find(token) is None
    assert operators.verify("amina", PASSWORD) is None
    assert shell.run("operator", "list").output == "amina\tsupervisor\tall regions\tdisabled\n"
    shell.run("operator", "enable", "amina")
    assert operators.verify("amina", PASSWORD) is not None
    token, _ = store.begin("amina", "supervisor", "password")
    assert "1 sessions" in shell.run("operator", "sign-out", "amina").output
    assert store.find(token) is None
    store.close()
    shell.run("operator", "remove", "amina")
    assert operators.all() == {}
    assert [what for what, subject in shell.recorded() if subject == "amina"] == [
        "operator_added", "operator_changed", "operator_changed", "operator_disabled", "operator_enabled",
        "session_ended", "operator_removed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [("role", "nobody", "viewer"), ("disable", "nobody"), ("remove", "nobody"), ("enable", "nobody")],
)
def test_of_somebody_who_is_not_there_nothing_is_changed_or_recorded(words: tuple[str, ...], shell: Shell) -> None:
    shell.run("operator", *words, code=1)
    assert shell.recorded() == []


def test_a_bad_password_is_refused_before_anything_is_recorded(shell: Shell) -> None:
    shell.password.write_text("short\n")
    shell.run("operator", "add", "amina", "--role", "viewer", "--password-file", str(shell.password), code=1)
    assert shell.recorded() == []


def test_who_had_to_wait_can_be_let_in(shell: Shell) -> None:
    lockout = Lockout(shell.var / FILE_NAME)
    for _ in range(6):
        lockout.failed("amina", "10.0.0.5")
    shell.run("operator", "unlock", "amina")
    assert lockout.locked_for_s("amina", "10.0.0.5") == 0
    lockout.close()


def test_a_tokens_life(shell: Shell) -> None:
    result = shell.run("token", "create", "report", "--role", "operator", "--region", "hazara", "--days", "7")
    token = result.stdout.strip()
    store = TokenStore(shell.var / FILE_NAME)
    found = store.find(token, "10.0.0.7")
    assert found is not None
    assert (found.name, found.role, found.regions, found.read_only) == ("report", "operator", ("hazara",), True)
    shown = shell.run("token", "list").output
    assert "report\tgood\toperator\thazara\treads" in shown
    assert token not in shown
    assert "there is a token" in shell.run("token", "create", "report", code=1).stderr
    shell.run("token", "revoke", "report")
    assert store.find(token) is None
    assert "report\trevoked" in shell.run("token", "list").output
    shell.run("token", "revoke", "report", code=1)
    store.close()
    assert shell.recorded() == [("token_made", "report"), ("token_revoked", "report")]


def test_a_whole_record_is_said_to_be_and_a_touched_one_is_a_finding(shell: Shell, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shell.run("token", "create", name)
    said = shell.run("audit", "verify").output
    assert "people: whole, 3 entries, signed up to 3" in said
    assert "alert: whole, 0 entries" in said
    copy = tmp_path / "kept.heads"
    copy.write_bytes((shell.var / "audit" / "people.heads").read_bytes())
    kept = tmp_path / "kept.pub"
    kept.write_text(shell.run("audit", "key").output)
    shell.run("audit", "verify", "--heads", str(copy), "--public-key", str(kept))
    with sqlite3.connect(shell.var / "audit.sqlite") as db:
        db.execute("DELETE FROM audit WHERE n = 2")
    db.close()
    result = shell.run("audit", "verify", code=1)
    assert "people: missing at 2: entry 2 is not there\n" in result.output
    assert "1 missing" in result.stderr


def test_a_record_that_is_no_database_is_exit_3(shell: Shell) -> None:
    (shell.var / "audit.sqlite").write_bytes(b"no database at all, but long enough to look at" * 100)
    shell.run("audit", "verify", code=3)


def test_the_record_can_be_asked_and_asking_is_on_record(shell: Shell) -> None:
    log = AuditLog(shell.var / "audit.sqlite")
    log.write("amina", "trail", "c-1", "10.0.0.5", "minutes=30")
    log.write("bilal\x1b[2J", "trail", "c-2", "10.0.0.6")
    log.close()
    shown = shell.run("audit", "show", "--what", "trail").output.splitlines()
    assert [line.split("\t")[1:] for line in shown] == [
        ["people", "1", "amina", "trail", "c-1", "10.0.0.5", "minutes=30"],
        ["people", "2", "bilal?[2J", "trail", "c-2", "10.0.0.6", "-"],
    ]
    assert '"who":"amina"' in shell.run("audit", "show", "--who", "amina", "--json").output
    assert shell.run("audit", "show", "--what", "trail", "--since", "2100-01-01T00:00:00Z").output == ""
    assert [what for what, _ in shell.recorded()] == ["trail", "trail", "export", "export", "export"]
    shell.run("audit", "show", "--since", "yesterday", code=1)


def test_an_officers_number_lies_sealed_and_only_the_channel_sees_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, key = shell.var / "addresses", shell.var / "addresses.key"
    monkeypatch.setenv("RAHDAR_ADDRESSES_FILE", str(file))
    file.write_text("bilal-sms: +923007654321\n")
    file.chmod(0o600)
    runner = CliRunner()
    result = runner.invoke(cli, ["address", "set", "amina-sms"], input="+923001234567\n+923001234567\n")
    assert result.exit_code == 0, result.output
    assert "+92 3** ***45 67" in result.output and "1234567" not in result.output
    assert b"1234567" not in file.read_bytes() and file.stat().st_mode & 0o077 == 0
    assert shell.run("address", "list").output == (
        "amina-sms\t+92 3** ***45 67\tsealed\nbilal-sms\t+92 3** ***43 21\tplain\n"
    )
    shell.run("address", "seal")
    assert b"7654321" not in file.read_bytes()
    before = file.read_bytes()
    shell.run("address", "seal", "--new-key")
    assert file.read_bytes() != before
    found = Addresses(file, {}, key)
    assert (found.find("amina-sms"), found.find("bilal-sms")) == ("+923001234567", "+923007654321")
    assert found.names_of("+923007654321") == ["bilal-sms"]
    assert not any("1234567" in str(vars(one)) for one in (found,))
    shell.run("address", "remove", "bilal-sms")
    assert found.find("bilal-sms") is None
    key.unlink()
    with pytest.raises(AddressesError, match="put the key back"):
        Addresses(file, {}, key)
    assert found.find("amina-sms") is None and "put the key back" in found.fault
    assert [what for what, _ in shell.recorded()] == [
        "address_set", "addresses_sealed", "addresses_sealed", "address_removed",
    ]  # fmt: skip
    assert "1234567" not in str(shell.recorded())
