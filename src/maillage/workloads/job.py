"""The job spec: a gang of workers that runs to its end, and what becomes of it when something breaks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from maillage.documents import Finding, Findings, require
from maillage.documents.words import Digest, Duration, EnvName, OneOrMore
from maillage.units import DIGEST_PATTERN, ENV_NAME_PATTERN, format_duration, is_job_id
from maillage.workloads.request import ClassName, Request, Shape, no_nul, whole

MAX_ARRAY = 10_000
MAX_WORDS = 10_000  # of a command
MAX_TIME_LIMIT_S = 366 * 86400.0
MAX_ARGUMENT_BYTES = 128 * 1024  # Linux's MAX_ARG_STRLEN
MAX_COMMAND_BYTES = 1024 * 1024  # half of the usual ARG_MAX: the environment needs room too
OWN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def _command(value: Any) -> Any:
    if isinstance(value, str):
        raise Findings(
            Finding("must be a list of words", "write [python, train.py], or `script:` for shell text")
        )
    if isinstance(value, list | tuple):
        # a number with a point is no text that comes back as it was: 1.10 would be 1.1
        wrong = [index for index, word in enumerate(value) if type(word) not in (str, int)]
        require(Finding("is not text", "put it in quotes", (index,)) for index in wrong)
        return [str(word) for word in value]
    return value


def _relative(value: Any) -> Any:
    """A path that stays inside the folder it is relative to."""
    if not isinstance(value, str) or not value:
        raise Findings(Finding("must be a path", "write it relative, such as data/"))
    if value.startswith(("/", "~")) or ".." in value.split("/"):
        raise Findings(
            Finding(f"{value[:60]!r} leads out of the folder", "write a path inside it, such as data/")
        )
    require(no_nul(value, "the path", 4096, ()))
    return value


def _deadline(value: Any) -> datetime:
    mend = "write day, time and zone, such as 2026-12-01T08:00:00+01:00"
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Findings(Finding(f"{str(value)[:60]!r} is no instant", mend)) from None
    if instant.tzinfo is None:
        raise Findings(Finding(f"{str(value)[:60]!r} has no zone", mend))
    return instant


def _environment(value: Any) -> Any:
    if not isinstance(value, dict):
        raise Findings(Finding("must be a mapping of names to texts", "write KEY: value"))
    require(_environment_findings(value))
    return {key: str(text) for key, text in value.items()}


def _environment_findings(variables: dict[Any, Any]) -> Iterator[Finding]:
    if len(variables) > 1000:
        yield Finding("holds more than 1000 variables", "put them into a file of the workdir")
    for key, value in variables.items():
        if not isinstance(key, str) or not re.fullmatch(ENV_NAME_PATTERN, key, re.ASCII):
            yield Finding(
                f"{str(key)[:60]!r} is no name of a variable", "use letters, digits and '_'", (key,)
            )
        elif key in OWN_VARIABLES or key.startswith("MAILLAGE_"):
            yield Finding(f"{key} is set by the network", "take another name", (key,))
        elif not isinstance(value, str | int) or isinstance(value, bool):
            yield Finding("is not text", "put it in quotes", (key,))  # the value may be a secret: not shown
        else:
            yield from no_nul(str(value), "the value", MAX_ARGUMENT_BYTES, (key,))


def _below(value: Any) -> Any:
    """A relative path that is not the folder itself, written one way: `./a//b/` is `a/b`."""
    if value == "":
        return value
    parts = [part for part in str(_relative(value)).split("/") if part not in ("", ".")]
    if not parts:
        raise Findings(Finding("is the work folder itself", "name a folder in it, such as checkpoints"))
    return "/".join(parts)


RelativePath = Annotated[
    str,
    BeforeValidator(_relative),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["data/"]}),
]
Texts = Annotated[tuple[str, ...], OneOrMore()]


class Checkpoint(Shape):
    """Where checkpoints are written, how often they are kept, and how long a stop waits for a last one."""

    path: Annotated[
        str, BeforeValidator(_below), WithJsonSchema({"type": "string", "examples": ["checkpoints"]})
    ] = Field("", description="folder of the work folder that is $MAILLAGE_CHECKPOINT_DIR; else its own")
    interval: Duration = Field(60.0, description="time between two looks at the checkpoint folder")
    grace: Duration = Field(10.0, description="time between SIGTERM and SIGKILL")

    @model_validator(mode="after")
    def _in_bounds(self) -> Self:
        if self.interval < 1:
            raise Findings(Finding("is shorter than a second", "take 1s or more", ("interval",)))
        if self.grace > 3600:
            raise Findings(Finding("is longer than an hour", "take 1h or less", ("grace",)))
        return self


class Input(Shape):
    """Files brought into the work folder before the start."""

    job: str | None = Field(None, description="outputs of this job: a name in this file, or a job id")
    artifact: Digest | None = Field(None, description="an archive of the artifact store")
    to: RelativePath = Field(
        ".", description="folder below the work folder; an array's elements go to 0/, 1/, ... in it"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.job is None) == (self.artifact is None):
            raise Findings(Finding("needs one source", "write either `job:` or `artifact:`"))
        return self


class OnDisconnect(Shape):
    """What becomes of the work when its site cannot be seen. Unreachable is not failed."""

    keep_for: Duration = Field(600.0, description="wait so long for the site to be seen again")
    then: Literal["replace", "stop"] = Field("replace", description="after that: run elsewhere, or give up")
    site_stops_after: Duration = Field(
        300.0,
        description="cut off for so long, the site stops it (0: never); half of keep_for by default",
    )

    @model_validator(mode="before")
    @classmethod
    def _half_by_default(cls, value: Any) -> Any:
        if isinstance(value, dict) and "keep_for" in value and "site_stops_after" not in value:
            try:
                half_s = cls.model_validate({"site_stops_after": value["keep_for"]}).site_stops_after / 2
            except ValueError:
                return value  # keep_for is wrong, and says so itself
            return {**value, "site_stops_after": half_s}
        return value

    @model_validator(mode="after")
    def _no_two_copies(self) -> Self:
        if self.then == "replace" and not 0 < self.site_stops_after < self.keep_for:
            stops = format_duration(self.site_stops_after) if self.site_stops_after else "never"
            what = f"the site stops it after {stops}, it is replaced after {format_duration(self.keep_for)}"
            mend = "so that no two copies run, write less than keep_for (and not 0), or `then: stop`"
            raise Findings(Finding(what, mend, ("site_stops_after",)))
        return self


class JobSpec(Request):
    """A job: what to run, with what, until when, and what it needs and leaves."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["command"]}, {"required": ["script"]}]},
    )

    kind: Literal["job"] = Field("job", description="job is the default; the other kind is endpoint")
    command: Annotated[
        tuple[str, ...],
        BeforeValidator(_command),
        WithJsonSchema({"type": "array", "items": {"type": ["string", "integer"]}, "maxItems": MAX_WORDS}),
    ] = Field((), max_length=MAX_WORDS, description="the words of the command, run without a shell")
    script: str = Field("", description="shell text, run by bash; instead of `command`")
    workers: Annotated[int, whole(1, 100_000)] = Field(
        1, description="processes that start together (a gang), each with its RANK"
    )
    time_limit: Duration = Field(3600.0, description="the longest it may run; also what it is planned by")
    job_class: ClassName = Field(
        "standard", alias="class", description="reserved goes first; only flexible work is preempted"
    )
    priority: Annotated[int, whole(-1000, 1000)] = Field(0, description="higher goes first within a class")
    checkpoint: Checkpoint = Field(Checkpoint(), description="how its state is kept")
    retries: Annotated[int, whole(0, 1000)] = Field(
        0, description="how often it starts again after failing; a lost node or site costs none"
    )
    deadline: Annotated[
        datetime | None,
        BeforeValidator(lambda value: None if value is None else _deadline(value)),
        WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
    ] = Field(
        None,
        description="when it should have ended, with a zone; accepted, not yet acted on",
        examples=["2026-12-01T08:00:00+01:00"],
    )
    interruptible: bool = Field(
        False, strict=True, description="it may be stopped and resumed at will; accepted, not yet acted on"
    )
    after: Texts = Field((), max_length=1000, description="jobs that must succeed first: names or ids")
    array: Annotated[int, whole(1, MAX_ARRAY)] | None = Field(
        None, description="so many copies, told apart by $MAILLAGE_ARRAY_INDEX"
    )
    workdir: str = Field("", max_length=4096, description="folder that travels, relative to this file")
    inputs: tuple[Input, ...] = Field((), max_length=100, description="files it needs from elsewhere")
    outputs: Annotated[tuple[RelativePath, ...], OneOrMore()] = Field(
        ("**",), max_length=1000, description="patterns in $MAILLAGE_OUTPUT_DIR that are kept"
    )
    env: Annotated[
        dict[str, str],
        BeforeValidator(_environment),
        WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "integer"]}}),
    ] = Field(default_factory=dict, description="variables of its environment")
    secrets: Annotated[tuple[EnvName, ...], OneOrMore()] = Field(
        (), max_length=100, description="names of the project's secrets that it sees as variables"
    )
    on_disconnect: OnDisconnect = Field(OnDisconnect(), description="when its site cannot be seen")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        require(self._findings())
        return self

    def _second_copies(self) -> Iterator[Finding]:
        """A site that is cut off must be done stopping before the job may be replaced."""
        away, grace = self.on_disconnect, self.checkpoint.grace
        gone_s = away.site_stops_after + grace
        if away.then == "replace" and away.site_stops_after < away.keep_for <= gone_s:
            what = (
                f"the site may need until {format_duration(gone_s)} to stop it "
                f"(site_stops_after, then {format_duration(grace)} of grace), "
                f"it is replaced after {format_duration(away.keep_for)}"
            )
            mend = "so that no two copies run, write a longer keep_for, or a shorter checkpoint.grace"
            yield Finding(what, mend, ("on_disconnect", "keep_for"))

    def _findings(self) -> Iterator[Finding]:
        yield from self._second_copies()
        if not self.command and not self.script.strip():
            yield Finding("says nothing to run", "write `command: [python, train.py]` or `script: |`")
        if self.command and self.script.strip():
            yield Finding("stands beside `command`", "keep one of them", ("script",))
        if is_job_id(self.name):
            yield Finding(f"{self.name!r} looks like a job id", "take another name", ("name",))
        if not 1 <= self.time_limit <= MAX_TIME_LIMIT_S:
            what = f"{format_duration(self.time_limit)} is not between 1s and 366d"
            yield Finding(what, "write such as 10m or 2h", ("time_limit",))
        if self.name in self.after:
            yield Finding("comes after itself", "take its own name out", ("after",))
        for name in self.secrets:
            if name in self.env:
                yield Finding(f"{name} stands in `env` and in `secrets`", "keep one of them", ("env", name))
            if name in OWN_VARIABLES or name.startswith("MAILLAGE_"):
                yield Finding(f"{name} is set by the network", "rename the secret", ("secrets",))
        yield from self._text_findings()

    def _text_findings(self) -> Iterator[Finding]:
        for index, word in enumerate(self.command):
            yield from no_nul(word, "the argument", MAX_ARGUMENT_BYTES, ("command", index))
        if self.command and not self.command[0]:
            yield Finding("names no program", "write it as the first word", ("command", 0))
        if sum(len(word) for word in self.command) > MAX_COMMAND_BYTES:
            yield Finding("is longer than 1 MiB", "put it into a file of the workdir", ("command",))
        yield from no_nul(self.script, "the script", MAX_COMMAND_BYTES, ("script",))
        yield from no_nul(self.workdir, "the path", 4096, ("workdir",))

    @property
    def estimate_s(self) -> int:
        """Whole seconds it is planned by."""
        return math.ceil(self.time_limit)

    @property
    def workdir_digest(self) -> str:
        """The archive of its work folder, once a client has put the digest in the folder's place."""
        return self.workdir if re.fullmatch(DIGEST_PATTERN, self.workdir) else ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Jobs (names or ids) that must succeed first: those of `after`, and those it has inputs from."""
        given = [item.job for item in self.inputs if item.job is not None]
        return tuple(dict.fromkeys((*self.after, *given)))

    def body(self) -> dict[str, Any]:
        """JSON-ready, with the names of the text; reading it back gives the same spec."""
        return self.model_dump(mode="json", by_alias=True)
