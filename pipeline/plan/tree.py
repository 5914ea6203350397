"""YAML as plans are written: plain data and the line of every key. No aliases, no tags, no duplicate keys, bounded.

Scalars follow YAML 1.2: `off`, `no` and `21:30` are words here, as their author meant, and not False, False and 1290.
Built from parser events without recursion, so that no nesting can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.plan.faults import Fault, shown

MAX_BYTES = 5_000_000
MAX_DEPTH = 24

KeyPath = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
    "True": True,
    "False": False,
}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Tree:
    """One file: its data, the lines of its keys, what is wrong with its form."""

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int | None:
        """The line of this key, or of the nearest one above it that the file has."""
        here: KeyPath = ()
        for part in path:
            if (*here, part) in self.lines:
                here = (*here, part)
        return self.lines.get(here)


Reader = Callable[[bytes, str], Tree]
"""Of a file's bytes, with the name that stands in its faults."""


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet."""

    value: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None
    key_path: KeyPath = ()


class _Refused(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, line: int, value: str, problem: str, cure: str) -> None:
        self.fault = (line, value, problem, cure)


def read_tree(data: bytes, file: str) -> Tree:
    """Read one file's bytes. Faults of form come back in the tree, whose `data` is then None."""
    tree = Tree(file)

    def refuse(line: int | None, value: str, problem: str, cure: str) -> Tree:
        tree.faults.append(Fault(file, "", value, problem, cure, line))
        tree.data = None
        return tree

    if len(data) > MAX_BYTES:
        return refuse(
            None,
            f"{len(data)} bytes",
            f"a plan's file has at most {MAX_BYTES}",
            "Split the region, or simplify its lines",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return refuse(line, "", "the file is not UTF-8 text", "Save it as UTF-8")
    try:
        _build(text, tree)
    except _Refused as refused:
        return refuse(*refused.fault)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        told = shown(" ".join(part for part in (error.context, error.problem) if part))
        cure = "Look at this line and the one before: indentation, a missing colon, an open quote or bracket"
        return refuse(mark.line + 1 if mark else None, told, "this is not YAML", cure)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        return refuse(line, f"character {error.character!r}", "this is not YAML", "Remove the control character")
    return tree


def _build(text: str, tree: Tree) -> None:
    stack: list[_Open] = []
    documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.NodeEvent):
            _node(event, stack, tree)
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused(
                    _line(event),
                    "---",
                    "a file holds one document",
                    "Put the second one into a file of its own",
                )


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _node(event: Any, stack: list[_Open], tree: Tree) -> None:
    line = _line(event)
    if event.anchor is not None:  # an alias has one too
        raise _Refused(line, shown(event.anchor), "anchors and aliases (& and *) are not taken", "Write the value out")
    if not stack:
        path: KeyPath = ()
        value = tree.data = _value(event, line)
        tree.lines[path] = line
    else:
        top = stack[-1]
        into = top.value
        if isinstance(into, list):
            value = _value(event, line)
            path = (*top.path, len(into))
            into.append(value)
            tree.lines[path] = line
        elif top.key is None:
            _key(event, top, line, tree)
            return
        else:
            value = into[top.key] = _value(event, line)
            path, top.key = top.key_path, None  # its line is that of the key
    if isinstance(value, (dict, list)):
        if len(stack) >= MAX_DEPTH:
            raise _Refused(
                line, "", f"nested deeper than {MAX_DEPTH} levels", "A plan is flat; look for brackets too many"
            )
        stack.append(_Open(value, path))


def _key(event: Any, top: _Open, line: int, tree: Tree) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise _Refused(line, "", "a key is a list or a mapping", "Put it in quotes, or look for a stray { or [")
    assert isinstance(top.value, dict)
    top.key = str(event.value)
    top.key_path = path = (*top.path, top.key)
    if top.key in top.value:
        where = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")
        first = tree.lines[path]
        tree.faults.append(
            Fault(tree.file, where, "", f"the key stands twice, first on line {first}", "Remove one of them", line)
        )
    tree.lines[path] = line


def _value(event: Any, line: int) -> Any:
    if event.tag is not None and event.tag != "!":
        raise _Refused(line, shown(event.tag), "tags are not taken", "Remove it; quotes make a text of anything")
    if isinstance(event, yaml.MappingStartEvent):
        return {}
    if isinstance(event, yaml.SequenceStartEvent):
        return []
    text: str = event.value
    if event.style in ("'", '"', "|", ">"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def read_file(path: Path, file: str, read: Reader = read_tree) -> tuple[bytes, Tree]:
    """Read at most what is allowed of a file. OSError becomes a fault."""
    try:
        with path.open("rb") as source:
            data = source.read(MAX_BYTES + 1)
    except OSError as error:
        tree = Tree(file)
        tree.faults.append(
            Fault(file, "", "", f"the file cannot be read: {error.strerror}", "Give it back, or mend its permissions")
        )
        return b"", tree
    return data, read(data, file)
