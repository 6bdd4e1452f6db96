"""Where is the network, and who am I there?

First that answers wins: `--url`, `--data`, `MAILLAGE_URL`, `MAILLAGE_DATA`, the login kept by
`maillage login`, and last the default data folder of this machine. A token never stands in argv:
it comes from `MAILLAGE_TOKEN`, the login file or the data folder, both readable by their owner only.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maillage.errors import Invalid, NotAllowed, Unreachable

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Connection:
    """An address without a trailing slash, a token (may be empty) and where both were found."""

    url: str
    token: str
    source: str

    def __repr__(self) -> str:
        return f"Connection({self.url!r}, source={self.source!r})"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a running network wrote into its data folder. `started_at` is ISO 8601."""

    pid: int
    url: str
    started_at: str


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/maillage`, else `~/.local/share/maillage`."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "maillage"


def data_folder(option: str | Path | None = None) -> Path:
    """The data folder: the option, else `MAILLAGE_DATA`, else the default one."""
    chosen = option or os.environ.get("MAILLAGE_DATA")
    return Path(chosen).expanduser().absolute() if chosen else default_data_folder()


def login_file() -> Path:
    """`$XDG_CONFIG_HOME/maillage/login.json`, else under `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "maillage" / "login.json"


def read_server(folder: Path) -> ServerRecord | None:
    """What runs over this data folder by its own word; None where nothing was left there."""
    document = _read_json(folder / "server.json")
    if document is None:
        return None
    try:
        return ServerRecord(int(document["pid"]), str(document["url"]), str(document.get("started_at", "")))
    except (KeyError, TypeError, ValueError) as trouble:
        raise Invalid(
            f"{folder / 'server.json'} is not what `maillage up` writes ({trouble}); remove it"
        ) from None


def find(url: str | None = None, data: str | Path | None = None, token: str | None = None) -> Connection:
    """The network to talk to.

    Raises Unreachable where none can be found, saying how to get one.
    """
    if url:
        return _from_url(url, "--url", token)
    if not data and (named := os.environ.get("MAILLAGE_URL")):
        return _from_url(named, "MAILLAGE_URL", token)
    if not data and not os.environ.get("MAILLAGE_DATA") and (kept := read_login()):
        return Connection(kept.url, token or os.environ.get("MAILLAGE_TOKEN") or kept.token, kept.source)
    return _from_folder(data_folder(data), token)


def check_url(url: str) -> str:
    """The address without its trailing slash. Raises Invalid for what is not one."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise Invalid(
            f"{url!r} is no address of a network; it looks like https://network.example or http://127.0.0.1:8470"
        )
    if parts.username or parts.password:
        raise Invalid(
            "an address holds no user or password; the token goes to `maillage login URL` or MAILLAGE_TOKEN"
        )
    return url.rstrip("/")


def is_private_line(url: str) -> bool:
    """Whether a token may travel there: encrypted, or never leaving this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.hostname or "") in LOOPBACK_HOSTS


def read_login() -> Connection | None:
    """The login kept by `maillage login`, if there is one."""
    path = login_file()
    document = _read_json(path)
    if document is None:
        return None
    if not isinstance(document.get("url"), str) or not isinstance(document.get("token"), str):
        raise Invalid(f"{path} is damaged; say `maillage logout`, then log in again")
    return Connection(document["url"], document["token"], str(path))


def write_login(url: str, token: str) -> Path:
    """Keep a login for the commands to come, in a file only its owner can read."""
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".login.{os.getpid()}.tmp")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"url": url, "token": token}, stream)
    part.replace(path)
    return path


def forget_login() -> bool:
    """Whether there was a login to forget."""
    path = login_file()
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _from_url(url: str, source: str, token: str | None) -> Connection:
    address = check_url(url)
    given = token or os.environ.get("MAILLAGE_TOKEN")
    if not given:
        given = _token_for(address)
    return Connection(address, given, source)


def _token_for(address: str) -> str:
    """A token this machine already keeps for exactly that address."""
    if (kept := read_login()) and kept.url == address:
        return kept.token
    folder = data_folder()
    record = read_server(folder)
    if record is not None and record.url.rstrip("/") == address:
        return _read_token(folder)
    return ""


def _from_folder(folder: Path, token: str | None) -> Connection:
    record = read_server(folder)
    if record is None:
        raise Unreachable(
            f"no network is up in {folder}\n"
            "Start one here with `maillage up --detach`, or join one with `maillage login URL`"
            " (or set MAILLAGE_URL and MAILLAGE_TOKEN)."
        )
    given = token or os.environ.get("MAILLAGE_TOKEN") or _read_token(folder)
    return Connection(record.url.rstrip("/"), given, str(folder))


def _read_token(folder: Path) -> str:
    path = folder / "admin.token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except PermissionError:
        raise NotAllowed(
            f"{path} belongs to whoever started that network; ask them for a token and set MAILLAGE_TOKEN"
        ) from None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise NotAllowed(f"{path} cannot be read by you") from None
    except ValueError:
        raise Invalid(f"{path} is damaged; remove it") from None
    return document if isinstance(document, dict) else {}
