"""The three troubles: the user's (raised here), the world's (becomes an event), ours (assert).

A `UserError` says what is wrong, where, and how to mend it. Its class decides the HTTP status
and the CLI's exit code, so no layer translates messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class UserError(Exception):
    """Something the user can mend. `exit_code` and `http_status` belong to the class."""

    exit_code = 1
    http_status = 400


class Invalid(UserError):
    """Input that breaks a rule: a spec, a network, an option."""

    exit_code = 2
    http_status = 422


class NotFound(UserError):
    exit_code = 3
    http_status = 404


class NotAllowed(UserError):
    exit_code = 4
    http_status = 403


class NotSignedIn(NotAllowed):
    http_status = 401


class Conflict(UserError):
    """The state of things forbids it: a name taken, a key reused, a quota used up."""

    exit_code = 5
    http_status = 409


class OutOfRange(Invalid):
    """A quantity outside the range its formula or series holds for."""


class TooLarge(Invalid):
    http_status = 413


class Unreachable(UserError):
    """A server or site does not answer, or cannot take work now; trying again may help."""

    exit_code = 6
    http_status = 503


class TimedOut(UserError):
    exit_code = 124
    http_status = 504


class Fault(UserError):
    """Our own mistake, met by one request alone: it is refused and the rest goes on."""

    http_status = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a text: where it stands, what it is, how to mend it.

    `line` counts from 1; 0 where no line is known. `where` is a path such as `sites[0].grid`.
    """

    where: str
    what: str
    mend: str = ""
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source or 'input'}:{self.line}" if self.line else (self.source or "input")
        mend = f" ({self.mend})" if self.mend else ""
        at = f" {self.where}:" if self.where else ""
        return f"{place}:{at} {self.what}{mend}"


class Problems(Invalid):
    """Every problem of one text at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
