"""A network whose disk fills up: it says so, keeps what it promised, and goes on when there is room."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillage import Client
from maillage.errors import Unreachable
from tests.real.cli_rig import network, until

TICKS = """
name: ticks
script: |
  n=0; until [ -e {flag} ]; do n=$((n+1)); echo tick $n; sleep 0.1; done
  echo made > $MAILLAGE_OUTPUT_DIR/made
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> list[Path]:
    files = [folder / "large", folder / "small"]
    for path, block in zip(files, (b"\0" * 1024**2, b"\0" * 1024), strict=True):
        with path.open("wb", buffering=0) as file:
            try:
                while file.write(block) == len(block):
                    pass
            except OSError:
                continue
    return files


def test_it_answers_refuses_and_goes_on(disk: Path, tmp_path: Path) -> None:
    flag = tmp_path / "enough"
    archive = b"x" * 400_000
    digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    spec = {"name": "small", "script": "true"}
    with network(disk) as cli, Client(data=cli.data, patience_s=0.0) as client:
        running = cli("run", cli.spec(tmp_path, TICKS.format(flag=flag)), "-o", "name").stdout.strip()
        until(lambda: "tick 3" in cli("job", "logs", running).stdout)
        filled = fill(disk)
        for _ in range(3):
            with pytest.raises(Unreachable, match=r"nothing of this request was kept\. Make room"):
                client.run(spec)
            with pytest.raises(Unreachable, match="disk is full; free space"):
                client.upload(digest, archive)
            assert "Make room" in cli("token", "create", "late", code=6).stderr
            assert cli.json("job", "show", running)["state"] == "running", "who asks is answered"
        for path in filled:
            path.unlink()
        flag.touch()
        job = until(lambda: (found := cli.json("job", "show", running))["state"] == "succeeded" and found)
        assert job["attempts"] == 1
        assert cli("job", "outputs", running, "--cat", "made").stdout == "made\n"
        assert "tick 1\n" in cli("job", "logs", running).stdout
        assert client.upload(digest, archive) and client.run(spec).wait(60).succeeded
        assert {item["name"] for item in cli.json("job", "list")["items"]} == {"ticks", "small"}
        assert "all equal" in cli("replay").stdout
