"""Compiles the kernel, and keeps what was compiled in a folder named by a hash of its sources.

The compiler's own cache looks only at the file a function stands in; the kernel's functions are
inlined into one another across modules, so a stale copy could live on. The folder's name changes
with any kernel source. This is the one module of the pure packages that knows a file system;
`NUMBA_DISABLE_JIT=1` runs the whole kernel as plain Python.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])

_SOURCES = Path(__file__).parent


def sources_hash() -> str:
    """Hex digest over every kernel source, the compiler's version included."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(_SOURCES.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled code is kept: below `MAILLAGE_CACHE`, else the user's cache folder."""
    root = os.environ.get("MAILLAGE_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "maillage" / f"kernel-{sources_hash()}"


numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """Compile when a compiled caller is; cached. Python itself cannot call it: see `entry`."""
    return cast(Function, _jit(function, no_cpython_wrapper=True))


def entry(function: Function) -> Function:
    """Compile on first call from Python, cached; releases the interpreter lock while it runs."""
    return cast(Function, _jit(function, no_cpython_wrapper=False))


def _jit(function: Callable[..., object], no_cpython_wrapper: bool) -> object:
    options = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    # The kernel allocates nothing, so no reference is counted: the counts of 24 arrays, kept at every
    # inner call, made a pass over a deep queue 10 times slower. An allocation would now not compile.
    options["_nrt"] = False
    decorate: Callable[..., Callable[..., object]] = numba.njit
    return decorate(no_cpython_wrapper=no_cpython_wrapper, **options)(function)
