"""The commands against a real network: three sites of local processes in a folder of their own."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillage import AsyncClient, Client
from tests.real.cli_rig import COMMAND, Cli, network, until

HELLO = "name: hello\ncommand: [echo, hello from the network]\ntime_limit: 1m\n"
TICKS = """
name: {name}
script: |
  for n in $(seq 1 {count}); do echo tick $n; sleep 0.1; done
time_limit: 5m
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with network(tmp_path_factory.mktemp("network")) as up:
        yield up


def test_up_leaves_a_private_folder_and_one_network_per_folder(cli: Cli) -> None:
    assert stat.S_IMODE(cli.data.stat().st_mode) == 0o700
    for name in ("admin.token", "secrets.key"):
        assert stat.S_IMODE((cli.data / name).stat().st_mode) == 0o600
    again = cli("up", "--detach", "--port", "0", code=5)
    assert cli.server["url"] in again.stderr and again.stdout == ""
    in_front = cli("up", "--port", "0", code=5)
    assert str(cli.data) in in_front.stderr
    status = cli.json("status")
    assert status["network"] == "laptop"


def test_a_job_from_file_to_receipt(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", cli.spec(tmp_path, HELLO), "--follow", "-o", "json")
    job = json.loads(ran.stdout)
    assert job["state"] == "succeeded" and "hello from the network" in ran.stderr
    assert cli.json("job", "show", job["id"])["receipt"] == job["receipt"]
    assert "credits" in ran.stderr and "CO2e" in ran.stderr
    assert cli("job", "logs", job["id"]).stdout == "hello from the network\n"
    page = cli("job", "show", job["id"]).stdout
    assert job["site"] in page and "Receipt" in page and "\x1b" not in page


def test_follow_writes_output_to_stdout_alone(cli: Cli, tmp_path: Path) -> None:
    ran = cli("run", cli.spec(tmp_path, TICKS.format(name="ticks", count=5)), "-f")
    assert ran.stdout.splitlines() == [f"tick {n}" for n in range(1, 6)]
    assert "running" in ran.stderr and "succeeded" in ran.stderr


def test_all_workers_of_a_gang_are_followed(cli: Cli, tmp_path: Path) -> None:
    script = "name: both\nworkers: 2\nscript: for n in 1 2 3; do echo $RANK-$n; sleep 0.1; done; printf end\n"
    ran = cli("run", cli.spec(tmp_path, script), "-f")
    lines = ran.stdout.splitlines()
    for rank in (0, 1):
        theirs = [line for line in lines if line.startswith(f"[{rank}] ")]
        assert theirs == [*(f"[{rank}] {rank}-{n}" for n in (1, 2, 3)), f"[{rank}] end"], ran.stdout
    assert len(lines) == 8
    alone = cli("job", "logs", "both", "-f", "--worker", "1").stdout
    assert alone == "1-1\n1-2\n1-3\nend"


def test_a_job_that_fails_fails_the_command(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, "name: broken\nscript: echo so far; exit 3\n")
    ran = cli("run", spec, "-f", code=1)
    assert ran.stdout == "so far\n" and "failed" in ran.stderr
    assert cli.json("job", "show", "broken")["runs"][0]["exit_codes"] == [3]
    assert cli("job", "wait", "broken", code=1)
    missing = cli("run", cli.spec(tmp_path, "name: lost\ncommand: [no-such-command]\n"), "-f", code=1)
    assert "no-such-command" in missing.stderr


def test_json_is_the_apis_own(cli: Cli) -> None:
    token = (cli.data / "admin.token").read_text().strip()
    asked = urllib.request.Request(
        f"{cli.server['url']}/api/v1/jobs?limit=50", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked) as answer:
        assert cli.json("job", "list") == json.load(answer)
    names = cli("job", "list", "-o", "name").stdout.split()
    assert names == [item["id"] for item in cli.json("job", "list")["items"]]
    assert len(cli.json("job", "list", "--limit", "2")["items"]) == 2
    assert cli("job", "list", "--all", "--name", "hello", "-o", "csv").stdout.startswith("id,name,state")


def test_a_file_of_several_jobs_with_a_work_folder_and_outputs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "make.sh").write_text("echo made by $1 > $MAILLAGE_OUTPUT_DIR/result.txt\n")
    flow = """
name: make
command: [bash, make.sh, "$NOBODY"]
workdir: code
---
name: use
script: cat data/result.txt
after: [make]
inputs: [{job: make, to: data/}]
"""
    ran = cli("run", cli.spec(tmp_path, flow), "-f", "-o", "json", "-e", "COLOUR=red")
    make, use = json.loads(ran.stdout)["items"]
    assert make["state"] == use["state"] == "succeeded"
    assert use["spec"]["after"] == [make["id"]] and use["spec"]["env"] == {"COLOUR": "red"}
    assert cli("job", "logs", use["id"]).stdout == "made by $NOBODY\n"
    assert cli("job", "outputs", make["id"], "-o", "name").stdout == "result.txt\n"
    assert cli("job", "outputs", make["id"], "--cat", "result.txt").stdout == "made by $NOBODY\n"
    cli("job", "outputs", make["id"], "--to", str(tmp_path / "got"))
    assert (tmp_path / "got" / "result.txt").read_text() == "made by $NOBODY\n"


