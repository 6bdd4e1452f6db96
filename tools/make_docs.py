"""Writes again what the documentation takes from code: `make docs`. `--check` only says what is out of date.

Made here: the OpenAPI document, the role table, the lifecycle's tables, and every command with its
options. The tests compare each with what stands in the repository.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import rich_click as click

from maillage.access import roles
from maillage.interfaces.api.document import openapi_text
from maillage.interfaces.cli import cli
from maillage.workloads.lifecycle import table_markdown

DOCS = Path(__file__).resolve().parents[1] / "docs"
BELOW_THE_LINE = "\n---\n"
WORDS = {"integer": "N", "integer range": "N", "float": "NUMBER", "float range": "NUMBER"}
HEAD = """\
# Every command and its options

Written by `make docs` from the commands themselves; a test compares the two. How they behave together
(where the network is found, outputs, exit codes): [the command line](cli.md). Each command also has `--help`.
"""


def made() -> dict[Path, str]:
    """Every file that is made from code, whole."""
    lifecycle = DOCS / "reference" / "lifecycle.md"
    by_hand, _, _ = lifecycle.read_text(encoding="utf-8").partition(BELOW_THE_LINE)
    return {
        DOCS / "openapi.json": openapi_text(),
        DOCS / "reference" / "roles.md": roles.markdown(),
        lifecycle: f"{by_hand}{BELOW_THE_LINE}\n{table_markdown()}\n",
        DOCS / "reference" / "commands.md": HEAD + "".join(_page(*found) for found in commands(cli)),
    }


def commands(
    group: click.Command, path: tuple[str, ...] = ("maillage",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """(its words, the command) of every command that is no group, in the order of the help."""
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from commands(command, (*path, name))


def _page(path: tuple[str, ...], command: click.Command) -> str:
    arguments = [_argument(one) for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    words = " ".join([*path, *arguments])
    lines = [f"\n## {' '.join(path)}", "```console", f"$ {words}", "```", _help(command)]
    if options:
        lines += ["", "| option | |", "|---|---|"]
        lines += [f"| {_option(one)} | {_meaning(one)} |" for one in options]
    return "\n".join(lines) + "\n"


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").strip("[]")
    name = name if argument.metavar else name.upper()
    name += "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return name if argument.required else f"[{name}]"


def _help(command: click.Command) -> str:
    """What it does, without the examples."""
    text = re.split(r"\n\s*\x08", command.help or "")[0]
    return " ".join(text.split())


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} " + ", ".join(str(choice) for choice in option.type.choices)
    return f"{names} {option.metavar or WORDS.get(option.type.name, option.type.name.upper())}"


def _meaning(option: click.Option) -> str:
    text = (option.help or "").replace("|", "\\|").strip()
    if option.required:
        text += " Needed."
    elif isinstance(option.show_default, bool) and option.show_default and option.default is not None:
        text += f" Default: {option.default}."
    return text.strip()


def _stands(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when one differs")
    check = parser.parse_args().check
    old = {path: text for path, text in made().items() if not _stands(path, text)}
    for path, text in old.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and old:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
