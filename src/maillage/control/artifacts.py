"""The artifact store: bytes under the name of their digest, in a folder or in S3-compatible storage.

What is written is verified before it gets its name, so a name never stands for other bytes, and
writing the same thing twice, at once or after a crash, changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from maillage.control.archives import disk_is_full, in_words
from maillage.errors import Invalid, NotFound, TooLarge, Unreachable

if TYPE_CHECKING:
    import obstore.store

MAX_BYTES = 64 * 1024**3
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_BLOCK = 1024 * 1024
_PROBE = b"maillage keeps artifacts here\n"
_PROBE_DIGEST = f"sha256:{hashlib.sha256(_PROBE).hexdigest()}"


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of a `sha256:` name; raises Invalid for anything else."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise Invalid(f"{digest[:80]!r} is no artifact name; one looks like sha256:<64 hexadecimal digits>")
    return match.group(1)


class Upload(Protocol):
    """One artifact on its way in: write, then commit or abort. Nothing shows before commit."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> int:
        """Verify and keep; bytes written. Raises Invalid if the bytes are not what the name says."""

    def abort(self) -> None: ...


class ArtifactStore(Protocol):
    def begin(self, digest: str, max_bytes: int = MAX_BYTES) -> Upload: ...

    def size(self, digest: str) -> int | None:
        """Bytes of an artifact, None where there is none."""

    def open(self, digest: str) -> IO[bytes]:
        """The artifact's bytes, seekable. Raises NotFound."""

    def delete(self, digest: str) -> None: ...


def put(
    store: ArtifactStore, stream: IO[bytes] | Iterable[bytes], digest: str, max_bytes: int = MAX_BYTES
) -> int:
    """Keep a stream under its digest; bytes written. Raises Invalid, TooLarge, Unreachable."""
    upload = store.begin(digest, max_bytes)
    try:
        for chunk in iter(lambda: stream.read(_BLOCK), b"") if hasattr(stream, "read") else stream:
            upload.write(chunk)
        return upload.commit()
    except BaseException:
        upload.abort()
        raise


class _Spool:
    """Bytes gathered in a temporary file and hashed; the part that all stores share."""

    def __init__(self, folder: Path | None, digest: str, max_bytes: int) -> None:
        self.digest = hex_of(digest)
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        try:
            descriptor, name = tempfile.mkstemp(prefix="incoming-", dir=folder)
        except OSError as error:
            raise _trouble(error) from error
        self.path = Path(name)
        self.file = os.fdopen(descriptor, "w+b", buffering=_BLOCK)

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes > self.max_bytes:
            raise TooLarge(f"the artifact is larger than {in_words(self.max_bytes)}, the most taken here")
        self._sha256.update(data)
        try:
            self.file.write(data)
        except OSError as error:
            raise _trouble(error) from error

    def verify(self) -> None:
        found = self._sha256.hexdigest()
        if found != self.digest:
            raise Invalid(f"the bytes sent are sha256:{found}, not sha256:{self.digest}; send them again")
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise _trouble(error) from error

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take is thrown away here
            self.file.close()
        self.path.unlink(missing_ok=True)


def _trouble(error: OSError) -> Exception:
    if disk_is_full(error):
        return Unreachable("the artifact store's disk is full; free space there, then try again")
    return error


