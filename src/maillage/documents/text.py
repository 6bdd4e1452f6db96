"""YAML or JSON text -> values -> Pydantic models, with every problem at once, each with its line.

Takes text and the name of its source, does no I/O. YAML is read with the plain types of YAML 1.2 (`NO`
and `on` are text, `012` is text, dates are text); anchors and merge keys work, within a bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from maillage.errors import Problem, Problems

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_VALUES = 200_000  # after anchors are written out, so that nested anchors cannot explode

Path = tuple[str | int, ...]

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = "tag:yaml.org,2002:"
_SYNTAX_HELP = (
    ("cannot start any token", "text that begins with a special character needs quotes"),
    ("mapping values are not allowed", "text that holds ': ' needs quotes; check the indentation"),
    ("undefined alias", "define it before with &name, in the same document"),
    ("expected <block end>", "check the indentation of this line and of the one before"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("unexpected end of stream", "a quote or a bracket is not closed"),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The fast reader where there is one, with the plain types of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (add_implicit_resolver copies it)


for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a text: its plain value, and the line of every path in it."""

    value: Any
    source: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest thing around it; 0 where none is known."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def problem(self, path: Path, what: str, mend: str = "") -> Problem:
        return Problem(path_text(path), what, mend, self.line(path), self.source)


def path_text(path: Path) -> str:
    """
    >>> path_text(("sites", 0, "grid", "zone"))
    'sites[0].grid.zone'
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def read(text: str | bytes, source: str) -> tuple[Document, ...]:
    """Every document of a text; empty documents are left out. Raises Problems.

    A syntax error ends the reading (what follows it cannot be trusted); anything else wrong is
    collected over all documents.
    """
    decoded = _decoded(text, source)
    as_json = _json(decoded)
    if as_json is not None:
        decoded = decoded.replace("\t", " ")  # JSON may indent with tabs, YAML may not; lines stay
    try:
        roots = _composed(decoded, source)
    except Problems:
        if as_json is None:
            raise
        return (Document(as_json[0], source),)  # JSON that YAML cannot read: no lines, then
    problems: list[Problem] = []
    documents = []
    for root in roots:
        reader = _Reader(source, problems)
        reader.lines[()] = root.start_mark.line + 1
        value = reader.value(root, ())
        if value is not None:
            documents.append(Document(as_json[0] if as_json else value, source, reader.lines))
    if problems:
        raise Problems(problems)
    if not documents:
        raise Problems([Problem("", "holds nothing", "write at least one document", 0, source)])
    return tuple(documents)


def _decoded(text: str | bytes, source: str) -> str:
    """Text without a byte order mark, with nothing unprintable in it."""

    def wrong(what: str, mend: str, line: int = 1) -> Problems:
        return Problems([Problem("", what, mend, line, source)])

    if len(text) > MAX_BYTES:
        raise wrong(f"is larger than {MAX_BYTES // 2**20} MiB", "split it into several files")
    if isinstance(text, bytes):
        if text.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise wrong("is UTF-16 text", "save it as UTF-8")
        try:
            return _decoded(text.decode("utf-8"), source)
        except UnicodeDecodeError as error:
            line = text[: error.start].count(b"\n") + 1
            raise wrong(f"is not UTF-8 text (byte {error.start})", "save it as UTF-8", line) from None
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        raise wrong(f"holds the control character U+{ord(bad[0]):04X}", "take it out", line)
    return text


def _json(text: str) -> tuple[Any] | None:
    """The value in a 1-tuple where the text is JSON (YAML readers stumble over some of JSON)."""
    if not text.lstrip().startswith(("{", "[")):
        return None

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        return (json.loads(text, parse_constant=refuse),)
    except (ValueError, RecursionError):
        return None


def _composed(text: str, source: str) -> list[Any]:
    """The node of each document. Depth is bounded first: composing recurses."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                what = f"is nested more than {MAX_DEPTH} deep"
                raise Problems([Problem("", what, "flatten it", mark.line + 1, source)])
        return list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        raise Problems([_syntax(error, text, source)]) from None
    except yaml.YAMLError as error:
        raise Problems([Problem("", f"is no YAML: {error}"[:300], "", 1, source)]) from None


def _syntax(error: yaml.MarkedYAMLError, text: str, source: str) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 1
    rows = text.split("\n")
    row = rows[min(number, len(rows)) - 1]
    what = ", ".join(part for part in (error.context, error.problem) if part) or "is no YAML"
    mend = next((help_ for words, help_ in _SYNTAX_HELP if words in what), "")
    if "\t" in row[: len(row) - len(row.lstrip())]:
        what, mend = "a tab in the indentation", "YAML indents with spaces only"
    elif row.lstrip().startswith(("@", "`", "%")):
        mend = f"a value that begins with {row.lstrip()[0]} needs quotes"
    return Problem("", what, mend, number, source)


class _Reader:
    """Nodes of one document to plain values, noting lines and problems."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.lines: dict[Path, int] = {}
        self._source = source
        self._problems = problems
        self._count = 0
        self._open: set[int] = set()  # nodes being written out: an anchor within itself has no end

    def _wrong(self, node: Any, path: Path, what: str, mend: str = "") -> None:
        line = node.start_mark.line + 1
        self._problems.append(Problem(path_text(path), what, mend, line, self._source))

    def value(self, node: Any, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                self._wrong(node, path, f"holds more than {MAX_VALUES} values", "use fewer anchors")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._wrong(node, path, "holds itself through an anchor", "write the value out")
            return None
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._wrong(node, path, f"has the tag {node.tag}", "write plain values, without tags")
            return None
        self._open.add(id(node))
        try:
            return (
                self._list(node, path) if isinstance(node, yaml.SequenceNode) else self._mapping(node, path)
            )
        finally:
            self._open.discard(id(node))

    def _list(self, node: Any, path: Path) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            self.lines[(*path, index)] = item.start_mark.line + 1
            values.append(self.value(item, (*path, index)))
        return values

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        here = self._merged(node, path)
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                continue
            if key_node.tag != _TAG + "str":
                self._wrong(key_node, path, "has a key that is not text", "put the key in quotes")
            elif key in first_lines:
                what = f"stands twice, first in line {first_lines[key]}"
                self._wrong(key_node, (*path, key), what, "keep one of them")
            else:
                first_lines[key] = self.lines[(*path, key)] = line
                here[key] = self.value(value_node, (*path, key))
        return here

    def _merged(self, node: Any, path: Path) -> dict[str, Any]:
        """What the merge keys (`<<: *name`) of a mapping bring; of several the first one wins."""
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag != _TAG + "merge":
                continue
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if isinstance(source, yaml.MappingNode):
                    merged = {**(self.value(source, path) or {}), **merged}
                else:
                    self._wrong(source, path, "merges something without keys", "<<: takes a mapping")
        return merged

    def _scalar(self, node: Any, path: Path) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(node, path, kind)
        self._wrong(node, path, f"has the tag {node.tag}", "write plain values, without tags")
        return None

    def _number(self, node: Any, path: Path, kind: str) -> int | float | None:
        try:
            if len(node.value) <= 40:
                return int(node.value) if kind == "int" else float(node.value)
        except ValueError:  # an explicit !!int on something else
            pass
        self._wrong(
            node, path, f"{node.value[:20]!r} is not a number that makes sense here", "check the digits"
        )
        return None
