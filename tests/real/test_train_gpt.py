"""examples/train-gpt for real: gangs of processes, kill -9 and resume, llama.cpp on what comes out."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train-gpt"
PARTS = (
    "allreduce",
    "batches",
    "checkpoint",
    "corpus",
    "export",
    "facts",
    "model",
    "rendezvous",
    "tokenizer",
)
TINY = ("vocabulary=400", "width=16", "layers=2", "heads=2", "hidden=32", "rows=2", "context=32")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def example() -> Any:
    """The example's modules, as `python train.py` sees them; their short names are given back after."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in PARTS:
            sys.modules.pop(name, None)


class Training:
    """A folder with a run's checkpoints and outputs, and the worker processes of one attempt."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.workers: list[subprocess.Popen[str]] = []

    def start(self, workers: int, first: int = 0) -> Training:
        port = free_port()
        self.workers = []
        for rank in range(first, workers):
            env = os.environ | {
                "RANK": str(rank),
                "WORLD_SIZE": str(workers),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "MAILLAGE_RUN_ID": f"{self.folder.name}.1",
                "MAILLAGE_CHECKPOINT_DIR": str(self.folder / "checkpoints"),
                "MAILLAGE_OUTPUT_DIR": str(self.folder / "outputs"),
            }
            command = [sys.executable, str(EXAMPLE / "train.py"), *self.options]
            self.workers.append(
                subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
        return self

    def end(self) -> tuple[list[int], str]:
        """Exit codes by rank and all they said on stderr."""
        said = [worker.communicate(timeout=PATIENCE_S)[1] for worker in self.workers]
        return [worker.returncode for worker in self.workers], "".join(said)

    def reach(self, step: int) -> None:
        """Wait until rank 0 reports this step or a later one."""
        reports = self.workers[0].stdout
        assert reports
        for line in reports:
            if json.loads(line)["step"] >= step:
                return
        raise AssertionError(f"the run ended before step {step}: {self.end()}")

    def signal(self, number: signal.Signals) -> None:
        for worker in self.workers:
            worker.send_signal(number)

    def metrics(self) -> Any:
        return json.loads((self.folder / "outputs" / "metrics.json").read_text())

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.communicate()


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Any]:
    """Makes trainings, each in a folder of its own, and ends what is left of them."""
    made: list[Training] = []

    def make(name: str, *options: str) -> Training:
        made.append(Training(tmp_path / name, *TINY, *options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_one_two_or_four_workers_see_the_same_losses(training: Any) -> None:
    losses = {}
    for workers in (1, 2, 4):
        run = training(f"by-{workers}", "steps=12").start(workers)
        assert run.end() == ([0] * workers, "")
        losses[workers] = run.metrics()["losses"]
    assert len(losses[1]) == 12
    assert losses[1] == losses[2] == losses[4]
    assert losses[1][-1] < losses[1][0]


def test_killed_runs_go_on_by_one_or_two_workers_as_if_nothing_had_happened(training: Any) -> None:
    options = ("steps=500", "checkpoint_steps=10", "report_steps=1")
    straight = training("straight", *options).start(2)
    assert straight.end() == ([0, 0], "")

    broken = training("broken", *options)
    broken.start(2).reach(25)
    broken.kill()
    broken.start(1).reach(55)
    broken.kill()
    broken.start(2)
    assert broken.end() == ([0, 0], "")

    first, second = broken.metrics()["resumed_from"]
    assert 0 < first <= second < 500
    assert first % 10 == second % 10 == 0
    assert broken.metrics()["losses"] == straight.metrics()["losses"]
    assert straight.metrics()["resumed_from"] == []
    models = [run.folder / "outputs" / "model.gguf" for run in (straight, broken)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_stop_saves_the_step_it_is_at_on_all_workers(training: Any) -> None:
    options = ("steps=300", "checkpoint_steps=1000", "report_steps=1")
    run = training("stopped", *options)
    run.start(2).reach(7)
    run.signal(signal.SIGTERM)
    assert run.end() == ([143, 143], "")
    (saved,) = run.checkpoints()
    assert not (run.folder / "outputs").exists()
    assert run.start(1).end() == ([0], "")
    assert saved == f"step-{run.metrics()['resumed_from'][0]:06d}.npz"
    straight = training("straight", *options).start(1)
    assert straight.end() == ([0], "")
    assert run.metrics()["losses"] == straight.metrics()["losses"]


def test_a_stop_that_reaches_one_worker_stops_the_gang(training: Any) -> None:
    run = training("half-stopped", "steps=300", "checkpoint_steps=1000", "report_steps=1")
    run.start(2).reach(5)
    run.workers[1].terminate()
    assert run.end() == ([143, 143], "")
    assert len(run.checkpoints()) == 1


def test_a_stop_before_the_gang_is_complete_ends_at_once(training: Any) -> None:
    run = training("alone", "steps=10").start(2, first=1)
    run.signal(signal.SIGTERM)
    assert run.end()[0] == [-signal.SIGTERM]


@pytest.mark.parametrize(("dies", "lives"), [(0, 1), (1, 0)])
def test_who_loses_a_worker_says_so_and_fails(training: Any, dies: int, lives: int) -> None:
    run = training("lost", "steps=100000", "report_steps=1")
    run.start(2).reach(3)
    run.workers[dies].kill()
    codes, said = run.end()
    assert codes[lives] == 1
    assert f"rank {lives} lost rank {dies}" in said
    assert "Traceback" not in said


def test_a_finished_run_started_again_only_exports_again(training: Any) -> None:
    run = training("again", "steps=6")
    assert run.start(2).end() == ([0, 0], "")
    model, losses = (run.folder / "outputs" / "model.gguf"), run.metrics()["losses"]
    before = model.read_bytes()
    model.unlink()
    assert run.start(1).end() == ([0], "")
    assert model.read_bytes() == before
    assert run.metrics()["losses"] == losses


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_run(training: Any) -> None:
    run = training("no-room", "steps=6", "checkpoint_steps=3")
    run.folder.mkdir()
    (run.folder / "checkpoints").write_text("a file where the folder should be")
    codes, said = run.start(2).end()
    assert codes == [0, 0]
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "no checkpoint at step 3",
        "no checkpoint at step 6",
    ]
    assert len(run.metrics()["losses"]) == 6


def test_an_output_folder_that_takes_nothing_is_said(training: Any) -> None:
    run = training("no-output", "steps=2")
    run.folder.mkdir()
    (run.folder / "outputs").write_text("a file where the folder should be")
    codes, said = run.start(1).end()
    assert codes == [1]
    assert said.startswith("cannot write the model: ")
    assert "Traceback" not in said


def test_without_gguf_it_says_how_to_get_it_before_any_work(tmp_path: Path) -> None:
    code = "import sys, runpy; sys.modules['gguf'] = None; runpy.run_path('train.py', run_name='__main__')"
    env = os.environ | {"MAILLAGE_CHECKPOINT_DIR": str(tmp_path), "WORLD_SIZE": "1", "RANK": "0"}
    done = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLE, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "no module gguf, which writes the model: pip install 'maillage[serving]'\n"


def test_shards_that_cannot_be_shared_out_are_refused(training: Any) -> None:
    codes, said = training("three", "steps=2").start(3).end()
    assert codes == [2, 2, 2]
    assert "4 shards cannot be shared out evenly over 3 workers" in said


# -- the gang on its own ---------------------------------------------------------------------------------


def meet(example: Any, size: int, port: int, work: Any) -> list[Any]:
    """Run `work(gang)` in a thread per rank, the last rank first; results by rank."""
    results: list[Any] = [None] * size

    def worker(rank: int) -> None:
        place = example.rendezvous.Place(rank, size, "127.0.0.1", port, "run.1")
        with example.allreduce.Gang(place, PATIENCE_S) as gang:
            results[rank] = work(gang)

    threads = [threading.Thread(target=worker, args=(rank,)) for rank in reversed(range(size))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_rank_gets_the_sum_and_what_rank_0_shares(example: Any, size: int) -> None:
    def work(gang: Any) -> tuple[list[float], int]:
        vector = np.arange(300_000, dtype=np.float32) * (gang.place.rank + 1)
        gang.sum(vector)
        shared = np.array([gang.place.rank + 41])
        gang.share(shared)
        return vector.tolist(), int(shared[0])

    port = free_port()
    for _ in range(2):  # the second gang meets at a port that is still in TIME_WAIT
        times = size * (size + 1) // 2
        expected = (np.arange(300_000, dtype=np.float32) * times).tolist()
        assert meet(example, size, port, work) == [(expected, 41)] * size


def test_strangers_are_turned_away(example: Any) -> None:
    place = example.rendezvous.Place(0, 2, "127.0.0.1", free_port(), "run.2")
    old = example.rendezvous.Place(1, 2, place.address, place.port, "run.1")
    said: list[bytes] = []

    def strangers() -> None:
        for greeting in (old.greeting(1), place.greeting(7), b"GET / HTTP/1.1\r\n\r\n".ljust(24)):
            with knock(place.port) as stranger:
                stranger.sendall(greeting)
                said.append(stranger.recv(1))
        with knock(place.port) as stranger:
            stranger.shutdown(socket.SHUT_WR)  # says nothing at all
        friend = example.rendezvous.Place(1, 2, place.address, place.port, "run.2")
        example.allreduce.Gang(friend, PATIENCE_S).close()

    thread = threading.Thread(target=strangers)
    thread.start()
    with example.allreduce.Gang(place, PATIENCE_S) as gang:
        assert list(gang._peers) == [1]
    thread.join(PATIENCE_S)
    assert said == [b"", b"", b""]


def knock(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            time.sleep(0.01)


def test_a_gang_that_never_comes_together_names_who_is_missing(example: Any) -> None:
    place = example.rendezvous.Place(0, 3, "127.0.0.1", free_port(), "run.1")
    with pytest.raises(example.rendezvous.GangBroken, match="in vain for rank 1, 2"):
        example.allreduce.Gang(place, 0.1)
    with pytest.raises(example.rendezvous.GangBroken, match=f"in vain for rank 0 .*:{place.port}"):
        example.allreduce.Gang(example.rendezvous.Place(1, 3, "127.0.0.1", place.port, "run.1"), 0.1)


# -- llama.cpp on the exported model ---------------------------------------------------------------------

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], 0
params.n_ctx, params.n_parallel, params.warmup = 128, 1, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def served(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A model trained for some seconds, in NumPy and behind llama.cpp's server."""
    pytest.importorskip("xllamacpp", reason="needs the extra `serving`")
    sizes = {"vocabulary": 1100, "width": 64, "layers": 2, "heads": 2, "hidden": 128, "context": 64}
    options = [f"{name}={size}" for name, size in sizes.items()]
    folder = tmp_path_factory.mktemp("served")
    run = Training(folder, *options, "steps=250", "rows=2").start(1)
    assert run.end() == ([0], "")
    shape = example.model.Shape(**sizes)
    progress = example.checkpoint.Progress(np.zeros((3, shape.weights), np.float32))
    with np.load(folder / "checkpoints" / "step-000250.npz") as saved:
        progress.state[:] = saved["state"]
    command = [sys.executable, "-c", SERVE, str(folder / "outputs" / "model.gguf")]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), "the server did not start"

        def post(path: str, body: dict[str, Any]) -> Any:
            request = urllib.request.Request(
                address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return json.load(response)

        yield SimpleNamespace(
            post=post,
            model=example.model.Model(shape, progress.state[0]),
            tokenizer=example.batches.Batches(1, sizes["vocabulary"], sizes["context"], 2).tokenizer,
        )
    finally:
        server.kill()
        server.communicate()


QUESTIONS = (
    "What is a checkpoint?",
    "where is lyon",
    "Tell me a story about a job in Nantes.",
    "Hello!",
    "Why?",
)


@pytest.mark.parametrize(
    "text",
    [
        *QUESTIONS,
        "two  spaces, a\nnewline\tand a tab",
        "Žluťoučký kůň 馬 🐎",
        "check-point's 42",
        "▁",
        "<|end|>",
    ],
)
def test_llama_cpp_cuts_text_into_the_same_tokens(served: Any, text: str) -> None:
    theirs = served.post("/tokenize", {"content": text, "add_special": False, "parse_special": False})[
        "tokens"
    ]
    assert theirs == served.tokenizer.encode(text)
    assert served.post("/detokenize", {"tokens": theirs})["content"] == text.replace("▁", " ")


@pytest.mark.parametrize("question", QUESTIONS)
def test_llama_cpp_answers_with_the_tokens_that_numpy_finds_most_likely(
    example: Any, served: Any, question: str
) -> None:
    tokens = served.tokenizer.prompt(question)
    asked = {"prompt": tokens, "temperature": 0, "n_predict": 30, "return_tokens": True, "n_probs": 1}
    answer = served.post("/completion", asked)
    expected: list[int] = []
    while len(expected) < 30 and (not expected or expected[-1] != example.tokenizer.END):
        expected.append(int(served.model.logits(np.array([tokens + expected]))[0, -1].argmax()))
    assert [token for token in answer["tokens"] if token != example.tokenizer.END] == [
        token for token in expected if token != example.tokenizer.END
    ]
    logits = served.model.logits(np.array([tokens]))[0, -1].astype(np.float64)
    surprise = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[expected[0]]
    assert answer["completion_probabilities"][0]["logprob"] == pytest.approx(-surprise, abs=2e-3)


def test_the_chat_template_asks_as_in_training_and_the_answer_ends(served: Any) -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! Ask me."},
        {"role": "user", "content": " What is a checkpoint? "},
    ]
    prompt = served.post("/apply-template", {"messages": messages})["prompt"]
    assert prompt == "<|user|>What is a checkpoint?<|assistant|>"
    asked = {"content": prompt, "add_special": True, "parse_special": True}
    assert served.post("/tokenize", asked)["tokens"] == served.tokenizer.prompt("What is a checkpoint?")

    body = {"messages": messages, "temperature": 0, "max_tokens": 60}
    answer = served.post("/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["prompt_tokens"] == len(served.tokenizer.prompt("What is a checkpoint?"))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
