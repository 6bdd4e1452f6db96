"""`maillage up` as a process: what it makes, what it refuses, how it ends, and what survives it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.real.cli_rig import SLOW_S, Cli, kill, network, until

FOREVER = """
name: forever
script: |
  echo $$ > $MAILLAGE_OUTPUT_DIR/pid
  while true; do echo beat; sleep 0.2; done
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with network(tmp_path) as up:
        yield up


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def api(cli: Cli) -> httpx.Client:
    token = (cli.data / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=cli.server["url"], headers=headers, trust_env=False, timeout=30.0)


def worker_pid(cli: Cli, job: str = "forever") -> int:
    """The pid that the job's own process wrote."""

    def look() -> int:
        found = cli.json("job", "show", job)
        for run in found["runs"]:
            for path in (cli.data / "sites").glob(f"*/runs/{run['run_id']}/**/pid"):
                return int(path.read_text() or 0)
        return 0

    return int(until(look))


def test_everything_secret_is_for_its_owner_only(cli: Cli) -> None:
    assert mode(cli.data) == 0o700
    tokens = [*cli.data.glob("sites/*/token")]
    assert len(tokens) == 3
    for path in (cli.data / "admin.token", cli.data / "secrets.key", cli.data / "maillage.db", *tokens):
        assert mode(path) == 0o600, path
    said = (cli.data / "up.log").read_text()
    for path in (cli.data / "admin.token", *tokens):
        assert path.read_text().strip() not in said


def test_it_listens_on_loopback_only(cli: Cli) -> None:
    process = psutil.Process(cli.server["pid"])
    listening = [line for line in process.net_connections("tcp") if line.status == psutil.CONN_LISTEN]
    assert listening and {line.laddr.ip for line in listening} == {"127.0.0.1"}


def test_the_embedded_agents_have_synced_when_it_is_ready(cli: Cli) -> None:
    health = httpx.get(cli.server["url"] + "/healthz", trust_env=False).json()
    assert health == {"ready": True, "waiting_for": []}
    with api(cli) as client:
        assert {site["state"] for site in client.get("/api/v1/sites").json()["items"]} == {"open"}


def test_a_second_one_over_the_same_folder_is_told_who_has_it(cli: Cli) -> None:
    with cli.start("up", "--port", "0") as second:
        _, said = second.communicate(timeout=SLOW_S)
    assert second.returncode == 5 and str(cli.server["pid"]) in said and str(cli.data) in said
    assert httpx.get(cli.server["url"] + "/healthz", trust_env=False).status_code == 200


def test_a_port_in_use_names_who_has_it(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = cli("up", "--port", str(port), code=5)
    assert f"port {port}" in ran.stderr and str(os.getpid()) in ran.stderr and "--port" in ran.stderr
    assert not (cli.data / "server.json").exists()


def test_of_two_at_once_on_one_port_one_comes_up(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    homes = [tmp_path / "one", tmp_path / "other"]
    for home in homes:
        home.mkdir()
    racers = [Cli(home).start("up", "--port", port) for home in homes]
    try:
        until(lambda: any(racer.poll() is not None for racer in racers), SLOW_S)
        (loser,) = [racer for racer in racers if racer.poll() is not None]
        said = loser.communicate()[1]
        assert loser.returncode == 5 and f"port {port}" in said and "Traceback" not in said
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200)
    finally:
        for racer in racers:
            racer.terminate()
            racer.communicate(timeout=60)


def test_streams_that_are_open_do_not_keep_it_up(cli: Cli, tmp_path: Path) -> None:
    cli("run", cli.spec(tmp_path, FOREVER))
    worker = worker_pid(cli)
    paths = ("/api/v1/events", "/api/v1/jobs/forever/logs?follow=true")
    begun = [threading.Event() for _ in paths]

    heard: dict[str, bytes] = {}

    def follow(path: str, first: threading.Event) -> None:
        with api(cli) as client, client.stream("GET", path) as stream:
            for block in stream.iter_raw():
                heard[path] = heard.get(path, b"") + block
                if b"state" in heard[path] or b"beat" in heard[path]:
                    first.set()
        heard[path] += b"(ended in order)"

    watching = [
        threading.Thread(target=follow, args=pair, daemon=True) for pair in zip(paths, begun, strict=True)
    ]
    for thread in watching:
        thread.start()
    assert all(first.wait(30) for first in begun)
    process = psutil.Process(cli.server["pid"])
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    for thread in watching:
        thread.join(30)
        assert not thread.is_alive()
    assert all(heard[path].endswith(b"(ended in order)") for path in paths)
    assert not (cli.data / "server.json").exists()
    assert psutil.pid_exists(worker), "the job must run on"
    cli("up", "--detach", "--port", "0")
    found = cli.json("job", "show", "forever")
    assert (found["state"], found["attempts"]) == ("running", 1) and psutil.pid_exists(worker)


def test_down_ends_the_calls_that_are_held_in_order(cli: Cli) -> None:
    cli("down")  # at once: the agents' calls have just begun to be held
    said = (cli.data / "up.log").read_text()
    assert "jobs run on" in said
    assert "Exception" not in said and '"status":500' not in said and "Traceback" not in said


def test_kill_9_loses_nothing_and_starts_nothing_twice(cli: Cli, tmp_path: Path) -> None:
    cli("run", cli.spec(tmp_path, FOREVER))
    worker, dead = worker_pid(cli), cli.server["pid"]
    kill(dead)
    assert cli.server["pid"] == dead, "nobody was left to take the record away"
    cli("status", code=6)
    cli("up", "--detach", "--port", "0")
    assert cli.server["pid"] != dead
    found = cli.json("job", "show", "forever")
    assert (found["state"], found["attempts"]) == ("running", 1) and psutil.pid_exists(worker)
    cli("job", "cancel", "-y", "forever")
    until(lambda: not psutil.pid_exists(worker))


def test_ctrl_c_ends_one_in_the_foreground_in_order(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.start("up", "--port", "0") as process:
        until(lambda: (cli.data / "server.json").exists(), SLOW_S)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "" and "Traceback" not in said
    assert not (cli.data / "server.json").exists()
    logged = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert "up" in [entry["event"] for entry in logged]


def test_a_broken_network_is_told_whole_and_nothing_is_made(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    broken = tmp_path / "network.yaml"
    broken.write_text("name: x\nsites:\n  - id: Paris!\n    plaice: {}\n")
    ran = cli("up", "--network", str(broken), "--port", "0", code=2)
    assert "plaice" in ran.stderr and "Paris!" in ran.stderr and f"{broken}:3" in ran.stderr
    assert not (cli.data / "maillage.db").exists()


def test_another_ones_files_are_left_alone(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.data.mkdir(mode=0o755)
    (cli.data / "thesis.tex").write_text("mine")
    ran = cli("up", "--port", "0", code=5)
    assert "--data" in ran.stderr and mode(cli.data) == 0o755
    assert sorted(path.name for path in cli.data.iterdir()) == ["thesis.tex"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.data.write_text("")
    assert "--data" in cli("up", "--port", "0", code=5).stderr


def test_other_machines_reach_it_only_when_that_is_said(tmp_path: Path) -> None:
    ran: subprocess.CompletedProcess[str] = Cli(tmp_path)("up", "--port", "0", "--host", "0.0.0.0", code=None)
    assert ran.returncode == 4 and "--beyond-loopback" in ran.stderr