class FolderStore:
    """Artifacts as files `ab/cdef...` of one folder, each put there by an atomic rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in self._incoming.iterdir():  # of a process that was killed; ours are not made yet
            if _is_stale(left_over):
                left_over.unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        name = hex_of(digest)
        return self.folder / name[:2] / name[2:]

    def begin(self, digest: str, max_bytes: int = MAX_BYTES) -> Upload:
        return _FolderUpload(self, digest, max_bytes)

    def size(self, digest: str) -> int | None:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> IO[bytes]:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"no artifact {digest} here") from None

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)


def _is_stale(path: Path, after_s: float = 86_400.0) -> bool:
    """Old against the newest file beside it, so that a jump of the clock deletes nothing in use."""
    try:
        newest = max(entry.stat().st_mtime for entry in path.parent.iterdir())
        return newest - path.stat().st_mtime > after_s
    except FileNotFoundError:
        return False


class _FolderUpload(_Spool):
    def __init__(self, store: FolderStore, digest: str, max_bytes: int) -> None:
        self._target = store.path(digest)
        super().__init__(store.folder / "incoming", digest, max_bytes)

    def commit(self) -> int:
        self.verify()
        try:
            self._target.parent.mkdir(exist_ok=True, mode=0o700)
            self.path.replace(self._target)
            descriptor = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _trouble(error) from error
        self.file.close()
        return self.size_bytes


class S3Store:
    """Artifacts as objects of a bucket, through obstore (the `s3` extra).

    Correctness never rests on a conditional put: an object is written whole, under the digest of
    what was verified here first.
    """

    def __init__(self, store: obstore.store.ObjectStore, prefix: str = "") -> None:
        self._store: Any = store
        self._prefix = prefix.strip("/")

    def _key(self, digest: str) -> str:
        name = hex_of(digest)
        return "/".join(part for part in (self._prefix, name[:2], name[2:]) if part)

    def check(self) -> None:
        """Write and read a little. Raises Unreachable: better now than when the first job ends."""
        try:
            put(self, [_PROBE], _PROBE_DIGEST)
            self.open(_PROBE_DIGEST).close()
        except NotFound as error:
            raise Unreachable("the object store does not keep what it took") from error

    def begin(self, digest: str, max_bytes: int = MAX_BYTES) -> Upload:
        return _S3Upload(self, digest, max_bytes)

    def send(self, digest: str, path: Path) -> None:
        import obstore

        try:
            obstore.put(self._store, self._key(digest), path)
        except (FileNotFoundError, obstore.exceptions.BaseError) as error:  # the first: there is no bucket
            raise Unreachable(f"the object store did not take the artifact: {_brief(error)}") from error

    def size(self, digest: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._store, self._key(digest))["size"])
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise Unreachable(f"the object store does not answer: {_brief(error)}") from error

    def open(self, digest: str) -> IO[bytes]:
        import obstore

        file = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
        try:
            for chunk in obstore.get(self._store, self._key(digest)).stream(min_chunk_size=_BLOCK):
                file.write(chunk)
        except FileNotFoundError:
            file.close()
            raise NotFound(f"no artifact {digest} here") from None
        except obstore.exceptions.BaseError as error:
            file.close()
            raise Unreachable(f"the object store does not answer: {_brief(error)}") from error
        file.seek(0)
        return file

    def delete(self, digest: str) -> None:
        import obstore

        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._key(digest))


class _S3Upload(_Spool):
    def __init__(self, store: S3Store, digest: str, max_bytes: int) -> None:
        self._s3 = store
        super().__init__(None, digest, max_bytes)

    def commit(self) -> int:
        self.verify()
        try:
            self._s3.send(f"sha256:{self.digest}", self.path)
        finally:
            self.abort()
        return self.size_bytes


def _brief(error: Exception) -> str:
    """An error of the library without the dump that follows its first line."""
    return str(error).partition("\n")[0][:400]


_OPTIONS = ("endpoint", "region")


def open_store(where: str) -> ArtifactStore:
    """A store from a folder's path or `s3://bucket/prefix?endpoint=URL&region=R`.

    Credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, never from the
    address; what the address leaves out, from AWS_ENDPOINT_URL and AWS_REGION. Raises Invalid.
    """
    parts = urlsplit(where)
    if "://" not in where:
        return FolderStore(Path(where))
    if parts.scheme != "s3":
        raise Invalid(f"no artifact store speaks {parts.scheme!r}; give a folder, or s3://BUCKET/PREFIX")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    _check_address(where, parts.netloc, options)
    try:
        from obstore.store import S3Store as Bucket
    except ImportError:
        raise Invalid("artifacts in S3 need one more package: pip install 'maillage[s3]'") from None
    config: dict[str, Any] = {"region": options.get("region", os.environ.get("AWS_REGION", "us-east-1"))}
    for key in ("access_key_id", "secret_access_key", "session_token"):
        if value := os.environ.get(f"AWS_{key.upper()}"):
            config[key] = value
    if endpoint := options.get("endpoint", os.environ.get("AWS_ENDPOINT_URL", "")):
        config["endpoint"] = endpoint
    plain = {"allow_http": True} if endpoint.startswith("http://") else {}
    retries: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
    bucket = Bucket(parts.netloc, client_options=plain, retry_config=retries, **config)  # type: ignore[arg-type]
    return S3Store(bucket, parts.path)


def _check_address(where: str, bucket: str, options: dict[str, str]) -> None:
    if "@" in bucket:  # not shown: it may be a secret
        raise Invalid("the address of an artifact store holds no key: set AWS_ACCESS_KEY_ID and the like")
    unknown = [key for key in options if key not in _OPTIONS]
    if not bucket or unknown:
        what = f"{', '.join(unknown)} is no option of an artifact store" if unknown else "there is no bucket"
        raise Invalid(
            f"{where}: {what}; write s3://BUCKET/PREFIX?endpoint=URL&region=R (both may be left out)"
        )
