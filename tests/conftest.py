"""Seeds for the simulation tier: `--seeds N` for many, `--seed K` to repeat one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=20, help="how many seeds each simulation runs")
    parser.addoption("--seed", type=int, default=None, help="run this one seed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" not in metafunc.fixturenames or "simulation" not in metafunc.definition.path.parts:
        return
    one = metafunc.config.getoption("seed")
    seeds = [one] if one is not None else range(metafunc.config.getoption("seeds"))
    metafunc.parametrize("seed", seeds)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    seed = getattr(item, "callspec", None) and item.callspec.params.get("seed")  # type: ignore[attr-defined]
    if report.failed and "simulation" in item.path.parts and seed is not None:
        report.sections.append(("repeat this seed with", f"make sim SEED={seed}"))
    return report
