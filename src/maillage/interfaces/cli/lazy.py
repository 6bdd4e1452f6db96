"""Commands that are imported when they are called: `maillage job list` loads what it needs and no more."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Mapping
from typing import Any

import rich_click as click
from click.exceptions import Exit

from maillage.errors import UserError

SIGPIPE_EXIT = 141  # 128 + SIGPIPE, as a shell has it


class LazyGroup(click.RichGroup):
    """A group whose commands are named as `module:attribute` below `maillage.interfaces.cli`."""

    def __init__(self, *args: Any, commands_at: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._at = dict(commands_at or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._at, *(name for name in super().list_commands(ctx) if name not in self._at)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._at.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, attribute = place.split(":")
        command: click.Command = getattr(
            importlib.import_module(f"maillage.interfaces.cli.{module}"), attribute
        )
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As Click does; nobody reading any more is no failure of ours, and Click would call it one."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Exit(SIGPIPE_EXIT) from None
        except OSError as trouble:
            if trouble.errno != errno.ENOSPC:
                raise
            raise UserError(f"the disk is full ({trouble.filename or 'where the output goes'})") from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As Click does, with the nearest names when there is no such command."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)
