"""Network files: what loads, what is refused, and what the shipped ones say."""

import doctest
import re
from datetime import date
from pathlib import Path

import pytest

from maillage.errors import NotFound, Problems
from maillage.network import loader, model
from maillage.network.catalogue import ACCELERATORS
from maillage.network.file import CoolingShape, EngineShape, GridShape, PlaceShape, PoolShape, SiteShape
from maillage.network.model import ALWAYS, HostSize

NETWORKS = Path(__file__).parents[2] / "networks"
SHIPPED = ("laptop", "france-25k", "campus-3gw")
DESIGN = """\
name: campus-ai
sites:
  - id: fouju
    place: {lat: 48.58, lon: 2.78, country: FR}
    grid: {zone: FR, connection_mw: 240}
    cooling: {kind: dry, supply_c: 40}
    pools:
      - {id: gb300, accelerator: GB300-NVL72, nodes: 18000, gpus_per_node: 4, cpus_per_node: 144, memory_gib_per_node: 960, nodes_per_domain: 18, engine: {kind: slurm}}
"""  # noqa: E501
POOL = "{id: x, accelerator: H100, nodes: 4, cpus_per_node: 96, memory_gib_per_node: 1024}"


def shipped(name, host=HostSize(cpus=2, memory_gib=8.0)):
    return loader.parse((NETWORKS / f"{name}.yaml").read_bytes(), f"{name}.yaml", host)


def with_pool(pool, connection_mw=1):
    return (
        "name: n\nsites:\n  - id: s\n    place: {lat: 48, lon: 2, country: FR}\n"
        f"    grid: {{zone: FR, connection_mw: {connection_mw}}}\n    pools:\n      - {pool}\n"
    )


def problems_of(text):
    with pytest.raises(Problems) as raised:
        loader.parse(text, "n.yaml")
    return raised.value.problems


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(model).failed == 0


def test_the_design_s_example_loads_as_it_stands():
    network = loader.parse(DESIGN, "design")
    pool = network.pool("fouju", "gb300")
    assert (pool.units, pool.domains, pool.engine) == (72_000, 1000, "slurm")
    assert (pool.cpus_per_unit, pool.memory_mib_per_unit) == (36.0, 245_760)
    assert network.site("fouju").connection_kw == 240_000.0
    assert network.site("fouju").country == "FR"


def test_what_is_not_said_has_its_default():
    network = loader.parse(with_pool(POOL), "n")
    pool = network.pool("s", "x")
    assert (pool.gpus_per_node, pool.nodes_per_domain, pool.engine, pool.opens) == (8, 4, "local", ALWAYS)
    assert pool.price_credit_micros == 1_000_000
    assert network.site("s").cooling.kind == "dry"


def test_a_price_of_its_own_is_whole_micros():
    pool = loader.parse(with_pool(POOL.replace("}", ", price_credits_per_hour: 1.25}")), "n").pool("s", "x")
    assert pool.price_credit_micros == 1_250_000


@pytest.mark.parametrize(("cpus", "expected"), [(1, 4), (2, 4), (4, 4), (64, 64)])
def test_host_is_the_machine_s_size_but_at_least_what_is_asked(cpus, expected):
    network = shipped("laptop", HostSize(cpus, 8.0))
    assert {pool.cpus_per_node for pool in network.pools} == {expected}
    assert {pool.memory_gib_per_node for pool in network.pools} == {8.0}
    assert all(pool.is_cpu and pool.units_per_node == expected for pool in network.pools)


def test_the_laptop_carries_the_demo_on_any_one_site():
    """A gang of two, two replicas and one more worker of one CPU each, on the smallest machine."""
    network = shipped("laptop", HostSize(1, 2.0))
    assert [site.id for site in network.sites] == ["paris", "marseille", "mulhouse"]
    assert all(sum(pool.units for pool in site.pools) >= 5 for site in network.sites)
    assert len({site.operator for site in network.sites}) == 3


def test_the_three_regions_hold_exactly_25_000_gpus():
    network = shipped("france-25k")
    assert network.gpus == 25_000
    assert [site.gpus for site in network.sites] == [12_200, 8_192, 4_608]


