"""What `up` says: JSON lines for machines, and a few words of progress for whoever waits at the terminal."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from pathlib import Path
from typing import IO, Any

import orjson
import structlog

_SECRET = re.compile(r"mlg_[A-Za-z0-9_-]{43}")
_HIDDEN = "mlg_***"
_MAX_BYTES = 64 * 1024 * 1024


def open_journal(data_dir: Path) -> IO[bytes]:
    """Send all logging to stderr when that is a file or pipe, else (a terminal) to `up.log`. The stream."""
    stream: IO[bytes]
    stream = sys.stderr.buffer if not sys.stderr.isatty() else _log_file(data_dir / "up.log")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
        ),  # never locals: they hold people's secrets
        _without_secrets,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.add_logger_name, *shared,
                    structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )  # fmt: skip
    lines = logging.StreamHandler(_Text(stream))
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _json],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(logging.INFO)
    for noisy in ("alembic", "uvicorn", "httpx", "httpcore", "aiohttp.access", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    return stream


class _Text:
    """A text stream over bytes, one write a line, so that lines of several threads do not mix."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.encode("utf-8", "replace"))

    def flush(self) -> None:
        self._stream.flush()


def say(words: str) -> None:
    """One line of progress for the person who waits. Never data: stdout stays empty."""
    print(words, file=sys.stderr, flush=True)  # noqa: T201


def _log_file(path: Path) -> IO[bytes]:
    """`up.log`, begun anew beside its predecessor when it has grown large."""
    if path.exists() and path.stat().st_size > _MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600, exist_ok=True)
    return path.open("ab", buffering=0)


def _without_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """No token is ever written, whatever was logged with it."""
    for key, value in event.items():
        if isinstance(value, str) and "mlg_" in value:
            event[key] = _SECRET.sub(_HIDDEN, value)
    return event


def _json(_: Any, __: str, event: structlog.typing.EventDict) -> str:
    line = orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return _SECRET.sub(_HIDDEN, line)
