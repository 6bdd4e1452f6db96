"""Values in words for people: ages, durations, amounts, coloured states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

STATE_STYLES = {
    "pending": "yellow",
    "scheduled": "cyan",
    "assigned": "cyan",
    "accepted": "cyan",
    "starting": "cyan",
    "deploying": "cyan",
    "running": "blue",
    "ready": "green",
    "succeeded": "green",
    "open": "green",
    "failed": "red",
    "expired": "red",
    "unreachable": "red",
    "returned": "magenta",
    "drained": "magenta",
    "cancelled": "bright_black",
}


def plain(value: Any) -> str:
    """Any value as text that Rich does not read as markup."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        value = ", ".join(str(item) for item in value) or "-"
    return safe(str(value))


def safe(text: str) -> str:
    """Text from elsewhere for a terminal: no markup, no control characters."""
    shown = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
    return shown.replace("[", "\\[")


def state(value: Any) -> str:
    text = str(value or "-")
    style = STATE_STYLES.get(text.split(" ")[0])
    return f"[{style}]{safe(text)}[/{style}]" if style else safe(text)


def number(value: Any, digits: int = 3) -> str:
    """At most `digits` significant digits, no exponent for what a person meets.

    >>> number(0.00123), number(1234.5), number(2.0)
    ('0.00123', '1,234', '2')
    """
    if value is None:
        return "-"
    amount = float(value)
    if amount == 0 or abs(amount) >= 100:
        return f"{amount:,.0f}"
    text = f"{amount:.{digits}g}"
    return f"{amount:.1e}" if "e" in text else text


def duration(seconds: Any) -> str:
    """Two units at most.

    >>> duration(0.0121), duration(3.25), duration(75), duration(7300), duration(200000)
    ('12ms', '3.2s', '1m15s', '2h1m', '2d7h')
    """
    if seconds is None:
        return "-"
    left = float(seconds)
    if left < 0:
        return f"-{duration(-left)}"
    if left < 1:
        return f"{left * 1000:.0f}ms" if left else "0s"
    if left < 10:
        return f"{left:.1f}s"
    whole = round(left)
    for unit, size, small, small_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{unit}" + (f"{rest}{small}" if rest else "")
    return f"{whole}s"


def since(instant: Any, until: Any = None) -> float | None:
    """Seconds from one ISO 8601 instant to another, or to now; None where the first is missing."""
    if not instant:
        return None
    end = datetime.fromisoformat(until) if until else datetime.now(UTC)
    return max(0.0, (end - datetime.fromisoformat(instant)).total_seconds())


def age(instant: Any) -> str:
    return duration(since(instant))


def clock(instant: Any) -> str:
    """An instant in the reader's own time zone: the time alone for today, with its day otherwise."""
    if not instant:
        return "-"
    local = datetime.fromisoformat(instant).astimezone()
    same_day = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")


def credits(micros: Any) -> str:
    """Whole millionths of a credit as credits.

    >>> credits(1_250_000), credits(12)
    ('1.25', '0.000012')
    """
    return "-" if micros is None else f"{int(micros) / 1e6:.6f}".rstrip("0").rstrip(".")


def energy(kwh: Any) -> str:
    """Energy in the unit that reads best.

    >>> energy(0.00002), energy(0.5), energy(1234567.0)
    ('20 mWh', '500 Wh', '1.23 GWh')
    """
    return _scaled(kwh, 1e-9, ("µWh", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh"))


def carbon(grams: Any) -> str:
    """Mass of CO2 equivalent in the unit that reads best.

    >>> carbon(0.0004), carbon(12.5), carbon(2_500_000)
    ('400 µg', '12.5 g', '2.5 t')
    """
    return _scaled(grams, 1e-9, ("ng", "µg", "mg", "g", "kg", "t", "kt"))


def _scaled(value: Any, smallest: float, units: tuple[str, ...]) -> str:
    if value is None:
        return "-"
    amount = float(value) / smallest
    for unit in units[:-1]:
        if abs(amount) < 1000:
            return f"{number(amount)} {unit}"
        amount /= 1000
    return f"{number(amount)} {units[-1]}"


def size(count: Any) -> str:
    """Bytes in binary units.

    >>> size(999), size(1536)
    ('999 B', '1.5 KiB')
    """
    amount = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
