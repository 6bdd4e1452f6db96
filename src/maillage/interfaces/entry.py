"""Where the command begins: Ctrl-C while it is still being loaded ends it without a traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED_EXIT = 130


def main() -> NoReturn:
    """Load the command line and run it."""
    try:
        from maillage.interfaces.cli import main as command

        command()
    except KeyboardInterrupt:  # while loading, or while leaving: in between the command itself takes it
        sys.exit(INTERRUPTED_EXIT)


if __name__ == "__main__":
    main()
