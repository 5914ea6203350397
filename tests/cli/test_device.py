"""`rahdar device`: who may come in. Everything twice without harm, no secret twice, and clear causes."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from pipeline.cli import cli
from pipeline.clock import SetClock
from pipeline.ingest.acl import OWNTRACKS, SPOKEN
from pipeline.ingest.authority import AuthorityError, read_revoked
from pipeline.ingest.credentials import Verifier, read_credentials
from pipeline.ingest.devices import Devices

T0 = 1_780_000_000_000_000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RAHDAR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAHDAR_PLAN", str(tmp_path / "no-plan"))
    return tmp_path / "mqtt"


def run(here: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["device", *args, "--dir", str(here), "--pid-file", str(here / "no.pid")])


def done(here: Path, *args: str) -> Result:
    result = run(here, *args)
    assert result.exit_code == 0, result.output
    return result


def refused(here: Path, *args: str, code: int = 1) -> str:
    result = run(here, *args)
    assert result.exit_code == code, result.output
    return result.output


def contents(here: Path) -> bytes:
    return b"".join(path.read_bytes() for path in here.rglob("*") if path.is_file())


def setup(here: Path) -> None:
    done(here, "setup", "--host", "broker.example")


def test_setup_makes_what_a_broker_needs_and_again_makes_nothing(here: Path) -> None:
    made = done(here, "setup", "--host", "broker.example", "--host", "192.0.2.1").stdout
    for name in ("ca.pem", "server.pem", "passwords", "issued/0", "issued/owntracks", "issued/rahdar-notify"):
        assert f"made {here}/{name}" in made
    before = {path: path.read_bytes() for path in here.rglob("*.pem") if path.name != "crl.pem"}
    assert done(here, "setup", "--host", "broker.example").stdout == ""
    assert all(path.read_bytes() == content for path, content in before.items())
    again = done(here, "setup", "--host", "other.example").stdout
    assert again == f"made {here}/server.pem\n"  # another name is another certificate


def test_nobody_else_can_read_what_is_secret(here: Path) -> None:
    setup(here)
    done(here, "enrol", "t1")
    done(here, "enrol", "p1", "--password", "--out", str(here / "p1.secret"))
    for path in here.rglob("*"):
        if path.is_file() and path.name not in ("ca.pem", "server.pem", "crl.pem", "device.pem"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_a_certificate_names_its_login_and_is_for_clients_only(here: Path) -> None:
    setup(here)
    files = done(here, "enrol", "t1", "--certificate").stdout.split()
    certificate = x509.load_pem_x509_certificate(Path(files[0]).read_bytes())
    ca = x509.load_pem_x509_certificate((here / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert certificate.subject.rfc4514_string() == "CN=t1"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in usage] == ["1.3.6.1.5.5.7.3.2"]  # clientAuth
    assert (
        timedelta(days=700) < certificate.not_valid_after_utc - certificate.not_valid_before_utc < timedelta(days=740)
    )


async def test_a_password_is_shown_once_and_both_brokers_know_it(here: Path) -> None:
    setup(here)
    first = done(here, "enrol", "p1", "--password")
    password = first.stdout.strip()
    assert len(password) >= 32 and password not in first.stderr
    known = read_credentials(here / "passwords")
    assert known["p1"].startswith("$7$")  # Mosquitto's own form
    assert await Verifier(known).verify("p1", password)
    assert not await Verifier(known).verify("p1", password + "x")
    again = done(here, "enrol", "p1", "--password")
    assert again.stdout == "" and "already" in again.stderr
    assert read_credentials(here / "passwords") == known
    assert password.encode() not in contents(here)
    renewed = done(here, "enrol", "p1", "--password", "--renew").stdout.strip()
    verifier = Verifier(read_credentials(here / "passwords"))
    assert renewed != password and await verifier.verify("p1", renewed) and not await verifier.verify("p1", password)


def test_a_phone_is_given_a_configuration_with_tls(here: Path) -> None:
    setup(here)
    shown = done(here, "enrol", "p1", "--owntracks", "broker.example")
    assert "█" in shown.stdout or "▄" in shown.stdout
    out = here / "p2.otrc"
    result = done(here, "enrol", "p2", "--owntracks", "broker.example:9001", "--out", str(out))
    configuration = json.loads(out.read_text())
    assert (configuration["host"], configuration["port"], configuration["tls"]) == ("broker.example", 9001, True)
    assert configuration["username"] == "p2" and configuration["password"] not in result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_revoking_ends_certificate_and_password_and_can_be_said_twice(here: Path) -> None:
    setup(here)
    files = done(here, "enrol", "t1").stdout.split()
    serial = x509.load_pem_x509_certificate(Path(files[0]).read_bytes()).serial_number
    done(here, "enrol", "p1", "--password")
    assert read_revoked(here / "crl.pem", here / "ca.pem") == frozenset()
    for login in ("t1", "p1", "t1"):
        done(here, "revoke", login)
    assert read_revoked(here / "crl.pem", here / "ca.pem") == {serial}
    assert read_credentials(here / "passwords") == {}
    assert "user t1\ntopic deny #\n" in (here / "acl").read_text()
    states = [json.loads(line) for line in done(here, "list", "--json").stdout.splitlines()]
    assert {row["login"]: row["state"] for row in states if row["login"] in ("p1", "t1")} == {
        "p1": "revoked",
        "t1": "revoked",
    }


def test_a_login_may_come_again_with_another_secret_and_the_old_stays_dead(here: Path) -> None:
    setup(here)
    old = x509.load_pem_x509_certificate(Path(done(here, "enrol", "t1").stdout.split()[0]).read_bytes())
    done(here, "revoke", "t1")
    new = x509.load_pem_x509_certificate(Path(done(here, "enrol", "t1").stdout.split()[0]).read_bytes())
    assert read_revoked(here / "crl.pem", here / "ca.pem") == {old.serial_number}
    assert new.serial_number != old.serial_number
    assert "deny" not in (here / "acl").read_text()
    done(here, "enrol", "t1", "--password", "--renew")
    assert read_revoked(here / "crl.pem", here / "ca.pem") == {old.serial_number, new.serial_number}


def test_a_device_moves_to_another_shard_and_keeps_its_secret(here: Path) -> None:
    done(here, "setup", "--host", "b", "--shards", "0,1")
    done(here, "enrol", "t1")
    crl = read_revoked(here / "crl.pem", here / "ca.pem")
    assert done(here, "move", "t1", "--shard", "1").stdout == "v1/1/t1/<format>\n"
    assert done(here, "move", "t1", "--shard", "1").exit_code == 0
    assert read_revoked(here / "crl.pem", here / "ca.pem") == crl
    assert "shard 7" in refused(here, "move", "t1", "--shard", "7")


def test_no_shard_is_called_like_a_device(here: Path) -> None:
    """It would read all that its shard says."""
    setup(here)
    done(here, "enrol", "t1")
    assert "t1 is a device" in refused(here, "setup", "--host", "b", "--shards", "0,t1")
    assert not set(OWNTRACKS) & set(SPOKEN)  # the pattern of one would open the other to a device called v1


@pytest.mark.parametrize("name", ["a/b", "v1/+", "#", "x" * 33, "a b", "ÿ", "rahdar-notify", "0", "owntracks", "a\n"])
def test_no_name_that_would_open_topics_of_others(here: Path, name: str) -> None:
    setup(here)
    for command in (["enrol", name], ["enrol", name, "--password"]):
        refused(here, *command)
    found = Devices(here, SetClock(T0)).read().devices.get(name)
    assert found is None or found.ours


def test_what_cannot_be_done_has_its_cause_and_exit_code(here: Path, tmp_path: Path) -> None:
    assert "rahdar device setup" in refused(here, "enrol", "t1")
    setup(here)
    assert "not enrolled" in refused(here, "revoke", "t9")
    assert "not enrolled" in refused(here, "move", "t9", "--shard", "1")
    refused(here, "enrol", code=2)
    refused(here, "enrol", "p1", "--certificate", "--owntracks", "h", code=2)
    refused(here, "enrol", "p1", "--owntracks", "u@h:70000", code=2)
    refused(here, "setup", "--host", "no host", code=1)
    done(here, "enrol", "t1")
    assert "--renew" in refused(here, "enrol", "t1", "--password")
    (tmp_path / "there").touch()
    assert "new file" in refused(here, "enrol", "p1", "--password", "--out", str(tmp_path / "there"))
    (here / "passwords").write_text("no hash\n")
    assert "line 1" in refused(here, "enrol", "p1", "--password")
    assert (here / "passwords").read_text() == "no hash\n"
    (here / "devices.json").write_text("{")
    assert "devices.json" in refused(here, "list")


def test_lines_of_others_in_the_passwords_stay(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's file, with argon2's hashes, for one."""
    setup(here)
    other = "v1:$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n"
    (here / "passwords").write_text(f"# by hand\n{other}")
    done(here, "enrol", "p1", "--password")
    assert (here / "passwords").read_text().startswith(f"# by hand\n{other}p1:$7$")
    refused(here, "enrol", "v1", "--password")
    done(here, "revoke", "v1")
    assert sorted(read_credentials(here / "passwords")) == ["p1"]


