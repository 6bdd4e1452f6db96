"""The pages are part of the product: links lead somewhere, commands exist, examples are read."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rich_click as click
import yaml

from maillage.interfaces.cli import cli
from maillage.network import loader
from maillage.workloads import specs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(maillage|pip) |\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one)) for one in headings)
    return {one.strip().lower().replace(" ", "-") for one in plain}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            wrong.append(target)
    assert not wrong


def test_the_index_names_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / target).resolve() for target in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [named(page) for page in sorted(DOCS.rglob("*.md")) if page not in linked | {index}] == []


def test_the_licences_name_every_file_of_data_that_ships() -> None:
    text = (DOCS / "data-licences.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "maillage"
    shipped = [path for path in package.rglob("*") if path.suffix in (".npz", ".json", ".csv", ".parquet")]
    assert len(shipped) >= 2
    assert [path.name for path in shipped if f"`{path.relative_to(package)}`" not in text] == []


def test_decisions_have_their_form() -> None:
    records = sorted((DOCS / "decisions").glob("*.md"))
    for number, record in enumerate(records, start=1):
        text = record.read_text(encoding="utf-8")
        assert record.name.startswith(f"{number:04}-")
        assert re.match(rf"# {number:04} .+\n\nDate: \d{{4}}-\d\d-\d\d\n", text), record.name
        words = ("**Context.**", "**Decision.**", "**Consequences.**")
        assert [text.count(word) for word in words] == [1, 1, 1], record.name


IN_FRONT = re.compile(r"\w+=|xargs$|-n\d+$")  # what may stand before a command

# --- commands ------------------------------------------------------------------------------------


def shown(text: str) -> Iterator[str]:
    """Lines of shell: after `$ ` in blocks, blocks of commands alone, and `maillage ...` in prose."""
    for language, block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            yield from (line[2:] for line in lines if line.startswith("$ "))
        elif language in ("", "console", "sh", "bash") and all(COMMAND.match(line) for line in lines):
            yield from lines
    yield from re.findall(r"`(maillage [^`]+)`", prose(text).replace("\n", " "))


def calls(line: str) -> Iterator[list[str]]:
    """The arguments of every `maillage` that a line of shell runs."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set("();<>|&"):
            if "maillage" in words and all(IN_FRONT.match(word) for word in words[: words.index("maillage")]):
                yield words[words.index("maillage") + 1 :]
            words = ["redirected to"] if ">" in token or "<" in token else []
        else:
            words.append(token)


def trouble(arguments: list[str]) -> str:
    """What the command line would say to these words; values are not looked at, but choices are."""
    command: click.Command = cli
    context = click.Context(cli, info_name="maillage")
    while isinstance(command, click.Group):
        if not arguments or arguments[0].isupper() or arguments[0].startswith("-"):
            return ""
        found = command.get_command(context, arguments[0])
        if found is None:
            return f"no command {arguments[0]!r}"
        command, arguments = found, arguments[1:]
        context = click.Context(command, parent=context)
    try:
        given, _, _ = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    for option in command.params:
        values = given.get(option.name or "")
        if isinstance(option.type, click.Choice) and values is not None:
            for value in values if isinstance(values, list | tuple) else (values,):
                if isinstance(value, str) and value not in option.type.choices and not value.isupper():
                    return f"{option.name} cannot be {value!r}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist_with_their_options(page: Path) -> None:
    wrong = {}
    for line in shown(page.read_text(encoding="utf-8")):
        if "maillage " in line:
            wrong |= {shlex.join(call): said for call in calls(line) if (said := trouble(call))}
    assert wrong == {}


def test_a_wrong_command_would_be_found() -> None:
    assert trouble(["job", "lst"])
    assert trouble(["run", "job.yaml", "--folow"])
    assert trouble(["job", "list", "-o", "xml"])
    assert list(calls("x=$(maillage job list -o name | head -1); xargs -n1 maillage top > out # why")) == [
        ["job", "list", "-o", "name"],
        ["top"],
    ]


# --- examples and what is made from code -----------------------------------------------------------


def is_network(documents: list[Any]) -> bool:
    sites = documents[0].get("sites")
    return isinstance(sites, list) and bool(sites) and isinstance(sites[0], dict)


def test_yaml_examples_are_read() -> None:
    read = 0
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language != "yaml":
                continue
            documents = list(yaml.safe_load_all(block))
            if all("name" not in document for document in documents):
                continue  # a key or two, not a file
            (loader.parse if is_network(documents) else specs.parse)(block, named(page))
            read += 1
    assert read >= 8


def make_docs() -> Any:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_from_code_is_fresh() -> None:
    old = [named(path) for path, text in make_docs().made().items() if path.read_text("utf-8") != text]
    assert old == [], "run `make docs`"


def test_the_worked_example_of_the_core_holds() -> None:
    page = DOCS / "explanation" / "decision-core.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted > 20