def test_a_script_and_a_dry_run(cli: Cli, tmp_path: Path) -> None:
    script = cli.spec(
        tmp_path, "#!/bin/bash\n#MAILLAGE workers: 2\necho rank $RANK of $WORLD_SIZE\n", "two.sh"
    )
    before = cli("job", "list", "-o", "name").stdout
    quote = cli.json("run", script, "--dry-run", "--site", "mulhouse")
    assert quote["site"] == "mulhouse" and quote["credits"] >= 0
    assert cli("job", "list", "-o", "name").stdout == before
    said = cli("run", script, "-f").stdout.splitlines()
    assert sorted(said) == ["[0] rank 0 of 2", "[1] rank 1 of 2"]
    assert cli("job", "logs", "two", "--worker", "1").stdout == "rank 1 of 2\n"


def test_what_can_never_fit_is_refused_with_what_would(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, "name: huge\ncommand: [ls]\nworkers: 5000\n")
    refused = cli("run", spec, code=2)
    assert refused.stderr.startswith("Error:") and refused.stdout == ""


def test_the_same_key_is_the_same_job(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, HELLO)
    ids = {cli("run", spec, "--idempotency-key", "once", "-o", "name").stdout for _ in range(2)}
    assert len(ids) == 1


def test_why_a_job_waits_and_an_order_that_starts_it(cli: Cli, tmp_path: Path) -> None:
    cli("site", "drain", "marseille", "--reason", "maintenance")
    spec = cli.spec(tmp_path, HELLO.replace("name: hello", "name: waits") + "sites: [marseille]\n")
    job = cli("run", spec, "-o", "name").stdout.strip()
    why = cli.json("job", "why", job)
    assert why["reason"] and why["detail"]
    timed_out = cli("job", "wait", job, "--timeout", "0.5", code=124)
    assert "goes on" in timed_out.stderr
    assert cli.json("site", "show", "marseille")["state"] == "drained"
    assert cli.json("site", "resume", "marseille")["state"] == "open"
    cli("job", "wait", job)
    assert cli.json("job", "show", job)["site"] == "marseille"


def test_a_limit_is_set_and_lifted(cli: Cli) -> None:
    assert cli.json("site", "limit", "mulhouse", "20")["limit_kw"] == 20
    lifted = cli.json("site", "limit", "mulhouse", "none")["limit_kw"]
    assert lifted != 20
    assert cli("site", "limit", "mulhouse", "much", code=2)
    assert {item["id"] for item in cli.json("site", "list")["items"]} == {"paris", "marseille", "mulhouse"}


def test_cancel_and_requeue(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, TICKS.format(name="long", count=3000))
    job = cli("run", spec, "-o", "name").stdout.strip()
    until(lambda: cli.json("job", "show", job)["state"] == "running")
    assert cli("job", "requeue", job, "-y", "-o", "name").stdout.split() == [job]
    until(lambda: cli.json("job", "show", job)["attempts"] == 2)
    assert cli("job", "cancel", job, "another", "-o", "name", code=2)  # two of them want a word
    cli("job", "cancel", job, "-y", "--wait")
    assert cli.json("job", "show", job)["state"] == "cancelled"
    assert cli.json("job", "cancel", job, "-y")["state"] == "cancelled"  # asked again
    assert "succeeded already" in cli("job", "cancel", "hello", "-y", code=5).stderr
    kinds = [event["kind"] for event in cli.json("job", "events", job)["items"]]
    assert "submitted" in kinds and "requeue_requested" in kinds


