"""The tables of docs/benchmarks.md, made from the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MARKS = ("<!-- made: {name} -->", "<!-- end: {name} -->")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Aim:
    """`found` takes a benchmark's figures (None: not measured); `holds` what was found."""

    text: str
    benchmark: str
    found: Callable[[Record], float | None]
    holds: Callable[[float], bool]
    unit: str


def _times_sbatch(way: str) -> Callable[[Record], float]:
    return lambda figures: figures[way].get("times_sbatch", 0.0)


def _most(figures: Record, queued: str) -> float | None:
    """The slowest case before so long a queue."""
    told = figures["by_queue"].get(queued)
    return told and max(one["p50"] for one in told.values())


def _growth(figures: Record, fewest: str, most: str) -> float | None:
    """How many times longer a round takes on the larger fleet, in the case that grows most."""
    first, last = figures["by_nodes"].get(fewest), figures["by_nodes"].get(most)
    return first and last and round(max(last[case]["p50"] / first[case]["p50"] for case in first), 1)


AIMS = (
    Aim("one client, batches of 100, against `sbatch` one at a time: at least 5 times", "submission",
        _times_sbatch("batches_of_100"), lambda times: times >= 5, "times"),
    Aim("eight connections against `sbatch` one at a time: at least 5 times", "submission",
        _times_sbatch("eight_connections"), lambda times: times >= 5, "times"),
    Aim("one connection, one at a time, against `sbatch` one at a time: at least 5 times", "submission",
        _times_sbatch("one_at_a_time"), lambda times: times >= 5, "times"),
    Aim("submission to the job's first line, p50: under 150 ms", "start_latency",
        lambda figures: figures["maillage"]["p50"], lambda ms: ms < 150, "ms"),
    Aim("no-op jobs to completion: over 200 a second", "throughput",
        lambda figures: figures["no_op_wide"]["per_s"]["median"], lambda rate: rate > 200, "/s"),
    Aim("a round with 100,000 waiting, worst case, p50: under 100 ms", "decide_time",
        lambda figures: _most(figures, "100000"), lambda ms: ms < 100, "ms"),
    Aim("a round, from 1,000 nodes to 400,000, the case that grows most: flat", "decide_time",
        lambda figures: _growth(figures, "1000", "400000"), lambda times: times < 2, "times"),
    Aim("`maillage job list`: under 0.5 CPU-s", "cli_cost",
        lambda figures: figures["job list"]["cpu_s"]["median"], lambda cpu_s: cpu_s < 0.5, "CPU-s"),
)  # fmt: skip


def tables(record: Record) -> dict[str, str]:
    """Markdown by the name of its marks, for what was measured."""
    benchmarks = record["benchmarks"]
    made = {"circumstances": _circumstances(record), "aims": _aims(benchmarks)}
    makers = {
        "submission": _submission,
        "start_latency": _start_latency,
        "throughput": _throughput,
        "decide_time": _decide_time,
        "cli_cost": _cli_cost,
        "gateway_latency": _gateway_latency,
    }
    for name, make in makers.items():
        if name in benchmarks:
            made[name] = make(benchmarks[name]["figures"])
    return made


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _spread(told: Record) -> str:
    return f"{told['median']:,} ({told['min']:,}-{told['max']:,})"


def _circumstances(record: Record) -> str:
    machine = record["machine"]
    about = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['system']}, Python {machine['python']}."
    )
    rows = []
    for name, one in record["benchmarks"].items():
        told = one["about"]
        before, after = told["calibration_before"], told["calibration_after"]
        rows.append(
            (
                f"`{told['command']}`" if "command" in told else name,
                told["date"].replace("+00:00", "Z"),
                f"{told['load_before'][0]} / {told['load_after'][0]}",
                " / ".join("{}-{}".format(*loop["wall_ms"]) for loop in (before, after)),
                f"{before['cpu_ms'][0]} / {after['cpu_ms'][0]}",
                told["took_s"],
            )
        )
    head = ("command", "date", "load before / after", "fixed loop, wall ms", "CPU ms", "took s")
    return f"{about}\n\n{_table(head, rows)}"


