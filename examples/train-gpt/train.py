"""Trains a small language model from nothing, alone or in a gang, and exports it for llama.cpp.

Options are `name=value` (see `Settings`), for instance `python train.py steps=40`. The environment says
the rest: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, MAILLAGE_CHECKPOINT_DIR, MAILLAGE_OUTPUT_DIR.

Each step's batch is cut into `shards`, drawn by (seed, step, shard) and shared out over the workers.
Sums follow a fixed tree over the shards, so 1, 2 or 4 workers compute the same numbers, and a run that
is resumed, by as many workers or not, goes on as if it had never stopped.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: a worker has one core, and the number of threads changes how a product is rounded.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import ctypes
import importlib.util
import json
import math
import signal
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import adam
import numpy as np
from allreduce import Gang, tree_sum
from batches import Batches
from checkpoint import Progress, restore, save
from model import Array, Model, Shape, initial
from rendezvous import GangBroken, Place

STOPPED = 143  # as the shell says it: 128 + SIGTERM


@dataclass(frozen=True, slots=True)
class Settings:
    """What may be said on the command line. A batch has `shards * rows * context` tokens."""

    steps: int = 400
    seed: int = 1
    vocabulary: int = 1536
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 384
    context: int = 128
    shards: int = 4
    rows: int = 2
    learning_rate: float = 5e-3
    warmup: int = 20
    checkpoint_steps: int = 20
    report_steps: int = 10

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> Self:
        """Raises SystemExit with every argument that is wrong."""
        kinds = {field.name: int if field.type == "int" else float for field in fields(cls)}
        chosen, wrong = {}, []
        for argument in arguments:
            name, _, value = argument.partition("=")
            try:
                chosen[name] = kinds[name](value)
            except (KeyError, ValueError):
                wrong.append(argument)
        if wrong:
            raise SystemExit(f"cannot read {', '.join(wrong)}; options are name=number: {', '.join(kinds)}")
        return cls(**chosen)

    def shape(self) -> Shape:
        return Shape(self.vocabulary, self.width, self.layers, self.heads, self.hidden, self.context)

    def rate(self, step: int) -> float:
        """Learning rate of a step: a linear rise, then half a cosine down to a twentieth."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        way = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * way)))


class Stop:
    """Becomes true when SIGTERM comes. Until `listen`, the signal ends the process as usual."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


class Trainer:
    """One worker's training: its share of each step's batch, and the state that all workers agree on."""

    def __init__(self, settings: Settings, gang: Gang) -> None:
        self.settings, self.gang, self.stop = settings, gang, Stop()
        self.batches = Batches(settings.seed, settings.vocabulary, settings.context, settings.rows)
        shape = settings.shape()
        self.progress = Progress(np.zeros((3, shape.weights), np.float32))
        self.progress.state[0] = initial(shape, settings.seed)
        self.model = Model(shape, self.progress.state[0])
        each = settings.shards // gang.place.size
        self.shards = range(gang.place.rank * each, (gang.place.rank + 1) * each)

    def resume(self, folder: Path) -> None:
        """Rank 0 reads the newest checkpoint and gives it to the others, who may see no such folder."""
        if self.gang.place.rank == 0:
            restore(folder, self.progress, self._identity())
        step = np.array([self.progress.step], np.int64)
        self.gang.share(step)
        self.gang.share(self.progress.state)
        self.progress.step = int(step[0])

    def save(self, folder: Path) -> None:
        """Rank 0 writes a checkpoint. One that cannot be written costs time after a kill, not the run."""
        if self.gang.place.rank == 0:
            try:
                save(folder, self.progress, self._identity())
            except OSError as error:
                _say(f"no checkpoint at step {self.progress.step}: {error}", 0)

    def step(self) -> bool:
        """Train one step; False, with nothing changed, if some worker was asked to stop.

        What the workers sum: the gradient, the loss, the weight of all targets, and who wants to stop.
        Since all see the same sum, all leave at the same step.
        """
        summed = tree_sum([self._shard(shard) for shard in self.shards])
        summed[-1] = self.stop.asked
        self.gang.sum(summed)
        loss, count, stops = summed[-3:].tolist()
        if stops:
            return False
        step = self.progress.step
        adam.update(self.progress.state, summed[:-3] / np.float32(count), self.settings.rate(step), step)
        self.progress.losses.append(loss / count)
        self.progress.step += 1
        return True

    def exact(self) -> float:
        """Share of held-out questions whose answer, word for word, is the model's most likely one."""
        exam = self.batches.exam()
        right = self.model.logits(exam.tokens).argmax(-1) == exam.targets
        return float((right | (exam.weight == 0)).all(axis=1).mean())

    def _shard(self, shard: int) -> Array:
        batch = self.batches.draw(self.progress.step, shard)
        summed = np.zeros(self.model.flat.size + 3, np.float32)
        summed[-3] = self.model.loss(batch.tokens, batch.targets, batch.weight, summed[:-3])
        summed[-2] = batch.weight.sum()
        return summed

    def _identity(self) -> dict[str, Any]:
        """The settings that a checkpoint belongs to: all but how often to save and report."""
        return {
            k: v for k, v in asdict(self.settings).items() if k not in ("checkpoint_steps", "report_steps")
        }


