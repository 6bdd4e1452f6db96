"""A project's secrets, sealed with a key that lies beside the store in a file of its own (0600).

Values go in and reach runs; nothing shows them again. Without the key file they are lost: it belongs
in the backup, apart from the store.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from maillage.access import tables
from maillage.access.tokens import wall_ms
from maillage.errors import Conflict, Invalid, NotFound

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_VALUE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretInfo:
    name: str
    set_by: str
    set_at_ms: int


def write_private(path: Path, text: str) -> None:
    """A new file that only its owner can read, never a link followed. Raises FileExistsError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_private(path: Path) -> str:
    """Raises Conflict when others could read the file, FileNotFoundError when it is not there."""
    if path.stat().st_mode & 0o077:
        raise Conflict(f"{path} can be read by others: it holds a secret; `chmod 600 {path}`")
    return path.read_text().strip()


def load_key(path: Path) -> str:
    """The key in `path`, made there the first time."""
    with contextlib.suppress(FileExistsError):  # made by an earlier start
        write_private(path, Fernet.generate_key().decode())
    return read_private(path)


class Vault:
    """Sets and opens secrets of projects."""

    def __init__(self, engine: sa.Engine, key: str, now_ms: Callable[[], int] = wall_ms) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)  # a read takes no write lock
        self._seal = Fernet(key)
        self._now_ms = now_ms

    def put(self, project: str, name: str, value: str, by: str) -> SecretInfo:
        """Sets or replaces a secret. Raises Invalid."""
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:80]!r} is no name for a secret: it becomes an environment variable, as HF_TOKEN"
            )
        if not value or len(value.encode()) > _VALUE_MAX_BYTES or "\0" in value:
            raise Invalid("a secret's value has 1 to 65,536 bytes, none of them zero")
        row = {
            "sealed": self._seal.encrypt(f"{project}\n{name}\n{value}".encode()),
            "set_by": by,
            "set_at_ms": self._now_ms(),
        }
        table = tables.project_secrets
        with self._engine.begin() as db:
            here = (table.c.project == project, table.c.name == name)
            if not db.execute(sa.update(table).where(*here).values(row)).rowcount:
                db.execute(sa.insert(table).values(project=project, name=name, **row))
        return SecretInfo(name, by, int(str(row["set_at_ms"])))

    def listed(self, project: str) -> list[SecretInfo]:
        table = tables.project_secrets
        query = sa.select(table).where(table.c.project == project).order_by(table.c.name)
        with self._reader.connect() as db:
            return [SecretInfo(row.name, row.set_by, row.set_at_ms) for row in db.execute(query)]

    def delete(self, project: str, name: str) -> None:
        """Raises NotFound."""
        table = tables.project_secrets
        with self._engine.begin() as db:
            gone = db.execute(
                sa.delete(table).where(table.c.project == project, table.c.name == name)
            ).rowcount
        if not gone:
            raise NotFound(f"no secret {name!r} in project {project!r}")

    def open(self, project: str, names: Iterable[str]) -> dict[str, str]:
        """The values of those secrets. Raises NotFound naming every one that is missing."""
        wanted = sorted(set(names))
        table = tables.project_secrets
        query = sa.select(table.c.name, table.c.sealed).where(
            table.c.project == project, table.c.name.in_(wanted)
        )
        with self._reader.connect() as db:
            sealed: dict[str, bytes] = {row.name: row.sealed for row in db.execute(query)}
        missing = [name for name in wanted if name not in sealed]
        if missing:
            raise NotFound(
                f"project {project!r} has no secret {', '.join(missing)}: set it with "
                f"`maillage secret set {missing[0]} --project {project}`"
            )
        return {name: self._opened(project, name, sealed[name]) for name in wanted}

    def _opened(self, project: str, name: str, sealed: bytes) -> str:
        try:
            owner, of, value = self._seal.decrypt(sealed).decode().split("\n", 2)
        except InvalidToken:
            raise Conflict(
                f"secret {name!r} was sealed with another key: restore secrets.key, or set it again"
            ) from None
        if (owner, of) != (project, name):
            raise Conflict(f"secret {name!r} of project {project!r} was swapped in the store: set it again")
        return value
