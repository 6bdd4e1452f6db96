"""The demonstration, for real: three sites, a gang cut off in training, its model answering, the receipt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from maillage.feeds.sites import recorded_feeds
from maillage.network.loader import parse
from maillage.network.model import HostSize

ROOT = Path(__file__).parents[2]
MAILLAGE = str(Path(sys.executable).with_name("maillage"))


class Demo:
    """The network that the demonstration left up, asked by public commands."""

    def __init__(self, data: Path, said: str) -> None:
        self.data = data
        self.said = said

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            [MAILLAGE, *words, "--data", str(self.data), "-o", "json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    def losses(self, job: str, attempt: int) -> dict[int, str]:
        """Loss by step, as printed: the digits must go on exactly."""
        done = subprocess.run(
            [MAILLAGE, "job", "logs", job, "--attempt", str(attempt), "--data", str(self.data)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
        return {line["step"]: repr(line["loss"]) for line in lines}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    data = tmp_path_factory.mktemp("demo") / "data"
    environment = {**os.environ, "MAILLAGE_DATA": str(data)}
    command = [sys.executable, "tools/demo.py", "--keep", "--data", str(data)]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Demo(data, done.stdout)
    finally:
        subprocess.run([MAILLAGE, "down", "--data", str(data)], check=False)


def test_every_step_is_a_public_command_and_is_said(demo: Demo) -> None:
    said = [line.split()[2] for line in demo.said.splitlines() if line.startswith("$ maillage ")]
    assert {"up", "site", "run", "endpoint", "job", "chat", "replay"} <= set(said)
    assert "all equal" in demo.said


def test_the_gang_ran_twice_and_at_two_sites(demo: Demo) -> None:
    job = demo.ask("job", "show", "train-gpt")
    assert job["state"] == "succeeded"
    first, second = job["runs"]
    assert [first["attempt"], second["attempt"]] == [1, 2]
    assert first["site"] != second["site"]
    assert (first["state"], first["reason"]) == ("expired", "site_lost")
    assert second["exit_codes"] == [0, 0]
    assert second["restored_from"] == first["checkpoint"] != ""
    assert first["ended_at"] <= second["assigned_at"]


def test_the_loss_falls_and_goes_on_where_it_was(demo: Demo) -> None:
    first, second = demo.losses("train-gpt", 1), demo.losses("train-gpt", 2)
    metrics = json.loads(_output(demo, "train-gpt", "metrics.json"))
    assert len(metrics["resumed_from"]) == 1
    resumed_from = metrics["resumed_from"][0]
    assert 0 < resumed_from < max(second)
    assert min(second) > resumed_from, "no step before the checkpoint is done again"
    assert all(second[step] == loss for step, loss in first.items() if step in second), "same digits"
    losses = [float(loss) for _, loss in sorted({**first, **second}.items())]
    assert losses[-1] < 0.1 < 3.0 < losses[0]
    assert len(metrics["losses"]) >= max(second)


def _output(demo: Demo, job: str, path: str) -> bytes:
    command = [MAILLAGE, "job", "outputs", job, "--cat", path, "--data", str(demo.data)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("model", ["train-gpt-chat", "chat"])
def test_both_models_answer_through_the_gateway_and_usage_adds_up(demo: Demo, model: str) -> None:
    server = json.loads((demo.data / "server.json").read_text())
    token = (demo.data / "admin.token").read_text().strip()
    client = OpenAI(base_url=server["url"] + "/v1", api_key=token)
    assert {"train-gpt-chat", "chat"} <= {found.id for found in client.models.list()}
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is a checkpoint?"}], max_tokens=24
    )
    assert answer.choices[0].message.content
    usage = answer.usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 24
    assert usage.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_receipt_can_be_recomputed(demo: Demo) -> None:
    """From attempts, watts, metered CPU time, prices and the recorded signals, hour by hour."""
    job = demo.ask("job", "show", "train-gpt")
    receipt = job["receipt"]
    network = parse((ROOT / "networks/laptop.yaml").read_text(), "laptop.yaml", host=HostSize(4, 8.0))
    hours = recorded_feeds(network).hours
    carbon_g = energy_kwh = credits_micros = 0.0
    for stay, run in zip(receipt["sites"], job["runs"], strict=True):
        assert (stay["from"], stay["to"]) == (run["started_at"], run["ended_at"])
        assert stay["charged"] is (run["reason"] != "site_lost"), "a site's fault is not charged"
        at_s = _unix_s(run["started_at"])
        span_s = _unix_s(run["ended_at"]) - at_s
        watts = stay["unit_watts"]
        held_w = stay["units"] * (watts["idle_w"] + watts["overhead_w"])
        it_kwh = (held_w * span_s + (watts["peak_w"] - watts["idle_w"]) * run["metered_cpu_s"]) / 3.6e6
        assert it_kwh == pytest.approx(stay["energy_it_kwh"], rel=1e-6)
        site = hours[stay["site"]]
        drawn_kwh = emitted_g = 0.0
        for from_s, to_s in _hours(at_s, at_s + span_s):
            piece_kwh = it_kwh * (to_s - from_s) / span_s * float(site.pue.value_at(from_s))
            drawn_kwh += piece_kwh
            emitted_g += piece_kwh * float(site.carbon.value_at(from_s))
        assert stay["energy_kwh"] == pytest.approx(drawn_kwh, rel=1e-6)
        assert stay["carbon_g"] == pytest.approx(emitted_g, rel=1e-6)
        energy_kwh += stay["energy_kwh"]
        carbon_g += stay["carbon_g"]
        if stay["charged"]:
            credits_micros += stay["units"] * span_s / 3600 * stay["price_credits_micros"]
    assert receipt["energy_kwh"] == pytest.approx(energy_kwh)
    assert receipt["carbon_g"] == pytest.approx(carbon_g)
    assert receipt["credits_micros"] == int(credits_micros)


def _hours(from_s: float, to_s: float) -> Iterator[tuple[float, float]]:
    """The pieces of a span between whole hours, where the recorded signals may step."""
    while from_s < to_s:
        next_s = min(to_s, (from_s // 3600 + 1) * 3600)
        yield from_s, next_s
        from_s = next_s


def _unix_s(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
