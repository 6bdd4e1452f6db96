"""Whatever people write, the text edge answers with values or with Problems; values survive the way back."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from maillage.documents import read
from maillage.errors import Problems
from maillage.network import loader
from maillage.units import format_duration, parse_duration
from maillage.workloads import specs
from maillage.workloads.job import JobSpec

SCRAPS = (
    r"""name: |a|  |- |[|]|{|}|: |, |&x |*x|<<: |!!int |command|resources|sites|pools|'|"|#|1|~|? |%|\|é"""
)
scraps = st.lists(st.sampled_from([*SCRAPS.split("|"), "\n", "\t", "---\n", "|\n"]), max_size=40).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
keys = st.sampled_from([*JobSpec.model_fields, "class", "model", "replicas", "objective", "engine", "kind"])


@settings(deadline=None, max_examples=300)
@given(st.one_of(scraps, st.text(max_size=60), st.binary(max_size=60)))
def test_any_text_is_read_or_refused_in_words(text):
    for parse in (specs.parse, loader.parse):
        try:
            parse(text, "x")
        except Problems as refused:
            assert refused.problems and all(problem.what for problem in refused.problems)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(keys, values, max_size=5))
def test_any_value_under_any_key_is_a_spec_or_refused_in_words(body):
    for kind in ("job", "endpoint"):
        try:
            spec = specs.from_value({"name": "a", "command": ["x"], **body, "kind": kind})
        except Problems as refused:
            assert refused.problems
        else:
            assert specs.from_value(json.loads(json.dumps(spec.body()))) == spec


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.text(max_size=10), values.filter(lambda v: v == v), max_size=4))
def test_json_reads_as_itself(value):
    try:
        written = json.dumps(value, allow_nan=False)
        document = read(written, "x")[0]
    except (ValueError, Problems):
        return  # NaN, or characters no text should hold
    assert document.value == value


@given(st.integers(0, 10 * 365 * 86400))
def test_a_duration_printed_is_the_duration_to_its_second_unit(seconds):
    shown = parse_duration(format_duration(seconds))
    assert shown <= seconds and seconds - shown < max(86400 / 24, seconds / 24)


def places(value, path=()):
    """Every path in a nested value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


WHOLE = {
    "name": "a", "command": ["x"], "resources": {"accelerator": ["H100"], "cpus": 1, "memory_gib": 1},
    "checkpoint": {"interval": "5s"}, "inputs": [{"job": "b", "to": "c"}], "env": {"A": "b"},
    "secrets": ["B"], "on_disconnect": {"keep_for": "30s", "then": "replace"},
    "deadline": "2026-12-01T08:00:00Z", "sites": ["s"],
}  # fmt: skip
SITE = {
    "name": "n",
    "sites": [
        {
            "id": "s", "place": {"lat": 48, "lon": 2, "country": "FR"}, "cooling": {"kind": "dry"},
            "grid": {
                "zone": "FR", "connection_mw": 1, "steps": [{"opens": "2026-01-01", "connection_mw": 1}],
            },
            "pools": [{
                "id": "p", "accelerator": "cpu", "nodes": 2, "cpus_per_node": "host", "cpus_at_least": 4,
                "memory_gib_per_node": "host", "engine": {"kind": "local"}, "price_credits_per_hour": 1,
            }],
        }
    ],
}  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_any_value_in_any_place_of_a_good_file_is_read_or_refused_in_words(data):
    whole, parse = data.draw(st.sampled_from([(WHOLE, specs.parse), (SITE, loader.parse)]))
    spoilt = json.loads(json.dumps(whole))
    *way, last = data.draw(st.sampled_from([path for path in places(whole) if path]))
    around = spoilt
    for step in way:
        around = around[step]
    around[last] = data.draw(values)
    try:
        parse(json.dumps(spoilt), "x")
    except Problems as refused:
        assert refused.problems and all(problem.what for problem in refused.problems)
