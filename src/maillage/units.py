"""Quantities as text and back, the ids, and the sign rule.

One unit per quantity inside, named in the variable (`_s`, `_kw`, `_kwh`, `_g`, `_mib`, `credit_micros`);
text is converted here, at the edge. The sign rule, everywhere: what is drawn from the grid is positive;
what is fed into it, or given back, is negative.
"""

from __future__ import annotations

import re

CREDIT_MICROS = 1_000_000  # micro-credits in a credit
MAX_DURATION_S = 3660 * 86400.0  # ten years: what is longer is a slip of the pen

DURATION_PATTERN = r"^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+$|^\d+(?:\.\d+)?$"
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"  # a DNS label (RFC 1123)
JOB_ID_PATTERN = r"^j[0-9a-hjkmnp-tv-z]{13}$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]i?)?B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: in the order of its characters
_NOISE_BITS = 20


def parse_duration(text: str | float) -> float:
    """Seconds from `30s`, `10m`, `1h30m`, `2d`, or from a bare number of seconds; 0 to ten years.

    Raises ValueError with a sentence for people.

    >>> parse_duration("10m"), parse_duration("1h30m"), parse_duration(90)
    (600.0, 5400.0, 90.0)
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError("must be a duration such as 30s, 10m, 2h or 1d")
    bare = str(text).strip()
    if not re.fullmatch(DURATION_PATTERN, bare, re.ASCII):
        raise ValueError(f"must be a duration such as 30s, 10m, 2h or 1d, not {bare[:40]!r}")
    pieces = _PIECE.findall(bare)
    duration_s = sum(float(number) * _SECONDS[unit] for number, unit in pieces) if pieces else float(bare)
    if duration_s > MAX_DURATION_S:
        raise ValueError(f"must be at most ten years, not {bare[:40]!r}")
    return duration_s


def format_duration(duration_s: float) -> str:
    """The two largest units that say it, for people.

    >>> format_duration(5400), format_duration(90061), format_duration(0.25), format_duration(3599.6)
    ('1h30m', '1d1h', '250ms', '1h')
    """
    if duration_s < 0:
        return "-" + format_duration(-duration_s)
    if 0 < duration_s < 1:
        return f"{duration_s * 1000:.0f}ms"
    if duration_s < 10 and not float(duration_s).is_integer():
        return f"{duration_s:.1f}s"
    left_s = round(duration_s)
    pieces: list[str] = []
    for unit, size_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left_s = divmod(left_s, size_s)
        if count:
            pieces.append(f"{count}{unit}")
        elif pieces:
            break
    return "".join(pieces[:2]) or "0s"


def parse_size(text: str | int) -> int:
    """Bytes from `512MiB`, `16G`, `10 GB` or a bare number; `K` and `KB` are 1000, `Ki` is 1024.

    >>> parse_size("1MiB"), parse_size("10 GB")
    (1048576, 10000000000)
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"must be a size such as 512MiB or 10GB, not {str(text)[:40]!r}")
    prefix = (match[2] or "").lower()
    step = 1024 if prefix.endswith("i") else 1000
    return round(float(match[1]) * float(step ** _POWERS[prefix.rstrip("i")]))


def format_size(size_bytes: int) -> str:
    """
    >>> format_size(1536), format_size(98 * 2**20), format_size(7)
    ('1.5 KiB', '98 MiB', '7 B')
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.1f}".removesuffix(".0") + f" {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def credit_micros(credits: float) -> int:
    """Whole micro-credits, rounded to nearest.

    >>> credit_micros(0.02)
    20000
    """
    return round(credits * CREDIT_MICROS)


def format_credits(micros: int) -> str:
    """
    >>> format_credits(1_234_567), format_credits(-20_000), format_credits(3_000_000)
    ('1.234567', '-0.02', '3')
    """
    whole, rest = divmod(abs(micros), CREDIT_MICROS)
    text = f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if micros < 0 else text


def job_id(at_ms: int, noise: int) -> str:
    """`j` + 13 characters: 45 bits of Unix milliseconds, 20 bits of `noise`. Sorts by time as text.

    Both are the caller's, so that ids are data. Raises ValueError outside the bits.

    >>> job_id(1_764_000_000_000, 5)
    'j1kav9ft000005'
    """
    if not (0 <= at_ms < 1 << 45 and 0 <= noise < 1 << _NOISE_BITS):
        raise ValueError("at_ms takes 45 bits, noise 20")
    number = at_ms << _NOISE_BITS | noise
    return "j" + "".join(_BASE32[number >> shift & 31] for shift in range(60, -1, -5))


def is_job_id(text: str) -> bool:
    return re.fullmatch(JOB_ID_PATTERN, text) is not None


def run_id(job: str, attempt: int) -> str:
    """The name of an attempt, from 1 on.

    >>> run_id("j1kav9ft000005", 2)
    'j1kav9ft000005.2'
    """
    return f"{job}.{attempt}"


def split_run_id(run: str) -> tuple[str, int]:
    """
    >>> split_run_id("j1kav9ft000005.2")
    ('j1kav9ft000005', 2)
    """
    job, dot, attempt = run.rpartition(".")
    if not dot or not attempt.isdecimal():
        raise ValueError(f"{run[:80]!r} is not a run id such as JOB.1")
    return job, int(attempt)
