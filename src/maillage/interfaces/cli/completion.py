"""`maillage completion` and `maillage version`."""

from __future__ import annotations

import rich_click as click

from maillage import __version__
from maillage.interfaces.cli.output import emit


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes a shell complete our commands.

    \b
    Examples:
      source <(maillage completion bash)
      maillage completion fish > ~/.config/fish/completions/maillage.fish
    """
    from click.shell_completion import get_completion_class

    from maillage.interfaces.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "maillage", "_MAILLAGE_COMPLETE").source())


@click.command()
@click.option(
    "-o", "--output", "fmt", type=click.Choice(("table", "json")), default="table", show_default=True
)
def version(fmt: str) -> None:
    """The version of this client."""
    if fmt == "json":
        emit({"version": __version__}, "json")
    else:
        click.echo(__version__)
