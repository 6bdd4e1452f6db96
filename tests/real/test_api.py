"""The API over a real network: what is asked comes true, and nobody gets what is not theirs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client as ws
from websockets.exceptions import InvalidStatus

from maillage.interfaces.api import shapes
from tests.real.cli_rig import Cli, network, until


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with network(tmp_path_factory.mktemp("api")) as up:
        yield up


@pytest.fixture(scope="module")
def admin(cli: Cli) -> Iterator[httpx.Client]:
    with client(cli, (cli.data / "admin.token").read_text().strip()) as signed_in:
        yield signed_in


def client(cli: Cli, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(
        base_url=cli.server["url"] + "/api/v1", headers=headers, trust_env=False, timeout=60.0
    )


def site_client(cli: Cli, site: str) -> httpx.Client:
    return client(cli, (cli.data / "sites" / site / "token").read_text().strip())


def submit(admin: httpx.Client, name: str, script: str, **spec: Any) -> dict[str, Any]:
    body = {"spec": {"name": name, "script": script, "time_limit": "5m", **spec}}
    answer = admin.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


def ended(admin: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = admin.get(f"/jobs/{job['id']}").json()
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    found: dict[str, Any] = until(look)
    return found


def test_a_gang_runs_and_leaves_logs_outputs_events_and_a_receipt(admin: httpx.Client) -> None:
    script = "echo I am $RANK of $WORLD_SIZE; [ $RANK = 0 ] && echo kept > $MAILLAGE_OUTPUT_DIR/a.txt; true"
    job = ended(admin, submit(admin, "gang", script, workers=2))
    assert job["state"] == "succeeded", job
    shapes.Job.model_validate(job)
    assert job["receipt"]["accelerator_s"] >= 0 and job["runs"][0]["exit_codes"] == [0, 0]
    for worker in (0, 1):
        text = admin.get("/jobs/gang/logs", params={"worker": worker, "follow": True}).text
        assert text == f"I am {worker} of 2\n"
    outputs = admin.get("/jobs/gang/outputs").json()
    shapes.Outputs.model_validate(outputs)
    assert outputs["files"] == [{"path": "a.txt", "size": 5}]
    assert admin.get("/jobs/gang/outputs/a.txt").content == b"kept\n"
    assert admin.get(f"/artifacts/{outputs['artifact']}").status_code == 200
    kinds = [event["kind"] for event in admin.get("/jobs/gang/events").json()["items"]]
    assert "submitted" in kinds and "ended" in kinds


def test_answers_have_the_shapes_of_the_document(admin: httpx.Client) -> None:
    submit(admin, "shape", "true")
    shapes.JobPage.model_validate(admin.get("/jobs").json())
    for site in admin.get("/sites").json()["items"]:
        shapes.Site.model_validate(site)
    shapes.Me.model_validate(admin.get("/me").json())
    spec = {"name": "q", "command": ["true"], "time_limit": "1m"}
    shapes.Quote.model_validate(admin.post("/jobs:quote", json={"spec": spec}).json())
    shapes.Why.model_validate(admin.get("/jobs/shape/why").json())


def test_one_key_is_one_job(admin: httpx.Client) -> None:
    body = {"spec": {"name": "once", "command": ["true"]}, "idempotency_key": "k1"}
    first, again = (admin.post("/jobs", json=body).json() for _ in range(2))
    assert first["id"] == again["id"]
    other = admin.post("/jobs", json={**body, "spec": {"name": "twice", "command": ["true"]}})
    assert other.status_code == 409 and first["id"] in other.json()["error"]["message"]


def test_a_batch_of_a_hundred(admin: httpx.Client) -> None:
    items = [{"spec": {"name": f"many-{n}", "command": ["true"]}} for n in range(100)]
    answers = admin.post("/jobs:batch", json={"jobs": items}).json()["items"]
    assert len({answer["id"] for answer in answers}) == 100
    assert all(ended(admin, answer)["state"] == "succeeded" for answer in answers)


def test_what_can_never_fit_is_refused_with_what_would(admin: httpx.Client) -> None:
    spec = {"name": "huge", "command": ["true"], "workers": 5000}
    answer = admin.post("/jobs", json={"spec": spec})
    assert answer.status_code == 422 and "most" in answer.json()["error"]["message"].lower()


def test_secrets_reach_the_job_and_nothing_else(admin: httpx.Client, cli: Cli) -> None:
    secret = "hf_never_to_be_seen_again"
    admin.post("/projects/default/secrets", json={"name": "HF_TOKEN", "value": secret})
    script = 'printf %s "$HF_TOKEN" | base64'
    job = ended(admin, submit(admin, "secretive", script, secrets=["HF_TOKEN"]))
    text = admin.get("/jobs/secretive/logs", params={"follow": True}).text
    assert base64.b64decode(text).decode() == secret
    shown = json.dumps(
        [job, admin.get("/jobs/secretive/events").json(), admin.get("/log?limit=10000").json()]
    )
    assert secret not in shown
    for path in cli.data.rglob("*"):
        if path.is_file() and not path.name.endswith("-shm"):
            assert secret.encode() not in path.read_bytes(), path


def test_a_drained_site_takes_nothing_and_a_resumed_one_does(admin: httpx.Client) -> None:
    assert admin.post("/sites/paris/drain", json={"reason": "works"}).json()["state"] == "drained"
    waiting = submit(admin, "only-paris", "true", sites=["paris"])
    why = until(lambda: admin.get(f"/jobs/{waiting['id']}/why").json())
    assert "paris" in json.dumps(why)
    assert admin.post("/sites/paris/resume", json={}).json()["state"] == "open"
    assert ended(admin, waiting)["state"] == "succeeded"


def test_a_site_that_is_cut_off_is_seen_to_be_and_comes_back(admin: httpx.Client) -> None:
    def state() -> str:
        return str(admin.get("/sites/marseille").json()["state"])

    assert admin.post("/sites/marseille/cut", json={"for_s": 25}).status_code == 200
    until(lambda: state() == "unreachable")
    until(lambda: state() == "open", 120.0)


def test_a_shell_in_a_running_job(admin: httpx.Client, cli: Cli) -> None:
    job = submit(admin, "shelled", "sleep 60")
    until(lambda: admin.get(f"/jobs/{job['id']}").json()["state"] == "running")
    token = (cli.data / "admin.token").read_text().strip()
    address = cli.server["url"].replace("http", "ws") + f"/api/v1/jobs/{job['id']}/shell"
    with ws.connect(address, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as line:
        line.send(json.dumps({"resize": [20, 60]}))
        line.send(b"stty size; exit 7\n")
        said, code = b"", None
        for message in line:
            if isinstance(message, bytes):
                said += message
            else:
                code = json.loads(message).get("exit", code)
    assert b"20 60" in said and code == 7
    admin.post(f"/jobs/{job['id']}/cancel")
    assert ended(admin, job)["state"] == "cancelled"
    signed = {"Authorization": f"Bearer {token}"}
    with pytest.raises(InvalidStatus) as refused, ws.connect(address, additional_headers=signed, proxy=None):
        pass
    assert refused.value.response.status_code == 409
    assert "error" in json.loads(refused.value.response.body or b"")
    with pytest.raises(InvalidStatus) as refused, ws.connect(address, proxy=None):
        pass
    assert refused.value.response.status_code == 401


def test_the_stream_tells_a_change_when_it_happens(admin: httpx.Client) -> None:
    with admin.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        first = _frame(lines)
        job = submit(admin, "told", "true")
        ended(admin, job)
        while (later := _frame(lines))["jobs"]["succeeded"] <= first["jobs"]["succeeded"]:
            assert later["offset"] >= first["offset"]
        assert later["offset"] > first["offset"] and len(later["sites"]) == 3


def _frame(lines: Iterator[str]) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    return frame


LONE = "\ud800"  # half of a character: JSON can escape it, UTF-8 cannot hold it


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs", {"spec": {"name": "x", "command": ["true"], "env": {"A": LONE}}}),
        ("/jobs", {"spec": {"name": "x", "command": ["true"], "env": {LONE: "a"}}}),
        ("/jobs", {"spec": {"name": "x", "command": ["echo", LONE]}}),
        ("/jobs", {"spec": {"name": "x", "script": LONE}}),
        ("/jobs", {"spec": {"name": "x", "command": ["true"], "after": [LONE]}}),
        ("/jobs", {"spec": {"name": "x", "command": ["true"], "outputs": [LONE]}}),
        ("/jobs", {"spec": {"name": "x", "command": ["true"]}, "idempotency_key": LONE}),
        ("/jobs:batch", {"jobs": [{"spec": {"name": "x", "command": ["true"], "secrets": [LONE]}}]}),
        ("/jobs:quote", {"spec": {"name": "x", "command": ["true"], "sites": [LONE]}}),
        ("/users", {"user": LONE}),
        ("/tokens", {"name": LONE}),
        ("/projects/default/secrets", {"name": LONE, "value": LONE}),
        ("/sites/paris/drain", {"reason": LONE}),
    ],
)
def test_text_that_is_not_utf_8_is_refused_and_the_network_goes_on(
    admin: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    answer = admin.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert "not JSON in UTF-8" in answer.json()["error"]["message"]
    assert admin.get("/status").json()["refusing"] is None
    submit(admin, "still-there", "true")


def test_a_body_nested_without_end_is_refused(admin: httpx.Client) -> None:
    deep = b'{"spec":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = admin.post("/jobs", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_an_idempotency_key_is_bounded(admin: httpx.Client) -> None:
    body = {"spec": {"name": "long", "command": ["true"]}, "idempotency_key": "k" * 201}
    assert admin.post("/jobs", json=body).status_code == 422
    assert admin.post("/jobs:batch", json={"jobs": [body]}).status_code == 422


def test_a_sites_token_is_good_for_that_site_alone(admin: httpx.Client, cli: Cli) -> None:
    with site_client(cli, "paris") as agent:
        for path in ("/jobs", "/sites", "/status", "/events", "/log", "/tokens", "/orgs", "/endpoints"):
            assert agent.get(path).status_code == 403, path
        body = {"incarnation": "stolen", "seq": 1}
        assert agent.post("/sites/marseille/sync", json=body).status_code == 403
        assert agent.post("/sites/marseille/logs", json={"chunks": []}).status_code == 403
        assert agent.get("/me").json()["site"] == "paris"
    assert {site["state"] for site in admin.get("/sites").json()["items"]} == {"open"}


def test_two_projects_do_not_see_each_other(admin: httpx.Client, cli: Cli) -> None:
    people: dict[str, httpx.Client] = {}
    for name in ("ada", "bob"):
        admin.post("/users", json={"user": name})
        admin.post("/projects", json={"project": f"of-{name}", "org": "default"})
        admin.post(f"/projects/of-{name}/members", json={"user": name})
        token = admin.post("/tokens", json={"user": name}).json()["token"]
        people[name] = client(cli, token)
    with people["ada"] as ada, people["bob"] as bob:
        job = submit(ada, "private", "echo mine > $MAILLAGE_OUTPUT_DIR/x; echo mine", project="of-ada")
        assert ended(ada, job)["user"] == "ada"
        assert [one["id"] for one in ada.get("/jobs").json()["items"]] == [job["id"]]
        assert bob.get("/jobs").json()["items"] == []
        for ref in (job["id"], "private"):
            for end in ("", "/why", "/logs", "/events", "/outputs", "/outputs/x"):
                assert bob.get(f"/jobs/{ref}{end}").status_code == 404, end
            for verb in ("cancel", "requeue"):
                assert bob.post(f"/jobs/{ref}/{verb}").status_code == 404
        inputs = [{"job": job["id"], "to": "stolen"}]
        spec = {"name": "thief", "project": "of-bob", "script": "ls", "inputs": inputs}
        assert bob.post("/jobs", json={"spec": spec}).status_code == 404
        assert (
            bob.post("/jobs", json={"spec": {**spec, "project": "of-ada", "inputs": []}}).status_code == 404
        )
        assert bob.get("/jobs", params={"project": "of-ada"}).status_code == 404
        assert bob.post("/sites/paris/drain", json={}).status_code == 403


def test_no_token_was_ever_written_down(cli: Cli) -> None:
    tokens = [
        path.read_text().strip() for path in (cli.data / "admin.token", *cli.data.glob("sites/*/token"))
    ]
    said = Path(cli.data / "up.log").read_text() + "".join(map(str, cli.data.rglob("*")))
    assert all(token not in said and token[4:] not in said for token in tokens)


def test_metrics_after_all_this(cli: Cli) -> None:
    text = httpx.get(cli.server["url"] + "/metrics", trust_env=False).text
    assert 'maillage_jobs{state="succeeded"}' in text
    assert 'maillage_site_open{site="paris"} 1.0' in text
    assert 'status="500"' not in text, "some request was answered with a fault of ours"
