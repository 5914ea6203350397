"""How the record is doing, and the machine under it: gauges that it writes itself, since a missing row alarms nobody in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.record.pending import Pending
from pipeline.record.points import machine_lines


@dataclass(slots=True)
class Health:
    """Counters grow from the start of the process."""

    where: Path
    points: int = 0
    set_aside: int = 0
    retries: int = 0
    write_s: float = 0.0
    newest_us: int = 0

    def wrote(self, taken: Pending, aside: int, took_s: float) -> None:
        self.points += taken.rows - aside
        self.set_aside += aside
        self.write_s = took_s
        self.newest_us = max(self.newest_us, taken.newest_us)

    def lines(self, host: str, now_us: int, backlog: int) -> list[str]:
        record = {
            "lag_s": max(0.0, (now_us - self.newest_us) / 1e6) if self.newest_us else 0.0,
            "points": self.points, "set_aside": self.set_aside, "retries": self.retries,
            "write_s": round(self.write_s, 4), "backlog_records": backlog,
        }  # fmt: skip
        disk = psutil.disk_usage(str(self.where if self.where.exists() else Path.cwd()))
        machine = {
            "cpu_pct": float(psutil.cpu_percent()), "memory_pct": float(psutil.virtual_memory().percent),
            "disk_free_pct": 100.0 - disk.percent, "disk_free_bytes": int(disk.free),
        }  # fmt: skip
        return list(machine_lines(host, now_us, record, machine))
