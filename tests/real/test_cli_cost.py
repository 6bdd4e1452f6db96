"""What the commonest command loads: a list of jobs must not pay for the server's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HEAVY = {
    "aiohttp",
    "alembic",
    "anyio",
    "asyncio",
    "fastapi",
    "httpx",
    "numba",
    "numpy",
    "psutil",
    "pyarrow",
    "pydantic",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "yaml",
}
PROBE = """
import sys
from maillage.interfaces.cli import main
try:
    main(sys.argv[1:])
finally:
    print(" ".join(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(
                {"items": [{"id": "j0000000000001", "name": "train", "state": "pending"}], "next": None}
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("options", [[], ["-o", "json"]], ids=["table", "json"])
def test_a_list_of_jobs_loads_none_of_the_servers_libraries(
    url: str, options: list[str], tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, "job", "list", "--url", url, *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert "j0000000000001" in ran.stdout
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert loaded & HEAVY == set()
