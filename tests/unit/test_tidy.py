"""Style as a test with a ratchet: small modules, screen-sized functions, names of the field."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MODULE_LINES = 500
FUNCTION_LINES = 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "core", "misc"}


def test_modules_are_small_and_named_after_something() -> None:
    assert len(SOURCES) > 50
    long = [path.name for path in SOURCES if len(path.read_text().splitlines()) > MODULE_LINES]
    vague = [str(path) for path in SOURCES if path.stem in VAGUE or path.parent.name in VAGUE]
    assert not long
    assert not vague


def test_functions_fit_a_screen() -> None:
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.stem != "__init__" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_the_repository_names_no_machine() -> None:
    """No home folders, no package hosts, nothing left for later."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    hosts = "|".join(["py" + "pi", "python" + "hosted", "registry.npm" + "js", "deb.deb" + "ian"])
    wrong = re.compile(rf"/ro{''}ot/|/ho{''}me/\w+/|/wo{''}rk/|{hosts}|TO{''}DO|FIX{''}ME")
    found = []
    for name in listed:
        path = ROOT / name
        if path.suffix in {".npz", ".png", ".gguf", ".gz", ".parquet"} or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if wrong.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found
