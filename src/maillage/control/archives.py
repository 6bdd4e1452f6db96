"""Folders that travel: pack one into an archive that is the same bytes everywhere, unpack it safely.

An archive is a plain tar: sorted, without times, owners or compression, so that the same files give
the same digest on every machine. It holds regular files, folders and symlinks that stay inside.
Standard library only: the client packs work folders with it before anything heavy is imported.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from maillage.control.patterns import Patterns
from maillage.errors import Invalid, NotFound, TooLarge, UserError

IGNORE_FILE = ".maillageignore"
ALWAYS_IGNORED = (".git/", "__pycache__/", ".venv/", "node_modules/", ".DS_Store")
MAX_BYTES = 2 * 1024**3
MAX_FILES = 200_000
ESCAPES_TOLD = 50
_BLOCK = 1024 * 1024
_NOT_PLAIN = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive on disk. `skipped` names what was left out because it cannot travel."""

    path: Path
    digest: str
    size_bytes: int
    files: tuple[tuple[str, int], ...]  # path inside, bytes
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # relative, with forward slashes
    path: Path
    info: os.stat_result
    link: str = ""


class _Digesting(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        written = self._file.write(data)
        self.size_bytes += written
        return written

    def tell(self) -> int:
        return self.size_bytes


def pack(
    folder: Path,
    *,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = ("**",),
    max_bytes: int = MAX_BYTES,
    strict: bool = True,
    into: Path | None = None,
) -> Packed:
    """The folder as an archive in `into` (default: the system's temporary folder); the caller deletes it.

    `ignore` adds to the folder's own .maillageignore; a file is taken if it matches `keep`. With
    `strict` a symlink that leads outside is refused by name, otherwise it is left out and told in
    `skipped`. Raises UserError (NotFound, Invalid, TooLarge) for what a person can mend.
    """
    entries, skipped = _chosen(folder, ignore, keep, max_bytes, strict)
    return _write(entries, skipped, into)


def look(folder: Path) -> tuple[str, ...]:
    """What `pack` would leave out of the folder, without packing it. Refuses what `pack` refuses by sight."""
    return _chosen(folder, (), ("**",), MAX_BYTES, strict=True)[1]


def _chosen(
    folder: Path, ignore: Sequence[str], keep: Sequence[str], max_bytes: int, strict: bool
) -> tuple[list[_Entry], tuple[str, ...]]:
    """What travels, in the archive's order, and what is left out because it cannot."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder")
    patterns = Patterns((*ALWAYS_IGNORED, *_ignore_lines(folder), *ignore))
    kept = None if "**" in keep else Patterns(keep)
    skipped: list[str] = []
    escapes: list[str] = []
    entries = [
        entry
        for entry in _walk(folder, folder.resolve(), patterns, skipped, escapes)
        if kept is None
        or (not stat.S_ISDIR(entry.info.st_mode) and kept.matches(entry.name, is_folder=False))
    ]
    if strict and escapes:
        _refuse_escapes(folder, escapes)
    skipped += [f"{name}: a symlink that leads outside" for name in escapes]
    _refuse_too_large(folder, entries, max_bytes)
    entries.sort(key=lambda entry: os.fsencode(entry.name))
    return entries, tuple(skipped)


def _refuse_escapes(folder: Path, escapes: Sequence[str]) -> NoReturn:
    told = [
        f"{folder / name} is a symlink that leads outside the folder (to {os.readlink(folder / name)})"  # noqa: PTH115
        for name in sorted(escapes)
    ]
    more = [f"and {len(told) - ESCAPES_TOLD} more"] if len(told) > ESCAPES_TOLD else []
    mend = f"copy {'its target' if len(told) == 1 else 'their targets'} in, or name "
    mend += f"{'it' if len(told) == 1 else 'them'} in {IGNORE_FILE}"
    raise Invalid("\n".join([*told[:ESCAPES_TOLD], *more]) + f"; {mend}")


def _ignore_lines(folder: Path) -> list[str]:
    try:
        return (folder / IGNORE_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise Invalid(f"{folder / IGNORE_FILE} is not text in UTF-8") from None


def _walk(
    folder: Path, root: Path, patterns: Patterns, skipped: list[str], escapes: list[str], prefix: str = ""
) -> Iterator[_Entry]:
    try:
        children = list(os.scandir(folder))
    except FileNotFoundError:
        raise FolderChanged(f"{folder} vanished while it was being packed; try again") from None
    except PermissionError:
        raise Invalid(
            f"{folder} cannot be read; change its permissions or name it in {IGNORE_FILE}"
        ) from None
    for child in children:
        name = prefix + child.name
        path = Path(child.path)
        try:
            info = child.stat(follow_symlinks=False)
        except FileNotFoundError:
            raise FolderChanged(f"{path} vanished while its folder was being packed; try again") from None
        if patterns.matches(name, is_folder=stat.S_ISDIR(info.st_mode)):
            continue
        if stat.S_ISDIR(info.st_mode):
            yield _Entry(name, path, info)
            yield from _walk(path, root, patterns, skipped, escapes, name + "/")
        elif stat.S_ISREG(info.st_mode):
            yield _Entry(name, path, info)
        elif stat.S_ISLNK(info.st_mode):
            link = _inside_link(path, root)
            if link:
                yield _Entry(name, path, info, link)
            else:
                escapes.append(name)
        else:
            skipped.append(f"{name}: not a file, folder or symlink")


def _inside_link(path: Path, root: Path) -> str:
    """The link's target relative to its folder, or "" if following it leaves `root` or never ends."""
    try:
        target = path.resolve()
        if not target.is_relative_to(root):
            return ""
    except (OSError, RuntimeError):  # a link in a circle
        return ""
    return os.path.relpath(target, path.parent.resolve())


def _refuse_too_large(folder: Path, entries: Sequence[_Entry], max_bytes: int) -> None:
    total_bytes = sum(entry.info.st_size for entry in entries if stat.S_ISREG(entry.info.st_mode))
    if total_bytes <= max_bytes and len(entries) <= MAX_FILES:
        return
    sizes: dict[str, int] = {}
    for entry in entries:
        if stat.S_ISREG(entry.info.st_mode):
            head, slash, _ = entry.name.partition("/")
            sizes[head + slash] = sizes.get(head + slash, 0) + entry.info.st_size
    biggest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    shown = ", ".join(f"{name} {in_words(size)}" for name, size in biggest)
    what = (
        f"{in_words(total_bytes)}; at most {in_words(max_bytes)} travel"
        if total_bytes > max_bytes
        else f"{len(entries)} files; at most {MAX_FILES} travel"
    )
    raise TooLarge(
        f"{folder} holds {what}. Biggest: {shown}. "
        f"Name what is not needed in {folder / IGNORE_FILE}, one pattern a line"
    )


def in_words(size_bytes: float) -> str:
    """
    >>> in_words(10 * 1024**3)
    '10.0 GiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024 or unit == "GiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} bytes" if unit == "bytes" else f"{size_bytes:.1f} {unit}"


def _write(entries: Sequence[_Entry], skipped: tuple[str, ...], into: Path | None) -> Packed:
    descriptor, name = tempfile.mkstemp(prefix="maillage-", suffix=".tar", dir=into)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=_BLOCK) as file:
            target = _Digesting(file)
            with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_BLOCK) as tar:  # type: ignore[call-overload]
                for entry in entries:
                    _add(tar, entry)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    files = tuple((entry.name, entry.info.st_size) for entry in entries if stat.S_ISREG(entry.info.st_mode))
    return Packed(path, f"sha256:{target.sha256.hexdigest()}", target.size_bytes, files, skipped)


def _add(tar: tarfile.TarFile, entry: _Entry) -> None:
    member = tarfile.TarInfo(entry.name)
    mode = entry.info.st_mode
    member.mode = 0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644
    if stat.S_ISDIR(mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif entry.link:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(member)
    else:
        try:
            with entry.path.open("rb") as file:
                member.size = entry.info.st_size
                tar.addfile(member, file)
        except PermissionError:
            raise Invalid(
                f"{entry.path} cannot be read; change its permissions or name it in {IGNORE_FILE}"
            ) from None
        except (FileNotFoundError, tarfile.ReadError):
            raise FolderChanged(f"{entry.path} changed while it was being packed; try again") from None
        except OSError as error:
            if error.errno is None:  # tarfile's own: the file became shorter than it was
                raise FolderChanged(f"{entry.path} changed while it was being packed; try again") from None
            raise


class FolderChanged(UserError):
    """A file vanished or shrank while its folder was packed: pack again."""


def shown(name: str) -> str:
    """A name as one line of text that JSON and a URL can hold. Escaped as in Python, so that no two are
    shown alike; a byte that is no UTF-8 stands as `\\udcXX`.

    >>> shown("café/a b.txt"), shown("new\\nline")
    ('café/a b.txt', 'new\\\\nline')
    """
    return _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def entries(archive: IO[bytes]) -> tuple[tuple[str, int], ...]:
    """(path as `shown`, bytes) of every regular file in an archive."""
    with _open(archive) as tar:
        return tuple((shown(member.name), member.size) for member in tar if member.isreg())


def read_entry(archive: IO[bytes], name: str) -> tuple[int, IO[bytes]]:
    """(bytes, stream) of one file in an archive, named as `shown`, read in place. Raises NotFound."""
    tar = _open(archive)
    for member in tar:
        if member.isreg() and shown(member.name) == name:
            stream = tar.extractfile(member)
            assert stream is not None
            return member.size, stream
    raise NotFound(f"no file {name!r} in this archive")


def _open(archive: IO[bytes]) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=archive, mode="r:")
    except tarfile.TarError as error:
        raise Invalid(f"not an archive that can be unpacked: {error}") from None


def unpack(archive: IO[bytes], into: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> int:
    """Unpack into a folder (made if need be); bytes written. Safe against archives made to do harm.

    Only regular files, folders and symlinks that stay inside are taken; links are made last, so
    that no file is written through one. Raises Invalid or TooLarge; what was written by then stays.
    """
    into.mkdir(parents=True, exist_ok=True)
    root = into.resolve()
    links: list[tarfile.TarInfo] = []
    written_bytes = 0
    with _open(archive) as tar:
        try:
            for count, member in enumerate(tar, start=1):
                if count > max_files:
                    raise TooLarge(f"the archive holds more than {max_files} files")
                _check(member, root)
                if member.issym():
                    links.append(member)
                elif member.isdir():
                    _folder_inside(root, PurePosixPath(member.name))
                else:
                    written_bytes += member.size
                    if written_bytes > max_bytes:
                        raise TooLarge(f"the archive unpacks to more than {in_words(max_bytes)}")
                    _extract(tar, member, root)
        except tarfile.TarError as error:
            raise Invalid(f"the archive is damaged: {error}") from None
    for member in links:
        _link(member, root)
    return written_bytes


def _check(member: tarfile.TarInfo, root: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in member.name:
        raise Invalid(f"the archive names a path outside its folder: {member.name!r}")
    if not (member.isreg() or member.isdir() or member.issym()) or member.sparse is not None:
        raise Invalid(f"the archive holds something that is no file, folder or symlink: {member.name!r}")
    # Python 3.11.2, as in Debian 12, has no filter yet: the rules here hold without it.
    if hasattr(tarfile, "data_filter") and not member.issym():
        tarfile.data_filter(member, str(root))


def _folder_inside(root: Path, name: PurePosixPath) -> Path:
    """The folder, made if need be, never through a symlink that leads outside."""
    folder = root
    for part in name.parts:
        folder = folder / part
        if not folder.is_dir():
            folder.mkdir(mode=0o755)
        elif folder.is_symlink() and not folder.resolve().is_relative_to(root):
            raise Invalid(f"the archive writes through a symlink that leads outside: {name}")
    return folder


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    path = PurePosixPath(member.name)
    target = _folder_inside(root, path.parent) / path.name
    if target.is_symlink():
        target.unlink()
    source = tar.extractfile(member)
    assert source is not None
    mode = 0o755 if member.mode & 0o100 else 0o644
    with os.fdopen(
        os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb"
    ) as file:
        shutil.copyfileobj(source, file, _BLOCK)
        if file.tell() != member.size:
            raise Invalid(f"the archive ends in the middle of {member.name!r}")


def _link(member: tarfile.TarInfo, root: Path) -> None:
    path = PurePosixPath(member.name)
    folder = _folder_inside(root, path.parent)
    target = Path(os.path.normpath(folder / member.linkname))
    if PurePosixPath(member.linkname).is_absolute() or not target.is_relative_to(root):
        raise Invalid(f"the archive holds a symlink that leads outside: {member.name!r}")
    if not target.resolve().is_relative_to(root):
        raise Invalid(f"the archive holds a symlink that leads outside: {member.name!r}")
    place = folder / path.name
    try:
        place.symlink_to(member.linkname)
    except FileExistsError:
        if not place.is_symlink():
            raise Invalid(f"the archive puts a symlink over {member.name!r}, which exists") from None
        place.unlink()
        place.symlink_to(member.linkname)


def disk_is_full(error: OSError) -> bool:
    """Whether an error means that the disk (or the quota, or the file size limit) is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
