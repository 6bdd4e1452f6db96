"""From what a person wrote (a file, a dict, a spec) to what the API takes.

Files may hold several documents. They are submitted in order; a name in `after`, `inputs` or
`model.job` means a job of the same file first, and only then one the network knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maillage.errors import Invalid, NotFound
from maillage.interfaces.sdk.operations import Operations
from maillage.interfaces.sdk.results import EndpointInfo, JobInfo, Json
from maillage.interfaces.sdk.wire import Plan

Work = (
    Any  # JobSpec | EndpointSpec | Mapping | str | Path: kept open so that Pydantic is not loaded to name it
)
SPEC_NAMES = ("maillage.yaml", "maillage.yml", "maillage.json", "job.yaml", "job.yml", "job.json")
MAX_SPEC_BYTES = 4 << 20


@dataclass(slots=True)
class Submission:
    """One document: a job or an endpoint as a JSON-ready dict, and the folder its paths start from."""

    kind: str
    spec: Json
    folder: Path
    source: str = ""
    left_out: tuple[str, ...] = ()  # of the work folder, once it was brought: what cannot travel

    @property
    def name(self) -> str:
        return str(self.spec.get("name") or "")

    def with_ids(self, ids: Mapping[str, str]) -> Submission:
        """The same with names of jobs submitted before replaced by their ids."""
        spec = dict(self.spec)
        if after := spec.get("after"):
            spec["after"] = [ids.get(name, name) for name in after]
        if inputs := spec.get("inputs"):
            spec["inputs"] = [_with_id(item, ids) for item in inputs]
        if isinstance(spec.get("model"), dict):
            spec["model"] = _with_id(spec["model"], ids)
        return Submission(self.kind, spec, self.folder, self.source)

    def submit(self, client: Operations, key: str | None = None) -> Plan[JobInfo]:
        """Pack and bring the work folder (only what is missing there), then submit."""
        spec = dict(self.spec)
        if workdir := spec.get("workdir"):
            spec["workdir"] = yield from self._bring(client, str(workdir))
        return (yield from Operations.submit.plan(client, spec, key, self.source))

    def deploy(self, client: Operations) -> Plan[EndpointInfo]:
        return (yield from Operations.deploy.plan(client, self.spec, self.source))

    def look(self) -> tuple[str, ...]:
        """What of the work folder would be left out; refuses the folder as `submit` does. Nothing is sent."""
        folder = self._work_folder()
        if folder is None:
            return ()
        from maillage.control.archives import look

        return look(folder)

    def _work_folder(self) -> Path | None:
        """The folder to bring; None where there is none, or it is at the network already."""
        workdir = str(self.spec.get("workdir") or "")
        if not workdir or workdir.startswith("sha256:"):
            return None
        folder = (self.folder / Path(workdir).expanduser()).absolute()
        if not folder.is_dir():
            raise NotFound(f"workdir: there is no folder {folder}")
        return folder

    def _bring(self, client: Operations, workdir: str) -> Plan[str]:
        folder = self._work_folder()
        if folder is None:
            return workdir
        from maillage.control.archives import pack

        packed = pack(folder)
        self.left_out = packed.skipped
        try:
            yield from Operations.upload.plan(client, packed.digest, packed.path)
        finally:
            packed.path.unlink(missing_ok=True)
        return packed.digest


def as_work(work: Work) -> Submission:
    """Exactly one job. Raises Invalid for a file that holds more, or an endpoint."""
    found = [work] if isinstance(work, Submission) else read_work(work)
    if len(found) != 1 or found[0].kind != "job":
        held = ", ".join(f"{item.kind} {item.name or '(unnamed)'}" for item in found)
        raise Invalid(f"run takes one job; {found[0].source or 'this'} holds {held or 'nothing'}")
    return found[0]


def read_work(work: Work) -> list[Submission]:
    """All documents of a file, a folder with a spec in it, a script, a dict or a spec object."""
    if isinstance(work, Mapping):
        return [Submission(str(work.get("kind") or "job"), dict(work), Path.cwd())]
    if isinstance(work, (str, Path)):
        return _read_path(Path(work).expanduser())
    return [_of_spec(work, Path.cwd(), "")]


def read_text(text: str, source: str, folder: Path) -> list[Submission]:
    """All documents of a text. Raises Problems with every problem and its line."""
    from maillage.workloads.specs import parse

    found = [_of_spec(spec, folder, source) for spec in parse(text, source)]
    if not found:
        raise Invalid(f"{source} holds no job and no endpoint")
    return found


def _read_path(path: Path) -> list[Submission]:
    if path.is_dir():
        path = _spec_in(path)
    try:
        with path.open("rb") as stream:  # bounded: a device or a pipe has no size to look at first
            content = stream.read(MAX_SPEC_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file or folder {path}") from None
    except OSError as trouble:
        raise Invalid(f"{path} cannot be read ({trouble.strerror})") from None
    if len(content) > MAX_SPEC_BYTES:
        raise Invalid(f"{path} is larger than {MAX_SPEC_BYTES >> 20} MiB: that is no spec")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as trouble:
        raise Invalid(f"{path} is no text in UTF-8 (byte {trouble.start})") from None
    if path.suffix == ".sh" or text.startswith("#!"):
        return [_script(text, path)]
    return read_text(text, str(path), path.parent)


def _spec_in(folder: Path) -> Path:
    for name in SPEC_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise NotFound(
        f"{folder} holds none of {', '.join(SPEC_NAMES)}; write one (`maillage job schema` tells the keys)"
    )


def _script(text: str, path: Path) -> Submission:
    """A shell script as a job; lines `#MAILLAGE key: value` are its spec."""
    import yaml

    said = [
        line.removeprefix("#MAILLAGE").strip() for line in text.splitlines() if line.startswith("#MAILLAGE")
    ]
    try:
        spec = yaml.safe_load("\n".join(said)) or {}
    except yaml.YAMLError as trouble:
        raise Invalid(f"{path}: the #MAILLAGE lines are not YAML: {trouble}") from None
    if not isinstance(spec, dict):
        raise Invalid(f"{path}: the #MAILLAGE lines are not `key: value`")
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "script"
    spec = {"name": name, **spec, "script": text}
    return read_text(yaml.safe_dump(spec, sort_keys=False), str(path), path.parent)[0]


def _of_spec(spec: Any, folder: Path, source: str) -> Submission:
    return Submission(spec.kind, spec.body(), folder, source)


def _with_id(reference: Json, ids: Mapping[str, str]) -> Json:
    job = reference.get("job")
    return {**reference, "job": ids.get(job, job)} if job else reference
