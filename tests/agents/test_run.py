"""A stage that cannot begin ends its process, with the reason."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.run import run_stages
from pipeline.cli import BadInput
from pipeline.settings import Settings
from tests.plan.overlay import SOUND


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"notify_password_file": Path("/nowhere")}, "RAHDAR_NOTIFY_PASSWORD_FILE"),
        ({"tak_url": "tls://127.0.0.1:1", "tak_cert_file": Path("/nowhere")}, "RAHDAR_TAK"),
    ],
)
async def test_a_notify_that_cannot_begin_ends(tmp_path: Path, setting: dict[str, Any], why: str) -> None:
    """One that lived on and told nobody would not be started again by anybody."""
    places = {
        "log_url": f"log://{tmp_path}/log",
        "alert_url": f"sqlite:///{tmp_path}/a.sqlite",
        "var": tmp_path / "var",
    }
    settings = Settings(**places, plan=SOUND, partitions=1, **setting)
    before = asyncio.all_tasks()
    async with asyncio.timeout(30):
        with pytest.raises(BadInput, match=why):
            await run_stages(("notify",), settings)
    for task in asyncio.all_tasks() - before:  # whatever is left keeps a process from ending
        async with asyncio.timeout(5):
            await asyncio.wait({task})
