"""The page, over HTTP as a browser asks for it, and in a real browser where the machine has one."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client as ws

from tests.real.cli_rig import Cli, network, until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with network(tmp_path_factory.mktemp("console")) as up:
        yield up


@pytest.fixture
def visitor(cli: Cli) -> Iterator[httpx.Client]:
    """A browser that keeps cookies and has no token."""
    with httpx.Client(base_url=cli.server["url"], trust_env=False, timeout=30.0) as client:
        yield client


def admin_token(cli: Cli) -> str:
    return (cli.data / "admin.token").read_text().strip()


def test_whoever_is_not_signed_in_is_led_to_the_form(visitor: httpx.Client) -> None:
    answer = visitor.get("/")
    assert answer.status_code == 303 and answer.headers["location"] == "/login"
    form = visitor.get("/login")
    assert form.status_code == 200 and 'name="token"' in form.text
    assert visitor.get("/console/live").status_code == 401


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    visitor: httpx.Client, cli: Cli
) -> None:
    answer = visitor.post("/login", data={"token": admin_token(cli)})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie
    page = visitor.get("/")
    assert page.status_code == 200 and "paris" in page.text and "marseille" in page.text
    assert admin_token(cli) not in page.text
    assert visitor.get("/api/v1/jobs").status_code == 200
    assert visitor.post("/api/v1/jobs", json={"spec": {"name": "x", "command": ["true"]}}).status_code == 401
    assert visitor.post("/api/v1/sites/paris/drain", json={}).status_code == 401
    assert visitor.delete("/api/v1/endpoints/x").status_code == 401
    assert visitor.post("/logout").status_code == 303
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_form_from_elsewhere_signs_nobody_in(
    visitor: httpx.Client, cli: Cli, headers: dict[str, str]
) -> None:
    answer = visitor.post("/login", data={"token": admin_token(cli)}, headers=headers)
    assert answer.status_code == 401 and "set-cookie" not in answer.headers


@pytest.mark.parametrize("token", ["", "mlg_wrong", "<script>alert(1)</script>", "x" * 100_000])
def test_a_wrong_token_is_told_on_the_form(visitor: httpx.Client, token: str) -> None:
    answer = visitor.post("/login", data={"token": token})
    assert answer.status_code == 401 and 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers and "<script>alert" not in answer.text


def test_a_sites_token_opens_no_page(visitor: httpx.Client, cli: Cli) -> None:
    token = (cli.data / "sites" / "paris" / "token").read_text().strip()
    assert visitor.post("/login", data={"token": token}).status_code == 403


def test_nothing_comes_from_elsewhere(visitor: httpx.Client, cli: Cli) -> None:
    visitor.post("/login", data={"token": admin_token(cli)})
    page = visitor.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and page.headers["x-content-type-options"] == "nosniff"
    text = page.text + visitor.get("/console/console.js").text
    addresses = {word for word in text.replace('"', " ").replace("'", " ").split() if "://" in word}
    assert addresses == {"http://www.w3.org/2000/svg"}, "a namespace, never fetched"
    assert "<script src=" in page.text and page.text.count("<script") == 1 and " style=" not in page.text


def test_what_people_name_is_shown_as_text(visitor: httpx.Client, cli: Cli) -> None:
    headers = {"Authorization": f"Bearer {admin_token(cli)}"}
    body = {"reason": "<img src=x onerror=alert(1)>"}
    visitor.post("/api/v1/sites/paris/drain", json=body, headers=headers)
    visitor.post("/api/v1/sites/paris/resume", json={}, headers=headers)
    visitor.post("/login", data={"token": admin_token(cli)})
    assert "<img" not in visitor.get("/").text


class Browser:
    """Chromium, spoken to by its own protocol."""

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        command = [BROWSER, *flags, f"--user-data-dir={folder}", "--proxy-server=direct://", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = folder / "DevToolsActivePort"
        until(lambda: port_file.exists() and len(port_file.read_text().splitlines()) == 2)
        port = port_file.read_text().splitlines()[0]
        pages = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.held = ExitStack()
        self.line = self.held.enter_context(ws.connect(address, proxy=None, max_size=1 << 26))
        self.numbers = itertools.count(1)
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.line.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.line.recv(timeout=60))
            advice = told.get("params", {}).get("entry", {}).get("level") in ("verbose", "info")
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded") and not advice:
                self.complaints.append(json.dumps(told["params"])[:700])
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def text(self, what: str) -> Any:
        return self("Runtime.evaluate", expression=what)["result"].get("value")

    def picture(self, width: int, height: int) -> bytes:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", **size)
        return base64.b64decode(self("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self.held.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no chromium here: the page was not looked at in a browser (`apt-get install chromium`)")
    opened = Browser(tmp_path / "profile")
    yield opened
    opened.close()


def test_the_page_lives_in_a_browser(browser: Browser, cli: Cli, tmp_path: Path) -> None:
    browser("Page.navigate", url=cli.server["url"] + "/login")
    until(lambda: browser.text("!!document.querySelector('form input')"))
    sign_in = (
        f"document.querySelector('input').value = {json.dumps(admin_token(cli))}; document.forms[0].submit()"
    )
    browser("Runtime.evaluate", expression=sign_in)
    until(lambda: browser.text("location.pathname") == "/")
    until(lambda: browser.text("document.getElementById('pulse').textContent") == "live")
    assert browser.text("document.querySelectorAll('.map g').length") == 3
    assert "seen-at-once" not in browser.text("document.body.innerText")
    cli("run", cli.spec(tmp_path, "name: seen-at-once\nscript: sleep 30\n"))
    until(lambda: "seen-at-once" in browser.text("document.body.innerText"))
    until(lambda: browser.text("document.querySelector('td .state').textContent") == "running")
    for width, height in ((1280, 800), (390, 844)):
        picture = browser.picture(width, height)
        assert browser.text("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        if kept := os.environ.get("MAILLAGE_PICTURES"):  # a page is looked at before it is called done
            Path(kept, f"console-{width}.png").write_bytes(picture)
    assert not browser.complaints, "\n".join(browser.complaints)
