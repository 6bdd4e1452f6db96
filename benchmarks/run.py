"""All benchmarks, one after the other; figures into docs/benchmarks.json, tables into docs/benchmarks.md.

    python benchmarks/run.py [--quick] [--only NAME ...] [--redraw]

`--quick` is for trying the benchmarks themselves: small sizes, and nothing is written. `--only` measures
some again and leaves the other figures as they are. `--redraw` makes page and picture again from the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cli_cost
import decide_time
import gateway_latency
import start_latency
import submission
import throughput
from noise import Figures, bracketed, machine
from page import AIMS, MARKS, tables

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RECORD = ROOT / "docs" / "benchmarks.json"
PICTURE = ROOT / "docs" / "pictures" / "decide-time.svg"

BENCHMARKS: dict[str, tuple[Callable[[], Figures], Callable[[], Figures]]] = {
    "submission": (submission.measure, lambda: submission.measure(1)),
    "start_latency": (start_latency.measure, lambda: start_latency.measure(10)),
    "throughput": (throughput.measure, lambda: throughput.measure(200, 1)),
    "decide_time": (decide_time.measure, lambda: decide_time.measure(1_000, 1_000)),
    "cli_cost": (cli_cost.measure, lambda: cli_cost.measure(2)),
    "gateway_latency": (gateway_latency.measure, lambda: gateway_latency.measure(50)),
}


def measured(name: str, quick: bool) -> Figures:
    print(f"{name} ...", flush=True)
    with bracketed() as about:
        figures = BENCHMARKS[name][quick]()
    about["command"] = f"python benchmarks/{name}.py"
    return {"about": about, "figures": figures}


def page_with(text: str, made: dict[str, str]) -> str:
    """The page with every marked part replaced; the words around the marks are left as they are."""
    for name, table in made.items():
        begin, end = (mark.format(name=name) for mark in MARKS)
        before, found, rest = text.partition(begin)
        _, also_found, after = rest.partition(end)
        if not found or not also_found:
            raise SystemExit(f"docs/benchmarks.md has no marks for {name!r}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def write(record: dict[str, Any]) -> None:
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page_with(PAGE.read_text(), tables(record)))
    PICTURE.parent.mkdir(exist_ok=True)
    decide_time.draw(record["benchmarks"]["decide_time"]["figures"], PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=sorted(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--redraw", action="store_true")
    given = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "benchmarks": {}}
    if RECORD.exists() and not given.quick:
        record["benchmarks"] = json.loads(RECORD.read_text())["benchmarks"]
    for name in [] if given.redraw else given.only:
        # by way of text, so that sizes are keys of the same kind as in a record read back
        record["benchmarks"][name] = json.loads(json.dumps(measured(name, given.quick)))
        if not given.quick and set(record["benchmarks"]) == set(BENCHMARKS):
            write(record)
    if given.redraw:
        write(record)
    print("\n\n".join(table for name, table in tables(record).items()))
    print(
        f"\nAims: {len(AIMS)}; figures {'not written' if given.quick else f'in {RECORD.relative_to(ROOT)}'}"
    )


if __name__ == "__main__":
    main()
