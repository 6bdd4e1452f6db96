"""The S3 store against a real S3-speaking server."""

import hashlib
import io
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from maillage.control.artifacts import ArtifactStore, open_store, put
from maillage.errors import Invalid, NotFound, Unreachable


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


_SERVER = """
import threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    request = urllib.request.Request(f"{endpoint}/artifacts", method="PUT")
    urllib.request.urlopen(request).close()
    return open_store(f"s3://artifacts/network?endpoint={endpoint}")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_what_was_put_is_read_back(store: ArtifactStore) -> None:
    data = os.urandom(7 * 1024 * 1024)
    assert store.size(_digest(data)) is None
    assert put(store, io.BytesIO(data), _digest(data)) == len(data)
    assert store.size(_digest(data)) == len(data)
    with store.open(_digest(data)) as file:
        assert file.read() == data
    store.delete(_digest(data))
    with pytest.raises(NotFound):
        store.open(_digest(data))


def test_other_bytes_than_the_name_says_are_refused(store: ArtifactStore) -> None:
    with pytest.raises(Invalid):
        put(store, io.BytesIO(b"tampered"), _digest(b"hello"))
    assert store.size(_digest(b"hello")) is None


def test_a_store_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(Unreachable):
        open_store("s3://artifacts?endpoint=http://127.0.0.1:9").size(_digest(b"x"))
