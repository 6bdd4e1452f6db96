"""The control plane's copy of what workers write: one file per worker and attempt, bounded.

`<job>/<attempt>/<worker>.log` holds the bytes; `<worker>.shift` by how much the site's offsets are ahead
of the file's (a site that rotated its own file leaves a gap, told in the text); `<worker>.end` says that
nothing follows.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from maillage.control.protocol import LogChunk
from maillage.errors import Invalid
from maillage.units import is_job_id, split_run_id

MOST_BYTES = 64 * 1024 * 1024  # kept per worker and attempt
_MOST_CHUNK_BYTES = 4 * 1024 * 1024
_FULL = b"\n[maillage: the log is full, what follows is not kept]\n"


class RunLogs:
    """Not for use from several threads at once for the same worker; the site's agent sends in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job_id: str, attempt: int, worker: int) -> Path:
        """Raises Invalid for what is no id or number: it becomes a path."""
        if not is_job_id(job_id) or attempt < 1 or worker < 0:
            raise Invalid(f"no log of job {job_id!r}, attempt {attempt}, worker {worker}")
        return self._folder / job_id / str(attempt) / f"{worker}.log"

    def push(self, chunk: LogChunk) -> None:
        """Keep a chunk. The same one twice changes nothing. Raises Invalid for a malformed one."""
        try:
            job_id, attempt = split_run_id(chunk.run_id)
            data = base64.b64decode(chunk.data_b64, validate=True)
        except (ValueError, binascii.Error) as error:
            raise Invalid(f"log chunk of {chunk.run_id[:80]!r}: {error}") from error
        if len(data) > _MOST_CHUNK_BYTES or chunk.offset < 0:
            raise Invalid(
                f"log chunk of {chunk.run_id}: {len(data)} bytes at {chunk.offset}, "
                f"at most {_MOST_CHUNK_BYTES} at 0 or later are taken"
            )
        path = self.path(job_id, attempt, chunk.worker)
        path.parent.mkdir(parents=True, exist_ok=True)
        if data:
            _append(path, chunk.offset, data)
        if chunk.final:
            path.with_suffix(".end").touch()

    def read(self, job_id: str, attempt: int, worker: int, offset: int, limit: int) -> tuple[bytes, bool]:
        """Bytes from `offset` (from the end where negative), and whether the end is known and reached."""
        path = self.path(job_id, attempt, worker)
        final = path.with_suffix(".end").exists()  # looked at first: then the file has all there is
        if not path.exists():
            return b"", final
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset if offset >= 0 else max(0, size + offset))
            data = file.read(limit)
            return data, final and file.tell() >= size


def _append(path: Path, offset: int, data: bytes) -> None:
    shift_file = path.with_suffix(".shift")
    shift = int(shift_file.read_text()) if shift_file.exists() else 0
    with path.open("ab") as file:
        size = file.tell()
        at = offset - shift
        if at > size:
            notice = f"\n[maillage: {at - size} bytes were not kept by the site]\n".encode()
            shift_file.write_text(str(offset - size - len(notice)))
            file.write(notice)
            at = size = size + len(notice)
        new = data[size - at :] if at <= size else b""
        if not new or size >= MOST_BYTES:
            return
        if size + len(new) > MOST_BYTES:
            new = new[: MOST_BYTES - size] + _FULL
        file.write(new)