def test_only_a_mosquitto_is_told_and_one_that_cannot_be_is_named(here: Path) -> None:
    setup(here)
    pid_file = here / "some.pid"
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        pid_file.write_text(str(sleeper.pid))
        args = ["device", "enrol", "t1", "--dir", str(here), "--pid-file", str(pid_file)]
        result = CliRunner().invoke(cli, args)
        assert result.exit_code == 0 and "no Mosquitto that runs" in result.stderr
        assert sleeper.poll() is None
        pid_file.write_text("x")
        result = CliRunner().invoke(cli, ["device", "revoke", "t1", "--dir", str(here), "--pid-file", str(pid_file)])
        assert result.exit_code == 3
    finally:
        assert sleeper.stdin is not None
        sleeper.stdin.close()
        sleeper.wait(10)


def test_stopped_between_two_steps_no_certificate_is_out_that_cannot_be_revoked(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Devices(here, SetClock(T0))
    devices.setup(["b"])
    import pipeline.ingest.devices as module

    write = module.write_private

    def stops(path: Path, content: bytes | str, mode: int = 0o600) -> None:
        write(path, content, mode)
        if path.name == "device.pem":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_private", stops)
        with pytest.raises(OSError, match="space"):
            devices.enrol("t1", "certificate")
    lost = x509.load_pem_x509_certificate((here / "issued" / "t1" / "device.pem").read_bytes()).serial_number
    assert devices.enrol("t1", "certificate") is not None
    assert read_revoked(here / "crl.pem", here / "ca.pem") == {lost}


def test_the_brokers_certificate_is_renewed_in_time(here: Path) -> None:
    clock = SetClock(T0)
    Devices(here, clock).setup(["b"])
    day = 86_400_000_000
    assert Devices(here, SetClock(T0 + 700 * day)).setup(["b"]) == []
    assert Devices(here, SetClock(T0 + 800 * day)).setup(["b"]) == [str(here / "server.pem")]
    with pytest.raises(AuthorityError, match="past its time"):
        Devices(here, SetClock(T0 + 4000 * day)).enrol("t1", "certificate")


def test_a_list_of_another_authority_is_not_believed(tmp_path: Path) -> None:
    one, two = Devices(tmp_path / "1", SetClock(T0)), Devices(tmp_path / "2", SetClock(T0))
    one.setup(["b"])
    two.setup(["b"])
    with pytest.raises(AuthorityError, match="not signed"):
        read_revoked(tmp_path / "1" / "crl.pem", tmp_path / "2" / "ca.pem")
    (tmp_path / "1" / "crl.pem").write_bytes(base64.b64encode(b"x"))
    with pytest.raises(AuthorityError):
        read_revoked(tmp_path / "1" / "crl.pem", tmp_path / "1" / "ca.pem")
