"""How a receipt is shown: in one line, and whole with where each figure comes from."""

from __future__ import annotations

from typing import Any

from maillage.interfaces.cli import words
from maillage.interfaces.cli.output import Column, Json, table

STAYS = (
    Column("SITE", lambda stay: stay.get("site")),
    Column("FROM", lambda stay: stay.get("from"), show=words.clock),
    Column("TO", lambda stay: stay.get("to"), show=words.clock),
    Column("ACCELERATOR-S", lambda stay: stay.get("accelerator_s"), right=True, show=words.number),
    Column("CPU-S", lambda stay: stay.get("cpu_s"), right=True, show=words.number),
    Column("CREDITS", lambda stay: _credits(stay), right=True),
    Column("ENERGY", lambda stay: stay.get("energy_kwh"), right=True, show=words.energy),
    Column("CO2E", lambda stay: stay.get("carbon_g"), right=True, show=words.carbon),
)


def line(receipt: Json) -> str:
    """A receipt in one line, as plain text."""
    waived = receipt.get("waived_credits_micros")
    said = [
        f"waited {words.duration(receipt.get('wait_s'))}",
        f"{words.number(receipt.get('accelerator_s'))} accelerator-s",
        f"{words.credits(receipt.get('credits_micros'))} credits"
        + (f" ({words.credits(waived)} waived)" if waived else ""),
        words.energy(receipt.get("energy_kwh")),
        f"{words.carbon(receipt.get('carbon_g'))} CO2e",
    ]
    return ", ".join(said)


def page(receipt: Json) -> list[Any]:
    """The sum, the stay at each site, and method and source of every figure."""
    from rich.padding import Padding

    parts: list[Any] = [f"  {line(receipt)}"]
    if stays := receipt.get("sites"):
        parts.append(Padding(table(stays, STAYS), (0, 0, 0, 2)))
    told = [f"energy: {receipt['energy_method']}"] if receipt.get("energy_method") else []
    told += [f"{name}: {_source(signal)}" for name, signal in (receipt.get("signals") or {}).items()]
    told += [str(note) for note in receipt.get("notes") or ()]
    parts += [Padding(f"[dim]{words.safe(text)}[/dim]", (0, 0, 0, 2)) for text in told]
    return parts


def _credits(stay: Json) -> str:
    """A stay that a site's fault ended is on the house."""
    return "waived" if stay.get("charged") is False else words.credits(stay.get("credits_micros"))


def _source(signal: Any) -> str:
    if not isinstance(signal, dict):
        return str(signal)
    return "; ".join(
        str(signal[key]) for key in ("method", "boundary", "source", "vintage") if signal.get(key)
    )
