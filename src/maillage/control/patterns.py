"""File patterns as .gitignore writes them, for what travels and what is kept.

`name` matches at any depth, `/name` and `a/name` from the top, `name/` folders only (and all in
them), `**` any number of folders, `!pattern` takes back; the last pattern that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Patterns:
    """Compiled patterns; blank lines and lines that start with # mean nothing."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool, bool]] = []  # expression, folders only, takes back
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            takes_back = text.startswith("!")
            text = text.removeprefix("!").removeprefix("./")
            folders_only = text.endswith("/")
            text = text.rstrip("/")
            if text:
                self._rules.append((_expression(text), folders_only, takes_back))

    def matches(self, name: str, *, is_folder: bool) -> bool:
        """Whether the path (relative, forward slashes) is meant.

        >>> Patterns(["*.o", "!keep.o"]).matches("build/a.o", is_folder=False)
        True
        """
        result = False
        for expression, folders_only, takes_back in self._rules:
            if (is_folder or not folders_only) and expression.fullmatch(name):
                result = not takes_back
        return result


def _expression(pattern: str) -> re.Pattern[str]:
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    parts = ["" if anchored else "(?:.*/)?"]
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            parts.append("[^/]")
            at += 1
        elif pattern[at] == "[" and "]" in pattern[at + 2 :]:
            end = pattern.index("]", at + 2)
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            parts.append("[^" + inside[1:] + "]" if inside.startswith("!") else "[" + inside + "]")
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    return re.compile("".join(parts), re.DOTALL)
