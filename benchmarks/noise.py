"""How quiet the machine is, and how a figure is told: median and spread of repeats.

    python benchmarks/noise.py

Other work on the machine makes wall time longer and leaves CPU time nearly as it is. So every benchmark
is bracketed by the same fixed piece of work: where its wall time is far above its CPU time, or differs
between before and after, the figures between are worth less.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

CALIBRATION_STEPS = 2_000_000
CALIBRATION_REPEATS = 5

Figures = dict[str, Any]


def calibrate() -> Figures:
    """Milliseconds, by the wall and of CPU, that a fixed loop takes now: the best and the worst of five."""
    wall_ms, cpu_ms = [], []
    for _ in range(CALIBRATION_REPEATS):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        total = 0
        for step in range(CALIBRATION_STEPS):
            total += step & 7
        wall_ms.append((time.perf_counter() - wall_s) * 1000)
        cpu_ms.append((time.process_time() - cpu_s) * 1000)
    return {
        "wall_ms": [round(min(wall_ms), 1), round(max(wall_ms), 1)],
        "cpu_ms": [round(min(cpu_ms), 1), round(max(cpu_ms), 1)],
    }


def machine() -> Figures:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - no file of ours
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@contextmanager
def bracketed() -> Iterator[Figures]:
    """The circumstances of what is measured inside; complete at the end of the block."""
    about: Figures = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "calibration_before": calibrate(),
    }
    began_s = time.perf_counter()
    yield about
    about["took_s"] = round(time.perf_counter() - began_s, 1)
    about["load_after"] = [round(load, 2) for load in os.getloadavg()]
    about["calibration_after"] = calibrate()


def spread(values: Sequence[float], digits: int = 1) -> Figures:
    """Median, least and most of a few repeats."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "repeats": len(values),
    }


def percentiles(values: Sequence[float], digits: int = 3) -> Figures:
    """p50, p99 and the largest of many single measurements."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), digits),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], digits),
        "max": round(ordered[-1], digits),
        "samples": len(ordered),
    }


def alone(measure: Callable[[], Figures]) -> None:
    """Run one benchmark by itself and print its figures as JSON."""
    with bracketed() as about:
        figures = measure()
    print(json.dumps({"machine": machine(), "about": about, "figures": figures}, indent=1))


if __name__ == "__main__":
    print(json.dumps(calibrate() | {"load": os.getloadavg()}))
