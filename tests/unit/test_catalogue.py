"""Device sheets: figures that make sense, each with its source on its own line."""

import doctest
import inspect
import re

import pytest

from maillage.errors import NotFound
from maillage.network import catalogue
from maillage.network.catalogue import ACCELERATORS, CPU, accelerator

GPUS = [device for device in ACCELERATORS.values() if device.name != CPU]


def test_the_examples_in_the_docstrings_hold():
    outcome = doctest.testmod(catalogue)
    assert outcome.attempted and not outcome.failed


def test_what_the_network_needs_is_there():
    assert {"H100", "H200", "B200", "GB200-NVL72", "GB300-NVL72", "MI300X", "MI250X", CPU} <= set(
        ACCELERATORS
    )


def test_every_figure_names_its_source_on_its_own_line():
    lines = inspect.getsource(catalogue).splitlines()
    figures = [
        line
        for line in lines
        if re.match(r"\s+(idle_w|peak_w|\w+_gib|\w+_tflops|node_overhead_w|credits_per_hour)=", line)
    ]
    assert len(figures) == 7 * len(ACCELERATORS)
    assert [line for line in figures if not re.search(r",  # \S.{3,}", line)] == []


@pytest.mark.parametrize("device", GPUS, ids=lambda device: device.name)
def test_a_sheet_is_in_the_range_of_physics(device):
    assert 0 < device.idle_w < device.peak_w / 2
    assert device.fp8_tflops == 0 or device.fp8_tflops == pytest.approx(2 * device.bf16_tflops, rel=0.01)
    assert 0 < device.memory_gib < 1000 and device.gpus_per_node in (4, 8)
    assert device.node_idle_w(device.gpus_per_node) < device.node_peak_w(device.gpus_per_node)


@pytest.mark.parametrize(
    ("name", "nodes_of_a_rack", "rack_kw"),
    [("GB200-NVL72", 18, 120), ("GB300-NVL72", 18, 142), ("H100", 1, 8.4)],
)
def test_nodes_and_racks_draw_what_was_measured_or_rated(name, nodes_of_a_rack, rack_kw):
    device = accelerator(name)
    assert nodes_of_a_rack * device.node_peak_w(device.gpus_per_node) / 1000 == pytest.approx(
        rack_kw, rel=0.01
    )


def test_gpus_per_megawatt_are_those_of_the_field():
    """H100: 784 to 941 per MW of IT power; NVL72: 507 to 600 (ratings above, measurements below)."""
    per_mw = {d.name: 1e6 * d.gpus_per_node / d.node_peak_w(d.gpus_per_node) for d in GPUS}
    assert 784 <= per_mw["H100"] <= 960
    assert 506 <= per_mw["GB300-NVL72"] <= per_mw["GB200-NVL72"] <= 601


def test_an_unknown_device_is_met_with_the_known_ones():
    with pytest.raises(NotFound, match="H100, H200"):
        accelerator("H10")
