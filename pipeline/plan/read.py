"""From a region's files to their entries, each with its place in its file; what cannot be read becomes faults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.plan import schema
from pipeline.plan.faults import Fault, nearest, shown
from pipeline.plan.roster import (
    ROSTER_LISTS,
    ChannelIn,
    LadderIn,
    LeaveIn,
    OfficerIn,
    OverrideIn,
    PostIn,
    ShiftIn,
    StepIn,
)
from pipeline.plan.rules import RULES, Param
from pipeline.plan.times import duration_us
from pipeline.plan.tree import KeyPath, Reader, Tree, read_file, read_tree

T = TypeVar("T", bound=schema.Entry)
T_co = TypeVar("T_co", bound=schema.Entry, covariant=True)

LISTS: dict[str, tuple[tuple[str, type[schema.Entry]], ...]] = {
    "areas.yaml": (("areas", schema.AreaIn),),
    "routes.yaml": (("routes", schema.RouteIn),),
    "vehicles.yaml": (("vehicles", schema.VehicleIn), ("logins", schema.LoginIn)),
    "convoys.yaml": (("convoys", schema.ConvoyIn),),
    "movements.yaml": (("movements", schema.MovementIn),),
    "sensors.yaml": (("sensors", schema.SensorIn),),
    "roster.yaml": ROSTER_LISTS,
}
FILES = ("region.yaml", "rules.yaml", *LISTS)
NEEDED = ("region.yaml", "rules.yaml")
MAX_ENTRIES = 20_000
ANYTHING = "*"
"""Among the declared ids when a list cannot be read: it may declare anything, so no reference to it is called
unknown."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_ID_FIELDS = {"logins": "login"}


@dataclass(frozen=True, slots=True)
class Placed(Generic[T_co]):
    """An entry that is sound in itself, and where it stands."""

    item: T_co
    tree: Tree
    path: KeyPath
    key: str

    def fault(self, at: KeyPath, value: object, problem: str, cure: str) -> Fault:
        """A fault at `at` below this entry."""
        line = self.tree.line_of((*self.path, *at))
        return Fault(self.tree.file, _joined(self.key, at), shown(value), problem, cure, line)


def unknown(
    entry: Placed[Any], at: KeyPath, names: Iterable[str], known: set[str], what: str, *, single: bool = False
) -> Iterator[Fault]:
    """A fault for each name that is not among the `known`. `single`: at `at` stands one name, not a list of them."""
    if ANYTHING in known:
        return
    for number, name in enumerate(names):
        if name not in known:
            cure = nearest(name, known, f"Declare the {what}, or remove it here")
            yield entry.fault(at if single else (*at, number), name, f"there is no such {what}", cure)


