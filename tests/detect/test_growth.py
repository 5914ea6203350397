"""What it costs to begin does not grow with the square of the fleet."""

from __future__ import annotations

from dataclasses import replace

from pipeline.commands.bench_core import invented_plan
from pipeline.detect.engine import Engine
from pipeline.detect.tables import build_tables
from pipeline.plan.orders import concerned

HOUR_US = 3600 * 1_000_000


class Asked(tuple[str, ...]):
    """A movement's vehicles, that count who asks whether somebody is among them."""

    times = 0

    def __contains__(self, vehicle: object) -> bool:
        Asked.times += 1
        return super().__contains__(vehicle)


def test_a_vehicle_is_not_looked_for_in_every_movement() -> None:
    plan = invented_plan(60, 10, 3, 1)
    alone = (replace(m, id=f"m{v}", vehicles=Asked([v])) for m in plan.movements for v in m.vehicles)
    plan = replace(plan, movements=tuple(alone))
    assert len(plan.movements) == 60
    Asked.times = 0
    tables = build_tables(plan)
    engine = Engine(plan, 6 * HOUR_US, tables)
    one = plan.movements[0]
    other = replace(plan, movements=(replace(one, ends_us=one.ends_us + HOUR_US), *plan.movements[1:]))
    assert list(concerned(plan, other)) == [plan.vehicles[one.vehicles[0]].cell]
    assert Asked.times <= 3 * len(plan.movements)
    assert len(engine.tables.leg_movements) == sum(len(m.vehicles) for m in plan.movements)
