"""The demonstration, by public commands only; each is printed as it is run.

A network of three sites comes up; a language model is trained by a gang of two; its site is cut off in
the middle; it goes on from its checkpoint at another site; the model it made answers, and a pretrained
one beside it, through one gateway; then the receipt. `--keep` leaves the network up.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAILLAGE = str(Path(sys.executable).with_name("maillage"))
STEP_S = 1.0
PATIENCE_S = 600.0


def say(text: str) -> None:
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def show(*words: str) -> None:
    """Print a command and run it in view; a failure ends the demonstration."""
    print("$ " + shlex.join(["maillage", *words]), flush=True)
    done = subprocess.run([MAILLAGE, *words], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"demo: that command ended with exit code {done.returncode}")


def ask(*words: str) -> Any:
    """The JSON of a command, not shown: what the demonstration itself waits for."""
    done = subprocess.run(
        [MAILLAGE, *words, "-o", "json"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def until(what: str, *words: str, holds: Any) -> Any:
    """Ask again until `holds` is true of the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = ask(*words)
        if holds(found):
            return found
        if found.get("state") in ("failed", "cancelled"):
            show("job", "logs", "train-gpt", "--tail", "20")
            raise SystemExit(f"demo: the job ended as {found['state']}: {found.get('reason')}")
        time.sleep(STEP_S)
    raise SystemExit(f"demo: gave up waiting until {what}")


def live_run(job: dict[str, Any]) -> dict[str, Any]:
    return job["runs"][-1] if job["runs"] else {}


def play() -> None:
    say("A network of three sites on this machine")
    show("up", "--detach")
    show("site", "list")

    say("Train a language model from scratch: a gang of two workers; its endpoint waits for the model")
    show("run", "examples/train-gpt/corpus-to-chat.yaml")
    show("endpoint", "deploy", "examples/chat.yaml", "--no-wait")
    job = until("the job has a checkpoint", "job", "show", "train-gpt", holds=has_checkpoint)
    show("job", "logs", "train-gpt", "--tail", "3")

    site = live_run(job)["site"]
    say(f"Cut {site} off: the job's own choice is to go on elsewhere after 8 seconds")
    show("site", "cut", site, "--for", "120", "--yes")
    until("it runs elsewhere", "job", "show", "train-gpt", holds=runs_elsewhere(site))
    show("job", "show", "train-gpt")

    say("It goes on from its checkpoint; the loss goes on where it was")
    show("job", "wait", "train-gpt")
    show("job", "logs", "train-gpt", "--tail", "5")

    say("The model it made answers, and a pretrained one, through one OpenAI-compatible gateway")
    for endpoint in ("train-gpt-chat", "chat"):
        until(f"{endpoint} is ready", "endpoint", "show", endpoint, holds=lambda found: found["ready"] > 0)
    show("endpoint", "list")
    show("chat", "train-gpt-chat", "What is a checkpoint?")
    show("chat", "chat", "Name the capital of France.", "--temperature", "0", "--max-tokens", "48")

    say("The receipt: where, why there, how long, credits, kWh, gCO2e")
    show("job", "show", "train-gpt")
    show("replay")


def has_checkpoint(job: dict[str, Any]) -> bool:
    return bool(live_run(job).get("checkpoint"))


def runs_elsewhere(site: str) -> Any:
    def holds(job: dict[str, Any]) -> bool:
        run = live_run(job)
        return bool(run) and run["site"] != site and run["state"] == "running"

    return holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / ".demo", help="data folder of the network")
    parser.add_argument("--keep", action="store_true", help="leave the network up")
    options = parser.parse_args()
    os.environ["MAILLAGE_DATA"] = str(options.data.resolve())
    started = time.monotonic()
    try:
        play()
    finally:
        if not options.keep:
            say("The end")
            subprocess.run([MAILLAGE, "down"], cwd=ROOT, check=False)
    print(f"\n{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