@dataclass(slots=True)
class RegionSource:
    """One region as its files say it. `declared` also has the ids of broken entries, so that references to them are
    no faults."""

    folder: str
    region: Placed[schema.RegionIn] | None = None
    rules: dict[str, tuple[Placed[schema.RuleIn], dict[str, float]]] = field(default_factory=dict)
    areas: list[Placed[schema.AreaIn]] = field(default_factory=list)
    routes: list[Placed[schema.RouteIn]] = field(default_factory=list)
    vehicles: list[Placed[schema.VehicleIn]] = field(default_factory=list)
    logins: list[Placed[schema.LoginIn]] = field(default_factory=list)
    convoys: list[Placed[schema.ConvoyIn]] = field(default_factory=list)
    movements: list[Placed[schema.MovementIn]] = field(default_factory=list)
    sensors: list[Placed[schema.SensorIn]] = field(default_factory=list)
    posts: list[Placed[PostIn]] = field(default_factory=list)
    officers: list[Placed[OfficerIn]] = field(default_factory=list)
    overrides: list[Placed[OverrideIn]] = field(default_factory=list)
    leave: list[Placed[LeaveIn]] = field(default_factory=list)
    escalation: list[Placed[LadderIn]] = field(default_factory=list)
    declared: dict[str, set[str]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    rules_read: bool = False
    faults: list[Fault] = field(default_factory=list)


def read_region(folder: Path, label: str, read: Reader = read_tree) -> RegionSource:
    """All files of one region's folder. `label` stands before their names in faults."""
    source = RegionSource(label)
    prefix = f"{label}/" if label else ""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yaml", ".yml") and path.name not in FILES:
            cure = nearest(path.name, FILES, f"A region's files are {', '.join(FILES)}")
            source.faults.append(Fault(prefix + path.name, "", "", "this file is none of a region's", cure))
    for name in FILES:
        if not (folder / name).is_file():
            if name in NEEDED:
                source.faults.append(
                    Fault(prefix + name, "", "", "the file is missing", "Write it; plans/hazara shows how")
                )
            continue
        data, tree = read_file(folder / name, prefix + name, read)
        source.content[name] = data
        source.faults += tree.faults
        if tree.faults and tree.data is None:
            for kind, _ in LISTS.get(name, ()):
                source.declared[kind] = {ANYTHING}
            continue
        if name == "region.yaml":
            source.region = _entry(schema.RegionIn, tree, (), "region", tree.data, source.faults)
        elif name == "rules.yaml":
            _rules(tree, source)
        else:
            _lists(name, tree, source)
    return source


def _lists(name: str, tree: Tree, source: RegionSource) -> None:
    kinds = [kind for kind, _ in LISTS[name]]
    if tree.data is None:
        return
    if not isinstance(tree.data, dict):
        source.declared.update({kind: {ANYTHING} for kind in kinds})
        source.faults.append(
            _misplaced(tree, (), "", f"the file is no mapping with {' and '.join(kinds)}", f"Begin it with {kinds[0]}:")
        )
        return
    for key in tree.data:
        if key not in kinds:
            source.declared.update({kind: {ANYTHING} for kind in kinds if kind not in tree.data})
            source.faults.append(_misplaced(tree, (key,), key, "unknown key", nearest(key, kinds)))
    for kind, model in LISTS[name]:
        entries = tree.data.get(kind)
        if entries is None:
            continue
        if not isinstance(entries, list):
            source.declared[kind] = {ANYTHING}
            source.faults.append(
                _misplaced(tree, (kind,), kind, "not a list", "Begin every entry with a dash: - id: ...")
            )
            continue
        if len(entries) > MAX_ENTRIES:
            source.faults.append(
                _misplaced(tree, (kind,), kind, f"{len(entries)} entries; at most {MAX_ENTRIES}", "Split the region")
            )
            continue
        seen = source.declared.setdefault(kind, set())
        placed: list[Placed[Any]] = getattr(source, kind)
        id_field = _ID_FIELDS.get(kind, "id")
        for number, entry in enumerate(entries):
            found = entry.get(id_field) if isinstance(entry, dict) else None
            named = isinstance(found, str) and _ID.fullmatch(found) is not None
            if named:
                seen.add(str(found))
            key = f"{kind}.{found if named else number + 1}"
            read = _entry(model, tree, (kind, number), key, entry, source.faults)
            if read is not None:
                placed.append(read)


def _rules(tree: Tree, source: RegionSource) -> None:
    data = tree.data
    if not isinstance(data, dict) or not isinstance(data.get("rules"), dict):
        source.faults.append(
            _misplaced(tree, (), "", "the file has no mapping of rules", "Begin it with rules: and one key a rule")
        )
        return
    source.rules_read = True
    for key in data:
        if key != "rules":
            source.faults.append(_misplaced(tree, (key,), key, "unknown key", nearest(key, ["rules"])))
    for name, entry in data["rules"].items():
        path, key = ("rules", name), f"rules.{name}"
        spec = RULES.get(name)
        if spec is None:
            source.faults.append(_misplaced(tree, path, key, "there is no such rule", nearest(name, RULES)))
            continue
        if not isinstance(entry, dict):
            source.faults.append(
                _misplaced(
                    tree, path, key, "a rule is a mapping", "Give at least mode, owner, response and respond_within"
                )
            )
            continue
        own = {k: v for k, v in entry.items() if k in schema.RuleIn.model_fields}
        params = {n: _compiled(p, p.default) for n, p in spec.params.items()}
        for param, value in entry.items():
            if param in own:
                continue
            if param not in spec.params:
                cure = nearest(param, [*spec.params, *schema.RuleIn.model_fields])
                source.faults.append(
                    _misplaced(tree, (*path, param), f"{key}.{param}", "the rule has no such key", cure)
                )
                continue
            told = _number(spec.params[param], value)
            if isinstance(told, tuple):
                line = tree.line_of((*path, param))
                source.faults.append(Fault(tree.file, f"{key}.{param}", shown(value), told[0], told[1], line))
            else:
                params[param] = told
        placed = _entry(schema.RuleIn, tree, path, key, own, source.faults)
        source.declared.setdefault("rules", set()).add(name)
        if placed is not None:
            source.rules[name] = placed, {spec.params[n].compiled_name(n): value for n, value in params.items()}


def _compiled(param: Param, value: float) -> float:
    return value * 1e6 if param.kind == "duration" else float(value)


def _number(param: Param, value: object) -> float | tuple[str, str]:
    """A parameter's compiled value, or the problem and the cure."""
    low, high = _compiled(param, param.low), _compiled(param, param.high)
    if param.kind == "duration":
        try:
            number: float = duration_us(value)
        except ValueError as error:
            context = getattr(error, "context", None) or {}
            return str(context.get("problem", error)), str(context.get("cure", ""))
        limits = f"Give {param.low:g} s to {param.high:g} s"
    else:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "this is no number", f"Give {param.low:g} to {param.high:g}, without unit: the key's name has it"
        number, limits = float(value), f"Give {param.low:g} to {param.high:g}"
    return float(number) if low <= number <= high else ("out of range", limits)


def _entry(model: type[T], tree: Tree, path: KeyPath, key: str, data: Any, faults: list[Fault]) -> Placed[T] | None:
    if not isinstance(data, dict):
        faults.append(_misplaced(tree, path, key, "not a mapping of keys", "Write key: value, one a line"))
        return None
    try:
        return Placed(model.model_validate(data), tree, path, key)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults.append(_pydantic_fault(model, tree, path, key, detail))
        return None


def _pydantic_fault(model: type[schema.Entry], tree: Tree, path: KeyPath, key: str, detail: ErrorDetails) -> Fault:
    at: KeyPath = ()
    here = path
    for part in detail["loc"]:  # pydantic also puts in names of types: those are not in the file
        if (*here, part) in tree.lines or part == detail["loc"][-1]:
            at, here = (*at, part), (*here, part)
    kind, context = detail["type"], detail.get("ctx", {})
    value = shown(detail["input"]) if not isinstance(detail["input"], (dict, list)) or kind == "plan" else ""
    line = tree.line_of((*path, *at))
    where = _joined(key, at)
    if kind == "plan":
        value = str(context.get("value") or ("" if isinstance(detail["input"], dict) else value))
        return Fault(tree.file, where, value, str(context["problem"]), str(context["cure"]), line)
    problem, cure = _said(model, kind, context, at)
    return Fault(tree.file, where, "" if kind in ("missing", "extra_forbidden") else value, problem, cure, line)


def _said(model: type[schema.Entry], kind: str, context: Mapping[str, Any], at: KeyPath) -> tuple[str, str]:
    last = str(at[-1]) if at else ""
    simple = {
        "missing": ("the key is missing", f"Add {last}:"),
        "string_type": ("a text is needed", "Put it in quotes"),
        "float_type": ("a number is needed", "Write digits only; the key's name has the unit"),
        "int_type": ("a whole number is needed", "Write digits only"),
        "bool_type": ("true or false is needed", "Write true or false"),
        "list_type": ("a list is needed", "Write [a, b], or a dash before each"),
        "dict_type": ("a mapping is needed", "Write {key: value}"),
        "model_type": ("a mapping is needed", "Write {key: value}"),
        "finite_number": ("not a finite number", "Write digits"),
        "string_too_short": ("the text is empty", "Write it"),
    }
    if kind in simple:
        return simple[kind]
    if kind == "extra_forbidden":
        return "unknown key", nearest(last, _keys(model, at[:-1]))
    if kind == "literal_error":
        return "unknown word", f"Use {context['expected']}"
    if kind == "string_pattern_mismatch":
        return "not a name that the system takes", "Use 1 to 32 of the letters A-Z and a-z, digits, _ and -"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        sign = {
            "greater_than": "more than",
            "greater_than_equal": "at least",
            "less_than": "less than",
            "less_than_equal": "at most",
        }[kind]
        limit = next(iter(context.values()))
        if last in (
            "dwell",
            "interval",
            "respond_within",
            "after",
            "again_after",
            "on_delay",
            "off_delay",
            "realarm_after",
        ):
            return "out of range", f"Give {sign} {limit / 1e6:g} s"
        return "out of range", f"Give {sign} {limit:g}"
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"{context['actual_length']} entries", f"Give {'at least' if kind == 'too_short' else 'at most'} {limit}"
    if kind == "string_too_long":
        return "the text is too long", f"At most {context['max_length']} characters"
    return f"this does not fit ({kind})", "See plans/hazara for an example"


def _keys(model: type[schema.Entry], at: KeyPath) -> list[str]:
    """The keys that are known at this place below a model."""
    nested = {
        "polygon": None,
        "circle": schema.CircleIn,
        "stretch": schema.StretchIn,
        "rules": schema.AreaRuleIn,
        "schedule": schema.WindowIn,
        "checkpoints": schema.CheckpointIn,
        "speed_limits": schema.SpeedLimitIn,
        "devices": schema.DeviceIn,
        "device": schema.DeviceIn,
        "name": schema.NamesIn,
        "bounds": schema.BoundsIn,
        "places": schema.PlaceIn,
        "legs": schema.LegIn,
        "shifts": ShiftIn,
        "channels": ChannelIn,
        "steps": StepIn,
    }
    found: type[schema.Entry] | None = model
    for part in at:
        if isinstance(part, str):
            found = nested.get(part)
    return [f.alias or name for name, f in found.model_fields.items()] if found else []


def _misplaced(tree: Tree, path: KeyPath, key: str, problem: str, cure: str) -> Fault:
    return Fault(tree.file, key, "", problem, cure, tree.line_of(path))


def _joined(key: str, at: KeyPath) -> str:
    out = key
    for part in at:
        out += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return out