def main() -> int:
    """Exit code: 0 done, 143 stopped by SIGTERM, 1 gang broken or disk full, 2 asked for what cannot be."""
    settings, place = Settings.from_arguments(sys.argv[1:]), Place.from_environment()
    checkpoints = Path(os.environ.get("MAILLAGE_CHECKPOINT_DIR", "checkpoints"))
    outputs = Path(os.environ.get("MAILLAGE_OUTPUT_DIR", "outputs"))
    keep_memory()
    if place.size not in (1, 2, 4, 8) or settings.shards % place.size:
        return _say(f"{settings.shards} shards cannot be shared out evenly over {place.size} workers", 2)
    if importlib.util.find_spec("gguf") is None:
        return _say("no module gguf, which writes the model: pip install 'maillage[serving]'", 2)
    try:
        with Gang(place) as gang:
            trainer = Trainer(settings, gang)
            trainer.resume(checkpoints)
            if not train(trainer, checkpoints):
                return STOPPED
    except GangBroken as broken:
        return _say(str(broken), 1)
    if place.rank == 0:
        try:
            finish(trainer, outputs)
        except OSError as error:
            return _say(f"cannot write the model: {error}", 1)
    return 0


def train(trainer: Trainer, checkpoints: Path) -> bool:
    """Step until done, saving now and then; True if done, False if stopped (after a last save)."""
    settings, progress = trainer.settings, trainer.progress
    batch_tokens = settings.shards * settings.rows * settings.context
    trainer.stop.listen()
    since, at = progress.step, time.monotonic()
    while progress.step < settings.steps:
        try:
            went_on = trainer.step()
        except GangBroken:
            if not trainer.stop.asked:
                raise
            went_on = False  # all were told to stop, and the others were quicker
        if not went_on:
            trainer.save(checkpoints)
            return False
        last = progress.step == settings.steps
        if progress.step % settings.checkpoint_steps == 0 or last:
            trainer.save(checkpoints)
        if trainer.gang.place.rank == 0 and (progress.step % settings.report_steps == 0 or last):
            speed = (progress.step - since) * batch_tokens / (time.monotonic() - at)
            report = {"step": progress.step, "loss": progress.losses[-1], "tokens_per_s": round(speed)}
            print(json.dumps(report), flush=True)
            since, at = progress.step, time.monotonic()
    return True


def finish(trainer: Trainer, outputs: Path) -> None:
    """Write the model and how it was trained, and show that it learned something."""
    from export import write_gguf  # needs gguf, which only rank 0 at the end does

    outputs.mkdir(parents=True, exist_ok=True)
    write_gguf(outputs / "model.gguf", trainer.model, trainer.batches.tokenizer)
    progress = trainer.progress
    metrics = {
        "steps": progress.step,
        "parameters": trainer.model.flat.size,
        "held_out_exact": round(trainer.exact(), 4),
        "resumed_from": progress.resumed_from,
        "losses": progress.losses,
    }
    unfinished = outputs / "metrics.json.tmp"
    unfinished.write_text(json.dumps(metrics))
    unfinished.replace(outputs / "metrics.json")
    print(json.dumps({name: value for name, value in metrics.items() if name != "losses"}), flush=True)


def keep_memory() -> None:
    """Let the process keep the memory it has freed, for the next array.

    glibc gives large arrays back to the system, which fills them with zeros when they are asked for
    again, at every operation: a fifth of the time. Other C libraries have no such knob.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 1 << 25)


def _say(trouble: str, exit_code: int) -> int:
    print(trouble, file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
