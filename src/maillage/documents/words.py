"""The kinds of words that several files use, as Pydantic types with sentences for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from maillage.documents.fit import Finding, Findings
from maillage.units import DIGEST_PATTERN, DURATION_PATTERN, ENV_NAME_PATTERN, NAME_PATTERN, parse_duration


def word(pattern: str, noun: str, mend: str) -> Callable[[Any], str]:
    """A validator: text that matches `pattern` whole, or "is no <noun>" and how to mend it."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Findings(Finding(f"must be text, not {_kind(value)}", mend))
        if not re.fullmatch(pattern, value, re.ASCII):
            raise Findings(Finding(f"{value[:60]!r} is no {noun}", mend))
        return value

    return check


def number_or_word(special: str, check: Callable[[float], bool], mend: str) -> Callable[[Any], Any]:
    """A validator: a number that passes `check`, or one special word."""

    def validate(value: Any) -> Any:
        if value == special:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not check(value):
            raise Findings(
                Finding(f"{str(value)[:40]!r} is neither a number that fits nor `{special}`", mend)
            )
        return value

    return validate


def _duration(value: Any) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise Findings(Finding(str(error))) from None


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)


def _text_schema(pattern: str, *examples: str) -> WithJsonSchema:
    shown = {"examples": list(examples)} if examples else {}
    return WithJsonSchema({"type": "string", "pattern": pattern, **shown})


class OneOrMore:
    """In an annotation of a tuple: one word stands for a list of one, in the text and in the schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(listed, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


def listed(value: Any) -> Any:
    """One word as a list of one."""
    return [value] if isinstance(value, str) else value


Name = Annotated[
    str,
    BeforeValidator(word(NAME_PATTERN, "name", "use lower-case letters, digits and '-', at most 63")),
    _text_schema(NAME_PATTERN),
]
Country = Annotated[
    str,
    BeforeValidator(word(r"[A-Z]{2}", "country", "write two capital letters (ISO 3166-1), such as FR")),
    _text_schema("^[A-Z]{2}$", "FR"),
]
EnvName = Annotated[
    str,
    BeforeValidator(word(ENV_NAME_PATTERN, "name of a variable", "use letters, digits and '_'")),
    _text_schema(ENV_NAME_PATTERN, "HF_TOKEN"),
]
Digest = Annotated[
    str,
    BeforeValidator(word(DIGEST_PATTERN, "digest", "write sha256: and 64 hexadecimal digits")),
    _text_schema(DIGEST_PATTERN, "sha256:" + "0" * 64),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(lambda value: int(value) if float(value).is_integer() else value, return_type=float),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "minimum": 0}],
            "examples": ["30s", "10m", "2h", "1d"],
        }
    ),
]
