"""A story, played once into a real influxd, for all of this folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from dashboards.played import Played, play_story
from pipeline.clock import WallClock
from pipeline.plan.load import load_plan
from pipeline.plan.model import CompiledPlan
from pipeline.record.influx import Influx
from tests.record.servers import started


@dataclass
class Wall:
    plan: CompiledPlan
    reader: Influx
    played: Played

    @property
    def now_us(self) -> int:
        return self.played.end_us


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Wall]:
    plan = load_plan(root / "plans" / "hazara")
    server = started(tmp_path_factory.mktemp("wall"), tuple(plan.regions))
    try:
        with closing(Influx(server.place, server.tokens.writer.read_text().strip())) as writer:
            played = play_story(plan, writer, WallClock().now_us())
        with closing(Influx(server.place, server.tokens.reader.read_text().strip())) as reader:
            yield Wall(plan, reader, played)
    finally:
        server.stop(signal.SIGKILL)
