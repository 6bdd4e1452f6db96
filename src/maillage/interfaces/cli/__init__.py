"""The command `maillage`: noun verb, data on stdout, everything else on stderr.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 conflict or quota, 6 unreachable,
124 timed out, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn, TextIO

import rich_click as click
from click.exceptions import Exit

from maillage import __version__
from maillage.errors import UserError
from maillage.interfaces.cli.lazy import SIGPIPE_EXIT, LazyGroup

click.rich_click.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
if os.environ.get("NO_COLOR"):
    click.rich_click.COLOR_SYSTEM = None
INTERRUPTED_EXIT = 130

COMMANDS = {
    "up": "network:up",
    "down": "network:down",
    "status": "network:status",
    "run": "run:run",
    "job": "jobs:job",
    "endpoint": "endpoints:endpoint",
    "chat": "chat:chat",
    "shell": "shell:shell",
    "site": "sites:site",
    "top": "top:top",
    "org": "people:org",
    "project": "people:project",
    "user": "people:user",
    "token": "keys:token",
    "secret": "keys:secret",
    "login": "login:login",
    "logout": "login:logout",
    "whoami": "login:whoami",
    "network": "files:network",
    "log": "logexport:log",
    "replay": "files:replay",
    "completion": "completion:completion",
    "version": "completion:version",
}


@click.group(cls=LazyGroup, commands_at=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="maillage", message="%(prog)s %(version)s")
def cli() -> None:
    """Several AI campuses as one network: ask once, and it decides where and when.

    \b
    Examples:
      maillage up --detach                 start a network on this machine
      maillage run job.yaml --follow       submit, and watch it
      maillage job why train-gpt           why does it wait?
      maillage chat chat "Bonjour"         ask a deployed model
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code. No traceback for what the user can mend."""
    sys.stdout = sys.stdout or _nowhere()  # both are None where a shell closed them: `>&-`
    sys.stderr = sys.stderr or _nowhere()
    try:
        code = cli.main(args=args, prog_name="maillage", standalone_mode=False)
    except UserError as trouble:
        code = _say(trouble)
    except Exit as wanted:
        code = wanted.exit_code
    except click.ClickException as trouble:
        trouble.show()
        code = trouble.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n" if sys.stderr.isatty() else "")
        code = INTERRUPTED_EXIT
    except OSError as trouble:  # a help page that cannot be written: that is no command yet
        if trouble.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        code = _unwritten(trouble)
    _leave(code if isinstance(code, int) else 0)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _say(trouble: UserError) -> int:
    """`Error:` and its lines, on stderr."""
    first, *rest = (str(trouble) or type(trouble).__name__).split("\n")
    red = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    sys.stderr.write(f"\x1b[1;31mError:\x1b[0m {first}\n" if red else f"Error: {first}\n")
    sys.stderr.writelines(f"       {line}\n" for line in rest)
    return trouble.exit_code


def _leave(code: int) -> NoReturn:
    """Exit without a word when nobody reads our output any more."""
    try:
        sys.stdout.flush()
    except OSError as trouble:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not code or trouble.errno == errno.EPIPE:
            code = _unwritten(trouble)
    sys.exit(code)


def _unwritten(trouble: OSError) -> int:
    if trouble.errno == errno.EPIPE:
        return SIGPIPE_EXIT
    return _say(UserError(f"the output cannot be written ({trouble.strerror}); it is not whole"))
