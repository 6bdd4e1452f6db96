"""A file of jobs and endpoints: text -> specs in the order they can be submitted in, and their schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maillage import documents
from maillage.documents import Document, did_you_mean
from maillage.errors import Problem, Problems
from maillage.workloads.endpoint import ENGINES_TO_COME, EndpointSpec
from maillage.workloads.job import JobSpec

Spec = JobSpec | EndpointSpec

MAX_DOCUMENTS = 1000
_KINDS: dict[str, type[JobSpec] | type[EndpointSpec]] = {"job": JobSpec, "endpoint": EndpointSpec}


def parse(text: str | bytes, source: str = "spec") -> tuple[Spec, ...]:
    """Every spec of a file. Raises Problems with all of them.

    The order is the file's, save that what another one needs (`after`, inputs, an endpoint's model) comes
    before it. Names that the file does not hold are left for the network to resolve.
    """
    found = documents.read(text, source)
    if len(found) > MAX_DOCUMENTS:
        extra = found[MAX_DOCUMENTS]
        raise Problems([extra.problem((), f"is more than {MAX_DOCUMENTS} documents", "split the file")])
    specs: list[tuple[Spec, Document]] = []
    problems: list[Problem] = []
    for document in found:
        spec, wrong = _fit(document)
        problems += wrong
        if spec is not None:
            specs.append((spec, document))
    problems += _twice(found)
    if problems:
        raise Problems(sorted(problems, key=lambda problem: problem.line))
    return _in_order(specs)


def from_value(value: Any, source: str = "spec") -> Spec:
    """The spec in a value that came as JSON. Raises Problems (without lines)."""
    spec, problems = _fit(Document(value, source))
    if spec is None:
        raise Problems(problems)
    return spec


def job_schema() -> dict[str, Any]:
    """JSON Schema of a job, for editors: `maillage job schema`."""
    return documents.json_schema(JobSpec, "maillage job")


def endpoint_schema() -> dict[str, Any]:
    return documents.json_schema(EndpointSpec, "maillage endpoint")


def file_schema() -> dict[str, Any]:
    """Either of them: what one document of a file may be."""
    job, endpoint = job_schema(), endpoint_schema()
    shared = {**job.pop("$defs"), **endpoint.pop("$defs")}
    return {"$schema": job.pop("$schema"), "title": "maillage job or endpoint", "$defs": shared} | {
        "if": {"properties": {"kind": {"const": "endpoint"}}, "required": ["kind"]},
        "then": {key: value for key, value in endpoint.items() if key != "$schema"},
        "else": job,
    }


def _fit(document: Document) -> tuple[Spec | None, tuple[Problem, ...]]:
    kind = document.value.get("kind", "job") if isinstance(document.value, Mapping) else "job"
    model = _KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        what = f"{str(kind)[:60]!r} is no kind of document"
        return None, (document.problem(("kind",), what, did_you_mean(str(kind), _KINDS)),)
    spec, problems = documents.fit(document, model)
    if model is EndpointSpec and (engine := document.value.get("engine")) in ENGINES_TO_COME:
        what = f"{engine} does not serve models here yet"
        problems = (*problems, document.problem(("engine",), what, "write llamacpp, or leave the key out"))
    return (None if problems else spec), problems


def kept_only(spec: Mapping[str, Any]) -> list[str]:
    """Keys that a spec says something by and that nothing acts on yet.

    >>> kept_only({"deadline": "2026-12-01T08:00:00Z", "interruptible": False, "priority": 3})
    ['deadline']
    """
    said = {"deadline": spec.get("deadline"), "interruptible": spec.get("interruptible")}
    said["objective"] = any((spec.get("objective") or {}).values())
    return [key for key, value in said.items() if value]


def _twice(found: Sequence[Document]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for document in found:
        name = document.value.get("name") if isinstance(document.value, Mapping) else None
        if not isinstance(name, str):
            continue
        line = document.line(("name",))
        if name in first:
            what = f"{name!r} stands twice in this file, first in line {first[name]}"
            yield document.problem(("name",), what, "rename one of them")
        first.setdefault(name, line)


def _in_order(specs: Sequence[tuple[Spec, Document]]) -> tuple[Spec, ...]:
    """What is needed before what needs it; else the file's order. Raises Problems for a circle."""
    waiting = {spec.name: (spec, document) for spec, document in specs}
    jobs = {spec.name for spec, _ in specs if isinstance(spec, JobSpec)}
    ordered: list[Spec] = []
    while waiting:
        ready = [s for s, _ in waiting.values() if not any(n in waiting and n in jobs for n in s.needs)]
        if not ready:
            raise Problems([_circle(waiting)])
        ordered.append(ready[0])
        del waiting[ready[0].name]
    return tuple(ordered)


def _circle(waiting: Mapping[str, tuple[Spec, Document]]) -> Problem:
    name = next(iter(waiting))
    trail: list[str] = []
    while name not in trail:
        trail.append(name)
        name = next(need for need in waiting[name][0].needs if need in waiting)
    circle = [*trail[trail.index(name) :], name]
    document = waiting[name][1]
    what = f"waits for itself: {' -> '.join(circle)}"
    return document.problem(("after",), what, "take one of these out")
