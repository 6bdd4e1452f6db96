"""Adam on one flat vector (Kingma and Ba, 2015), with the gradient's length held to a maximum."""

from __future__ import annotations

import numpy as np
from model import Array

MEAN_DECAY, SQUARE_DECAY, TINY = 0.9, 0.95, 1e-8
LONGEST_GRADIENT = 1.0


def update(state: Array, gradient: Array, rate: float, step: int) -> None:
    """One step, in place. `state` rows are weights, running mean, running square; `step` counts from 0."""
    weights, mean, square = state
    length = float(np.sqrt(np.dot(gradient, gradient)))
    gradient *= min(1.0, LONGEST_GRADIENT / (length + TINY))
    mean *= MEAN_DECAY
    mean += (1.0 - MEAN_DECAY) * gradient
    square *= SQUARE_DECAY
    square += (1.0 - SQUARE_DECAY) * np.square(gradient)
    # Both averages start at zero; this makes up for it.
    size = np.sqrt(square / (1.0 - SQUARE_DECAY ** (step + 1)))
    weights -= rate / (1.0 - MEAN_DECAY ** (step + 1)) * mean / (size + TINY)
