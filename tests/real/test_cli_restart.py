"""Commands across the end of a network: an orderly one, and kill -9 in the middle of watching."""

from __future__ import annotations

from pathlib import Path

from tests.real.cli_rig import kill, network, until

COUNT = 100
TICKS = f"""
name: outlives
script: |
  for n in $(seq 1 {COUNT}); do echo tick $n; sleep 0.1; done
time_limit: 5m
"""


def test_watching_goes_on_over_a_kill_of_the_network(tmp_path: Path) -> None:
    with network(tmp_path) as cli:
        port = cli.server["url"].rpartition(":")[2]
        watching = cli.start("run", cli.spec(tmp_path, TICKS), "-f")
        assert watching.stdout is not None and watching.stderr is not None
        assert watching.stdout.readline() == "tick 1\n"
        kill(cli.server["pid"])
        assert cli("job", "list", code=6)
        assert "down" in cli("status", code=6).stderr
        cli("up", "--detach", "--port", port)
        rest = watching.stdout.read()
        assert watching.wait(timeout=60) == 0, watching.stderr.read()
        assert rest.splitlines() == [f"tick {n}" for n in range(2, COUNT + 1)]  # none lost, none twice
        assert cli.json("job", "show", "outlives")["attempts"] == 1


def test_down_is_orderly_and_work_is_found_again(tmp_path: Path) -> None:
    with network(tmp_path) as cli:
        job = cli("run", cli.spec(tmp_path, TICKS), "-o", "name").stdout.strip()
        until(lambda: cli.json("job", "show", job)["state"] == "running")
        cli("down")
        assert not (cli.data / "server.json").exists()
        assert cli("status", code=6) and cli("down")
        cli("up", "--detach", "--port", "0")
        cli("job", "wait", job)
        assert cli.json("job", "show", job)["attempts"] == 1
        assert "all equal" in cli("replay").stdout
