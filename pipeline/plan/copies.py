"""Which cells beside its own hear where a vehicle is: those of the convoys that it is in, and of the regions that it is led through."""

from __future__ import annotations

from pipeline.plan.model import CompiledPlan


def copies(plan: CompiledPlan) -> dict[str, tuple[str, ...]]:
    """Vehicle -> cells, sorted; who is named by no other cell than its own is not in it."""
    named: dict[str, set[str]] = {}
    for convoy in plan.convoys.values():
        if convoy.cell:
            for vehicle in convoy.members:
                named.setdefault(vehicle, set()).add(convoy.cell)
    for movement in plan.movements:
        for leg in movement.legs:
            if leg.cell:
                for vehicle in movement.vehicles:
                    named.setdefault(vehicle, set()).add(leg.cell)
    return {
        vehicle: tuple(sorted(cells - {plan.vehicles[vehicle].cell}))
        for vehicle, cells in named.items()
        if cells - {plan.vehicles[vehicle].cell}
    }


def copied_from(plan: CompiledPlan) -> dict[str, tuple[str, ...]]:
    """Of each cell in which devices log in, the cells that get copies of what they say: its Ticks have to go there as well."""
    to = copies(plan)
    found: dict[str, set[str]] = {}
    for login in plan.logins.values():
        for device in login.devices:
            cells = to.get(plan.device_subject.get(device, ""), ())
            if cells:
                found.setdefault(login.cell, set()).update(cells)
    return {cell: tuple(sorted(cells)) for cell, cells in found.items()}