def test_the_campuses_grow_to_3_gw():
    network = shipped("campus-3gw")
    assert sum(site.grid.connection_mw for site in network.sites) == 3000
    built = [(day, sum(site.grid.connection_mw for site in network.on(day).sites)) for day in network.dates]
    assert [mw for _, mw in built] == [240, 700, 1100, 1800, 3000]
    assert network.on(date(2027, 12, 30)).sites == ()
    assert [site.id for site in network.on(date(2029, 1, 1)).sites] == ["fouju"]
    assert network.on(date(2040, 1, 1)).gpus == network.gpus == 1_281_600


@pytest.mark.parametrize("name", ["france-25k", "campus-3gw"])
def test_what_ships_fits_under_its_connection_in_the_worst_hour(name):
    network = shipped(name)
    for day in network.dates or (date(2026, 1, 1),):
        for site in network.on(day).sites:
            assert site.idle_kw < site.peak_kw
            assert 0.9 * site.connection_kw < site.peak_kw * 1.18 <= site.connection_kw, (site.id, day)


def test_looking_up_what_is_not_there_names_what_is():
    network = shipped("laptop")
    with pytest.raises(NotFound, match="paris, marseille, mulhouse"):
        network.site("lyon")
    with pytest.raises(NotFound, match="it has: cpu"):
        network.pool("paris", "gpu")


@pytest.mark.parametrize(
    ("pool", "where", "words"),
    [
        (POOL.replace("H100", "H10"), "accelerator", "did you mean 'H100'"),
        (POOL.replace("H100", "h100"), "accelerator", "did you mean 'H100'"),
        (POOL.replace("H100", "[H100]"), "accelerator", "no accelerator"),
        (POOL.replace("96", "[96]"), "cpus_per_node", "nor `host`"),
        (POOL.replace("id: x", "id: [x]"), "id", "must be text"),
        (POOL.replace("nodes: 4", "nodes: 0"), "nodes", "greater than or equal to 1"),
        (POOL.replace("nodes: 4", "nodes: 4.5"), "nodes", "integer"),
        (POOL.replace("nodes: 4", "nodes: '4'"), "nodes", "without quotes"),
        (POOL.replace("nodes: 4", "nodes: 4, nodes_per_domain: 3"), "nodes_per_domain", "nodes: 3 or 6"),
        (POOL.replace("nodes: 4", "nodes: 4, nodes_per_domain: 8"), "nodes_per_domain", "nodes: 8"),
        (POOL.replace("nodes: 4", "nodes: 4, gpus_per_node: 0"), "gpus_per_node", "usual is 8"),
        (POOL.replace("H100", "cpu, gpus_per_node: 8"), "gpus_per_node", "no accelerators"),
        (POOL.replace("96", "host5"), "cpus_per_node", "nor `host`"),
        (POOL.replace("96", "0"), "cpus_per_node", "nor `host`"),
        (POOL.replace("96", "96, cpus_at_least: 4"), "cpus_at_least", "host"),
        (POOL.replace("1024", "-1"), "memory_gib_per_node", "nor `host`"),
        (POOL.replace("}", ", engine: {kind: slrum}}"), "engine.kind", "did you mean 'slurm'"),
        (POOL.replace("}", ", engine: slurm}"), "engine", "kind"),
        (
            POOL.replace("}", ", price_credits_per_hour: -1}"),
            "price_credits_per_hour",
            "greater than or equal",
        ),
        (POOL.replace("}", ", opens: soon}"), "opens", "date"),
        (POOL.replace("id: x", "id: X y"), "id", "no name"),
        (POOL.replace("id: x, ", ""), "id", "is missing"),
        (POOL.replace("cpus_per_node", "cpu_per_node"), "cpu_per_node", "did you mean 'cpus_per_node'"),
    ],
)
def test_a_wrong_pool_says_where_what_and_how_to_mend(pool, where, words):
    found = [p for p in problems_of(with_pool(pool)) if p.where == f"sites[0].pools[0].{where}"]
    assert found and words in str(found[0]) and found[0].line == 7 and found[0].source == "n.yaml"


