"""What every test may lean on, and CI's rule that nothing is skipped in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.kafka_server import KafkaServer, NoKafkaError, kafka_home

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The recorded data that lies beside the project. In CI it must be there."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail("the recorded data (../shared) is missing")
        pytest.skip("the recorded data (../shared) is not here")
    return path


@pytest.fixture(scope="session")
def kafka_jars() -> None:
    """Kafka may be started. In CI it must be there."""
    try:
        kafka_home()
    except NoKafkaError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Kafka of one node, for the whole run; or the one that RAHDAR_TEST_KAFKA=host:port names."""
    if given := os.environ.get("RAHDAR_TEST_KAFKA"):
        yield f"kafka://{given}"
        return
    request.getfixturevalue("kafka_jars")
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    try:
        yield server.url
    finally:
        server.discard()


def _may_skip() -> set[str]:
    lines = (ROOT / ".ci" / "skips").read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


class _SkipsAreFailures:
    """In CI a skipped test ends the run with exit status 1, unless `.ci/skips` names it with its reason."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []
        self.allowed = _may_skip()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in self.allowed:
            self.unexpected.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.unexpected:
            terminalreporter.write_line(f"skipped, which CI does not allow: {nodeid}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(_SkipsAreFailures())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` (tests/__main__.py) there are two rows, of about the same length."""
    if config.getoption("dist", "no") != "loadgroup":
        return
    for item in items:
        row = "on Kafka" if item.path.name in ("test_native.py", "test_workers.py") else "the others"
        item.add_marker(pytest.mark.xdist_group(row))