def test_an_endpoint_that_is_deleted_is_printed_as_it_was(cli: Cli, tmp_path: Path) -> None:
    text = "kind: endpoint\nname: idle\nmodel: {path: /none.gguf}\nreplicas: {min: 0, max: 1}\n"
    cli("endpoint", "deploy", cli.spec(tmp_path, text))
    deleted = cli.json("endpoint", "delete", "idle", "-y")
    assert (deleted["name"], deleted["state"], deleted["max"]) == ("idle", "deleted", 1)
    assert cli("endpoint", "show", "idle", code=3)


def test_each_trouble_has_its_exit_code(cli: Cli, tmp_path: Path) -> None:
    assert "nowhere" in cli("job", "show", "nowhere", code=3).stderr
    assert cli("site", "show", "lyon", code=3)
    lost = cli.spec(tmp_path, "name: lost\nscript: 'true'\nsites: [paris, lyon]\n")
    assert "no site lyon; it has paris, marseille, mulhouse" in cli("run", lost, code=2).stderr
    assert cli("job", "logs", "hello", "--attempt", "9", code=3)
    assert cli("job", "logs", "hello", "--worker", "9", code=3)
    assert cli("job", "list", "--url", "http://127.0.0.1:1", code=6)
    assert cli("job", "list", code=4, MAILLAGE_TOKEN="mlg_wrong")
    assert cli("run", cli.spec(tmp_path, "name: [\n"), code=2)


def test_a_link_that_leads_out_of_the_work_folder_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "out").symlink_to("/etc/hostname")
    refused = cli("run", cli.spec(tmp_path, HELLO + "workdir: code\n"), code=2)
    assert "code/out" in refused.stderr and refused.stdout == ""


def test_output_that_cannot_be_written_is_told(cli: Cli) -> None:
    with Path("/dev/full").open("w") as full:
        ran = cli.start("job", "list", "-o", "json", stdout=full)
        _, told = ran.communicate(timeout=60)
    assert ran.returncode == 1 and told.startswith("Error:") and "Traceback" not in told


def test_ctrl_c_leaves_the_job_and_no_traceback(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, TICKS.format(name="goes-on", count=50))
    watching = cli.start("run", spec, "-f", start_new_session=True)
    assert watching.stdout is not None
    assert watching.stdout.readline() == "tick 1\n"
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=30)
    assert watching.returncode == 130 and "goes on" in told and "Traceback" not in told
    cli("job", "wait", "goes-on")


def test_a_reader_that_goes_away_ends_it_without_a_word(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, TICKS.format(name="nobody-reads", count=30))
    for args in (("job", "list", "--all"), ("run", spec, "-f", "-o", "table")):
        ran = cli.start(*args)
        assert ran.stdout is not None
        ran.stdout.close()
        ran.stdout = None
        _, told = ran.communicate(timeout=60)
        assert ran.returncode == 141 and "Traceback" not in told and "Error" not in told, told


def test_a_shell_in_a_running_job(cli: Cli, tmp_path: Path) -> None:
    spec = cli.spec(tmp_path, TICKS.format(name="has-a-shell", count=600))
    job = cli("run", spec, "-o", "name").stdout.strip()
    until(lambda: cli.json("job", "show", job)["state"] == "running")
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [*COMMAND, "shell", job],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cli.env,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        os.write(ours, b"echo it is $MAILLAGE_JOB_ID\n")
        assert f"it is {job}" in read_until(ours, f"it is {job}")
        os.write(ours, b"exit 7\n")
        read_until(ours, None)
        assert shell.wait(timeout=30) == 7
    finally:
        if shell.poll() is None:
            shell.kill()
            shell.wait()
        os.close(ours)
    piped = cli("shell", job, text="echo sum $((20 + 22)); exit 0\n")
    assert "sum 42" in piped.stdout
    cli("job", "cancel", job, "-y", "--wait")
    assert "ended" in cli("shell", job, code=5).stderr