def test_rules_across_keys_are_told_beside_wrong_keys():
    pool = POOL.replace("nodes: 4", "nodes: 4, nodes_per_domain: 3").replace("}", ", engine: {kind: x}}")
    found = [problem.where.rpartition("].")[2] for problem in problems_of(with_pool(pool))]
    assert sorted(found) == ["engine.kind", "nodes_per_domain"]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("lat: 48.58", "lat: 95", "sites[0].place.lat"),
        ("lon: 2.78", "lon: -181", "sites[0].place.lon"),
        ("lat: 48.58", "lat: .nan", "sites[0].place.lat"),
        ("country: FR", "country: fr", "sites[0].place.country"),
        ("connection_mw: 240", "connection_mw: 0", "sites[0].grid.connection_mw"),
        ("connection_mw: 240", "connection_mw: 10", "sites[0].grid.connection_mw"),
        ("kind: dry", "kind: wet", "sites[0].cooling.kind"),
        ("supply_c: 40", "supply_c: 90", "sites[0].cooling.supply_c"),
        ("name: campus-ai", "name: ''", "name"),
    ],
)
def test_a_wrong_site_says_where(old, new, where):
    assert [problem.where for problem in problems_of(DESIGN.replace(old, new))] == [where]


def test_a_connection_below_idle_power_gives_both_figures():
    (problem,) = problems_of(with_pool(POOL, connection_mw=0.01))
    assert problem.what == "0.01 MW is less than the 0.01344 MW that the idle nodes draw"


def test_each_step_must_carry_the_nodes_open_by_then():
    text = DESIGN.replace(
        "connection_mw: 240}",
        "connection_mw: 240, steps: ["
        "{opens: 2027-01-01, connection_mw: 20}, {opens: 2028-01-01, connection_mw: 240}]}",
    ).replace("engine:", "opens: 2027-06-01, engine:")
    (problem,) = problems_of(text)
    assert problem.where == "sites[0].grid.steps" and "on 2027-06-01" in problem.what


@pytest.mark.parametrize(
    "steps",
    [
        "[{opens: 2028-01-01, connection_mw: 240}, {opens: 2027-01-01, connection_mw: 240}]",
        "[{opens: 2027-01-01, connection_mw: 240}, {opens: 2027-01-01, connection_mw: 240}]",
        "[{opens: 2027-01-01, connection_mw: 200}]",
    ],
)
def test_steps_stand_in_order_and_end_at_the_contract(steps):
    (problem,) = problems_of(DESIGN.replace("connection_mw: 240}", f"connection_mw: 240, steps: {steps}}}"))
    assert problem.where.startswith("sites[0].grid.steps")


def test_ids_that_stand_twice_are_told_beside_everything_else():
    text = with_pool(POOL) + f"      - {POOL}\n  - id: s\n    place: {{lat: 95, lon: 2, country: FR}}\n"
    found = problems_of(text)
    assert [(problem.line, problem.where) for problem in found] == [
        (8, "sites[0].pools[1].id"),
        (9, "sites[1].grid"),
        (9, "sites[1].pools"),
        (9, "sites[1].id"),
        (10, "sites[1].place.lat"),
    ]


@pytest.mark.parametrize(
    "text", ["name: n\nsites: []", "name: n", "[]", "sites: {}", DESIGN + "---\nname: m\n"]
)
def test_a_file_without_one_network_is_refused(text):
    assert problems_of(text)


def test_the_page_names_every_key_and_its_example_loads():
    page = (NETWORKS.parent / "docs" / "reference" / "network-file.md").read_text(encoding="utf-8")
    for shape in (SiteShape, PoolShape, PlaceShape, GridShape, CoolingShape, EngineShape):
        assert [key for key in shape.model_fields if f"`{key}`" not in page and f".{key}`" not in page] == []
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert loader.parse(example).gpus == 72_000
    assert [name for name in ACCELERATORS if f"`{name}`" not in page] == []
