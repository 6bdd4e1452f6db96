"""The state of training on disk: written whole or not at all, the last two kept."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from model import Array

KEEP = 2


@dataclass(slots=True)
class Progress:
    """All there is to go on from. `state` rows are weights and Adam's two averages; `losses` by step."""

    state: Array
    step: int = 0
    losses: list[float] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)


def save(folder: Path, progress: Progress, settings: dict[str, Any]) -> Path:
    """Write `step-000040.npz`: first under a name that readers ignore, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{progress.step:06d}.npz"
    story = {"step": progress.step, "losses": progress.losses, "resumed_from": progress.resumed_from}
    unfinished = path.with_suffix(".npz.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, state=progress.state, story=json.dumps(story | {"settings": settings}))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    for old in sorted(folder.glob("step-*.npz"))[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def restore(folder: Path, progress: Progress, settings: dict[str, Any]) -> None:
    """Fill `progress` from the newest readable checkpoint; leave it as it is where there is none.

    Raises SystemExit if that checkpoint belongs to a model or batches of other settings.
    """
    for path in sorted(folder.glob("step-*.npz"), reverse=True):
        try:
            with np.load(path, allow_pickle=False) as saved:
                story, state = json.loads(str(saved["story"])), saved["state"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"skipping {path.name}, which cannot be read: {error}", file=sys.stderr)
            continue
        other = {name: value for name, value in story["settings"].items() if settings.get(name) != value}
        if other:
            was = ", ".join(f"{name}={value}" for name, value in other.items())
            raise SystemExit(
                f"{path} was trained with {was}: say the same, or give another checkpoint folder"
            )
        progress.state[:] = state
        progress.step, progress.losses = story["step"], story["losses"]
        progress.resumed_from = [*story["resumed_from"], story["step"]]
        return
