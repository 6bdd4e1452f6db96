"""The folder store keeps only what it verified."""

import hashlib
import io
from pathlib import Path

import pytest

from maillage.control.artifacts import FolderStore, hex_of, open_store, put
from maillage.errors import Invalid, NotFound, TooLarge


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_read_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert put(store, io.BytesIO(b"hello"), _digest(b"hello"), 100) == 5
    assert put(store, [b"hel", b"lo"], _digest(b"hello"), 100) == 5  # again: nothing changes
    with store.open(_digest(b"hello")) as file:
        assert file.read() == b"hello"
    assert store.size(_digest(b"hello")) == 5 and store.size(_digest(b"other")) is None
    assert len(_files(tmp_path)) == 1
    store.delete(_digest(b"hello"))
    with pytest.raises(NotFound):
        store.open(_digest(b"hello"))


def test_other_bytes_than_the_name_says_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(Invalid, match="send them again"):
        put(store, io.BytesIO(b"tampered"), _digest(b"hello"), 100)
    with pytest.raises(TooLarge):
        put(store, io.BytesIO(b"x" * 101), _digest(b"x" * 101), 100)
    assert _files(tmp_path) == []


@pytest.mark.parametrize("name", ["", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 64])
def test_a_name_that_is_no_digest_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no artifact name"):
        hex_of(name)
    with pytest.raises(Invalid):
        FolderStore(tmp_path).open(name)


def test_an_upload_shows_only_after_commit(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    upload = store.begin(_digest(b"ab"), 10)
    upload.write(b"ab")
    assert store.size(_digest(b"ab")) is None
    upload.commit()
    assert store.size(_digest(b"ab")) == 2