def _aims(benchmarks: Record) -> str:
    rows = []
    for aim in AIMS:
        if aim.benchmark in benchmarks:
            found = aim.found(benchmarks[aim.benchmark]["figures"])
            if found is not None:
                rows.append((aim.text, f"{found:,} {aim.unit}", "met" if aim.holds(found) else "**missed**"))
    return _table(("aim", "found", ""), rows)


def _submission(figures: Record) -> str:
    names = {
        "one_at_a_time": "HTTP, one connection, one at a time",
        "eight_connections": "HTTP, eight connections",
        "batches_of_100": "HTTP, one connection, batches of 100",
        "maillage_run": "`maillage run FILE`, a process for each",
        "sbatch": "`sbatch`, a process for each",
        "sbatch_by_eight": "`sbatch`, eight processes at a time",
    }
    rows = []
    for key, name in names.items():
        told = figures.get(key, "not run")
        if isinstance(told, str):
            rows.append((name, told, "", ""))
        else:
            cpu = _spread(told["server_cpu_ms"]) if "server_cpu_ms" in told else ""
            rows.append((name, _spread(told["per_s"]), told.get("times_sbatch", ""), cpu))
    return _table(("way", "jobs a second", "times `sbatch`", "server CPU ms a job"), rows)


def _start_latency(figures: Record) -> str:
    rows = []
    for name in ("maillage", "slurm"):
        told = figures[name]
        if isinstance(told, str):
            rows.append((name, told, "", "", ""))
        else:
            rows.append((told.get("version", name), told["p50"], told["p99"], told["max"], told["samples"]))
    return _table(("", "p50 ms", "p99 ms", "largest ms", "jobs"), rows)


def _throughput(figures: Record) -> str:
    names = {
        "no_op_narrow": "no-op, 24 promised CPUs",
        "no_op_wide": "no-op, 1,536 promised CPUs",
        "true_narrow": "`true`, a process each, 24 promised CPUs",
        "true_wide": "`true`, a process each, 1,536 promised CPUs",
        "slurm": "Slurm, `true`, one array, 24 CPUs",
    }
    rows = []
    for key, name in names.items():
        told = figures[key]
        if isinstance(told, str):
            rows.append((name, told, "", ""))
        else:
            cpu = _spread(told["server_cpu_ms"]) if "server_cpu_ms" in told else ""
            rows.append((name, _spread(told["per_s"]), cpu, told["jobs"]))
    return _table(("", "jobs ended a second", "server CPU ms a job", "jobs"), rows)


def _decide_time(figures: Record) -> str:
    made = []
    for sweep, about in (
        ("by_queue", f"jobs waiting, before {figures['nodes_of_queues']:,} nodes"),
        ("by_nodes", f"nodes, {figures['queue_of_nodes']:,} jobs waiting"),
    ):
        cases = list(next(iter(figures[sweep].values())))
        rows = [
            (f"{int(size):,}", *(f"{told[case]['p50']:.2f} / {told[case]['p99']:.2f}" for case in cases))
            for size, told in figures[sweep].items()
        ]
        made.append(_table((about, *cases), rows))
    return "\n\n".join(made)


def _cli_cost(figures: Record) -> str:
    rows = [
        (f"`maillage {command}`", _spread(told["cpu_s"]), _spread(told["wall_s"]))
        for command, told in figures.items()
    ]
    return _table(("command", "CPU s", "wall s"), rows)


def _gateway_latency(figures: Record) -> str:
    names = {"whole": "answered whole", "streamed": "streamed"}
    rows = [
        (
            name,
            figures[key]["straight_p50_ms"],
            figures[key]["through_p50_ms"],
            figures[key]["added_p50_ms"],
            figures[key]["added_p99_ms"],
            figures[key]["gateway_cpu_us_per_request"],
        )
        for key, name in names.items()
    ]
    head = (
        "",
        "straight p50 ms",
        "through p50 ms",
        "added p50 ms",
        "added p99 ms",
        "gateway CPU us a request",
    )
    return _table(head, rows)
