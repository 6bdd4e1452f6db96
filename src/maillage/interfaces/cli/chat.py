"""`maillage chat`: talk to a deployed model through the gateway, as any OpenAI client would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.errors import Unreachable
from maillage.interfaces.cli.output import connected, emit, note

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

Message = dict[str, str]
WAIT_FOR_MODEL_S = 600.0


@click.command()
@click.argument("endpoint")
@click.argument("prompt", required=False)
@click.option("--system", help="The system message.")
@click.option("--max-tokens", type=click.IntRange(1), help="At most so many tokens of answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 for the likeliest words.")
@click.option("-o", "--output", "fmt", type=click.Choice(("text", "json")), default="text", show_default=True)
@connected
def chat(
    client: Client,
    endpoint: str,
    prompt: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    fmt: str,
) -> None:
    """Ask a model; without PROMPT a conversation, or the question from stdin.

    \b
    Examples:
      maillage chat chat "Name three French rivers."
      echo "Summarise: ..." | maillage chat chat
    """
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    settings = {"model": endpoint, "max_tokens": max_tokens, "temperature": temperature}
    body = {key: value for key, value in settings.items() if value is not None}
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is None:
        _converse(client, body, messages)
        return
    messages.append({"role": "user", "content": prompt})
    if fmt == "json":
        emit(client.json(_call({**body, "messages": messages})), "json")
    else:
        _answer(client, body, messages)


def _converse(client: Client, body: dict[str, Any], messages: list[Message]) -> None:
    note("an empty line or Ctrl-D ends the conversation")
    while True:
        try:
            asked = click.prompt("you", prompt_suffix="> ", default="", show_default=False, err=True)
        except click.Abort:
            note("")
            return
        if not asked.strip():
            return
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": _answer(client, body, messages)})


def _answer(client: Client, body: dict[str, Any], messages: list[Message]) -> str:
    """Print the answer as it comes; the whole of it comes back."""
    said: list[str] = []
    asked = {**body, "messages": messages, "stream": True}
    with client.stream(_call(asked)) as blocks:
        for event in _events(blocks):
            if "error" in event:
                raise Unreachable(str((event["error"] or {}).get("message") or event["error"]))
            for choice in event.get("choices") or ():
                piece = (choice.get("delta") or {}).get("content") or ""
                said.append(piece)
                sys.stdout.write(piece)
                sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(said)


def _call(body: dict[str, Any]) -> Any:
    from maillage.interfaces.sdk.wire import Call

    return Call("POST", "/v1/chat/completions", body=body, timeout_s=WAIT_FOR_MODEL_S)


def _events(blocks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event, until `[DONE]`."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            if line.startswith(b"data:") and data:
                yield json.loads(data)