def read_until(terminal: int, wanted: str | None, timeout_s: float = 30.0) -> str:
    """What a terminal shows until `wanted` is in it, or to its end."""
    shown, give_up = "", time.monotonic() + timeout_s
    while time.monotonic() < give_up and (wanted is None or wanted not in shown):
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            block = os.read(terminal, 65536) if ready else b"-"
        except OSError:
            return shown
        if not block:
            return shown
        shown += block.decode("utf-8", "replace") if ready else ""
    return shown


def test_secrets_and_tokens_travel_by_stdin_only(cli: Cli, tmp_path: Path) -> None:
    cli("secret", "set", "HF_TOKEN", text="very-secret\n")
    assert cli("secret", "list", "-o", "name").stdout.split() == ["HF_TOKEN"]
    spec = cli.spec(tmp_path, "name: sees\nscript: echo ${#HF_TOKEN} letters\nsecrets: [HF_TOKEN]\n")
    assert cli("run", spec, "-f").stdout == "11 letters\n"
    assert "very-secret" not in json.dumps(cli.json("job", "show", "sees"))
    assert b"very-secret" not in (cli.data / "maillage.db").read_bytes()
    made = cli.json("token", "create", "for-ci", "--scope", "read")
    assert cli("job", "list", MAILLAGE_TOKEN=made["token"])
    assert cli("run", spec, code=4, MAILLAGE_TOKEN=made["token"])
    cli("token", "revoke", "-y", made["token_id"])
    assert cli("job", "list", code=4, MAILLAGE_TOKEN=made["token"])


def test_login_and_logout(cli: Cli, tmp_path: Path) -> None:
    elsewhere = {"MAILLAGE_DATA": "", "XDG_DATA_HOME": str(tmp_path)}
    assert cli("whoami", code=6, **elsewhere)
    assert cli("login", cli.server["url"], text="mlg_wrong\n", code=4, **elsewhere)
    token = (cli.data / "admin.token").read_text()
    cli("login", cli.server["url"], text=token, **elsewhere)
    assert cli("whoami", "-o", "name", **elsewhere).stdout.strip()
    assert cli("logout", **elsewhere)
    assert cli("whoami", code=6, **elsewhere)


def test_the_python_client_does_the_same(cli: Cli) -> None:
    with Client(data=cli.data) as client:
        job = client.run({"name": "from-python", "command": ["echo", "bonjour"]})
        assert job.wait(60).succeeded and list(job.logs()) == ["bonjour"]
        assert job.receipt is not None and job.receipt.sites == (job.info.site,)
        assert client.handle("from-python").id == job.id


async def test_the_awaiting_client_follows_a_job(cli: Cli) -> None:
    async with AsyncClient(data=cli.data) as client:
        job = await client.run({"name": "awaited", "script": "echo one; sleep 0.5; echo two"})
        assert [line async for line in job.logs(follow=True)] == ["one", "two"]
        assert (await job.wait(60)).succeeded


def test_the_log_replays_to_the_same_decisions(cli: Cli) -> None:
    replayed = cli("replay", "--data", str(cli.data)).stdout
    assert "all equal" in replayed


def test_an_exported_log_replays_and_a_spoilt_one_says_where(cli: Cli, tmp_path: Path) -> None:
    cli("run", cli.spec(tmp_path, "name: logged\nscript: 'true'\n"), "-f")
    file = tmp_path / "log.jsonl"
    cli("log", "export", str(file))
    assert file.stat().st_mode & 0o077 == 0
    found = cli.json("replay", str(file))
    assert found["same"] and found["decisions"] > 0 and found["entries"] == len(file.read_text().splitlines())
    last = found["entries"] - 1
    rest = cli("log", "export", "--after", str(last)).stdout.splitlines()
    assert json.loads(rest[0])["offset"] == last + 1
    spoilt = file.read_text().replace('"kind":"start"', '"kind":"drop"', 1)
    file.write_text(spoilt)
    assert "is another one" in cli("replay", str(file), code=1).stdout
    assert "no log at" in cli("replay", str(tmp_path / "missing"), code=3).stderr


def test_top_prints_once_where_there_is_no_terminal(cli: Cli) -> None:
    screen = cli("top").stdout
    assert all(site in screen for site in ("paris", "marseille", "mulhouse"))
