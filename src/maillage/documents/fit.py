"""A document's value -> a Pydantic model, or problems in words for people.

A model's own rules across fields raise `Findings` in an `after` validator, with as many findings as
there are; each says under which path (below the model) it stands.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from maillage.documents.text import Document, Path
from maillage.errors import Problem

Model = TypeVar("Model", bound=BaseModel)

_MENDS = {
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "bool_type": "write true or false, without quotes",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a value: what, how to mend it, and under which path below the model."""

    what: str
    mend: str = ""
    at: Path = ()


class Findings(ValueError):
    """Raised inside Pydantic validators; carries every finding to the `Problem`s."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        super().__init__("; ".join(f.what + (f" ({f.mend})" if f.mend else "") for f in findings))


def require(findings: Iterable[Finding]) -> None:
    """Raises Findings if there are any."""
    found = tuple(findings)
    if found:
        raise Findings(*found)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A way to mend a word nobody knows; all known words where none is near.

    >>> did_you_mean("h10", ["H100", "MI300X"]), did_you_mean("zzz", ["a", "b"])
    ("did you mean 'H100'?", 'known: a, b')
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    return f"known: {', '.join(by_lower.values())}" if by_lower else ""


def fit(document: Document, model: type[Model]) -> tuple[Model | None, tuple[Problem, ...]]:
    """The model, or None and every problem, in the order of the text."""
    if not isinstance(document.value, Mapping):
        what = f"is {_shown(document.value)}, not a mapping of keys to values"
        return None, (document.problem((), what, "write `key: value` lines"),)
    try:
        return model.model_validate(document.value), ()
    except ValidationError as error:
        errors = [item for item in error.errors() if not _is_echo(item)]
        found = [problem for item in errors for problem in _problems(document, model, item)]
        found += _hidden(document, model, errors)
        unique = dict.fromkeys(found)  # a value may break the same rule under two members of a union
        return None, tuple(sorted(unique, key=lambda problem: problem.line))


def _is_echo(error: Any) -> bool:
    """A list said to be too short because its items are wrong: they have their own problems."""
    return bool(error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"])


def _hidden(document: Document, model: type[BaseModel], errors: list[Any]) -> list[Problem]:
    """What a model's rules across fields find once its wrong keys are out: they run only where all fit.

    Only findings about a key that stands in the text count: the others may come from the taking out.
    """
    value = copy.deepcopy(document.value)
    for item in errors:
        path = _known_path(value, item["loc"])
        around = value
        for step in path[:-1]:
            around = around[step]
        if path and isinstance(around, dict):
            around.pop(path[-1], None)
    try:
        model.model_validate(value)
    except ValidationError as second:
        raised = [
            (_known_path(value, item["loc"]), item.get("ctx", {}).get("error")) for item in second.errors()
        ]
        found = [
            (path + f.at, f) for path, rules in raised if isinstance(rules, Findings) for f in rules.findings
        ]
        return [
            document.problem(path, finding.what, finding.mend)
            for path, finding in found
            if finding.at and _known_path(document.value, path) == path
        ]
    return []


def json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model, as an editor wants it."""
    schema = model.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def _problems(document: Document, model: type[BaseModel], error: Any) -> list[Problem]:
    path = _known_path(document.value, error["loc"])
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, Findings):
        return [document.problem(path + f.at, f.what, f.mend) for f in raised.findings]
    if error["type"] == "extra_forbidden":
        key = str(path[-1])[:60]
        return [document.problem(path, f"unknown key {key!r}", did_you_mean(key, _fields(model, path[:-1])))]
    if error["type"] == "missing":
        key = error["loc"][-1]
        return [document.problem((*path, key), "is missing", f"add `{key}:`")]
    if error["type"] in ("model_type", "model_attributes_type"):
        known = ", ".join(_fields(model, path))
        return [document.problem(path, f"must be a mapping, not {_shown(error['input'])}", f"keys: {known}")]
    what, mend = _words(error)
    return [document.problem(path, what, mend)]


def _known_path(value: Any, location: tuple[str | int, ...]) -> Path:
    """Pydantic's location without its own marks (names of union members, `[key]`)."""
    path: list[str | int] = []
    for step in location:
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, Mapping) and step in value):
            value = value[step]
            path.append(step)
    return tuple(path)


def _words(error: Any) -> tuple[str, str]:
    """What is wrong and how to mend it, from Pydantic's error."""
    value, kind = error["input"], error["type"]
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        near = did_you_mean(str(value), known)
        return f"{_shown(value)} is none of {', '.join(known)}", "" if near.startswith("known") else near
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "must be").replace("Input should have", "must have")
    if kind == "value_error":
        return message, ""
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, not {_shown(value)}", "write [one, two], or lines that begin with -"
    if kind == "string_type" and not isinstance(value, list | Mapping) and value is not None:
        return f"{_shown(value)} is not text", "put it in quotes"
    return f"{message}, not {_shown(value)}", _MENDS.get(kind, "") if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)[:60]


def _fields(model: Any, path: Path) -> list[str]:
    """The keys that the model at a path knows, by the names they have in the text."""
    for step in path:
        model = _below(model, step)
    if not _is_model(model):
        return []
    return [info.alias or name for name, info in model.model_fields.items()]


def _below(model: Any, step: str | int) -> Any:
    """The type behind one step of a path; None where it cannot be told."""
    if not _is_model(model):
        inner = [kind for kind in get_args(model) if kind not in (Ellipsis, NoneType, str)]
        return inner[-1] if get_origin(model) in (tuple, list, dict) and inner else None
    for name, info in model.model_fields.items():
        if step == (info.alias or name):
            return _without_none(info.annotation)
    return None


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not NoneType]
        return members[0] if len(members) == 1 else None
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
