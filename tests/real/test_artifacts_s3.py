"""The S3 store against a real S3-speaking server."""

import hashlib
import io
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillage.control.artifacts import ArtifactStore, open_store, put
from maillage.errors import Invalid, NotFound, Unreachable
from tests.real.cli_rig import Cli, network


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


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret"}
FLOW = """
name: makes
workdir: .
script: cp given $MAILLAGE_OUTPUT_DIR/made
---
name: takes
inputs: [{job: makes, to: in}]
script: cat in/made
"""


def test_a_network_over_a_bucket(endpoint: str, tmp_path: Path) -> None:
    make_bucket = urllib.request.Request(f"{endpoint}/campus", method="PUT")
    urllib.request.urlopen(make_bucket).close()
    work = tmp_path / "work"
    work.mkdir()
    (work / "given").write_text("kept in a bucket")
    where = f"s3://campus/net?endpoint={endpoint}"
    with network(tmp_path / "net", MAILLAGE_ARTIFACTS=where, **KEYS) as cli:
        cli("run", cli.spec(work, FLOW), "-f")
        assert cli("job", "logs", "takes").stdout == "kept in a bucket"
        assert not [path for path in (cli.data / "artifacts").rglob("*") if path.is_file()]
        up_log = (cli.data / "up.log").read_text()
    listing = urllib.request.urlopen(f"{endpoint}/campus?list-type=2&prefix=net/").read()
    assert listing.count(b"<Key>") >= 3  # the probe, the work folder, the outputs
    assert "test-secret" not in up_log


def test_a_bucket_that_cannot_be_used_is_told_before_anything_starts(endpoint: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.env |= KEYS
    for where, says, code in (
        (f"s3://no-such-bucket/x?endpoint={endpoint}", "did not take", 6),
        ("s3://campus?endpiont=http://127.0.0.1:9", "endpiont is no option", 2),
        ("s3:///prefix", "no bucket", 2),
        ("gs://campus", "speaks 'gs'", 2),
        ("s3://key:hush@campus", "holds no key", 2),
    ):
        ran = cli("up", "--port", "0", "--artifacts", where, code=code)
        assert says in ran.stderr and "hush" not in ran.stderr, ran.stderr
        assert not (cli.data / "server.json").exists()
