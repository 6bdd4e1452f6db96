"""Text -> values -> models: every problem at once, each with its line."""

import doctest
import json

import pytest
from pydantic import BaseModel, ConfigDict, Field

from maillage import documents
from maillage.documents import Finding, Findings, fit, path_text, read, text
from maillage.errors import Problems


def problems_of(call, *arguments):
    with pytest.raises(Problems) as raised:
        call(*arguments)
    return raised.value.problems


def only(source):
    return problems_of(read, source, "file.yaml")[0]


def test_the_examples_in_the_docstrings_hold():
    for module in (documents.fit.__globals__["__name__"], text.__name__):
        module = __import__(module, fromlist=["x"])
        outcome = doctest.testmod(module)
        assert outcome.attempted and not outcome.failed


class TestReading:
    def test_plain_values_are_those_of_yaml_1_2(self):
        value = read(
            "a: NO\nb: on\nc: 012\nd: 2026-12-01\ne: 1:30\nf: true\ng: ~\nh: 1.5\ni: -3\nj: 1e3", "x"
        )[0].value
        assert value == {
            "a": "NO", "b": "on", "c": "012", "d": "2026-12-01", "e": "1:30",
            "f": True, "g": None, "h": 1.5, "i": -3, "j": 1000.0,
        }  # fmt: skip

    def test_documents_come_in_order_with_lines_of_the_whole_file(self):
        first, second = read("a: 1\n---\n\nb:\n  c: [1,\n    2]\n", "x")
        assert (first.value, second.value) == ({"a": 1}, {"b": {"c": [1, 2]}})
        assert second.line(("b",)) == 4
        assert second.line(("b", "c", 1)) == 6
        assert second.line(("b", "nothing", "there")) == 4

    def test_empty_documents_are_left_out(self):
        assert [document.value for document in read("---\n---\na: 1\n---\n# only words\n", "x")] == [{"a": 1}]

    @pytest.mark.parametrize("nothing", ["", "\n", "# only words", "---", "~", b""])
    def test_a_text_that_holds_nothing_says_so(self, nothing):
        assert only(nothing).what == "holds nothing"

    def test_a_byte_order_mark_and_windows_lines_are_no_trouble(self):
        assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "x")[0].value == {"a": 1, "b": 2}

    def test_json_reads_as_itself_also_with_tabs_and_surrogate_pairs(self):
        value = {"a": [1, 2.5, None, True], "text": "\U0001f600 é \n\t /"}
        for written in (
            json.dumps(value),
            json.dumps(value, indent="\t"),
            json.dumps(value, ensure_ascii=False),
        ):
            assert read(written, "x")[0].value == value

    def test_json_has_lines_too(self):
        document = read('{\n\t"a": 1,\n\t"b": {\n\t\t"c": 2}}', "x")[0]
        assert document.line(("b", "c")) == 4

    def test_anchors_and_merge_keys_write_out(self):
        value = read("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{x: 9}, *a]}", "x")[0].value
        assert value["b"] == {"x": 1, "y": 2}
        assert value["c"] == {"x": 1, "y": 3}
        assert value["d"] == {"x": 9, "y": 2}

    def test_a_key_that_replaces_a_merged_one_has_its_own_line(self):
        document = read("a: &a {y: {z: 1}}\nc:\n  <<: *a\n  y: 3\n", "x")[0]
        assert document.line(("c", "y")) == 4


class TestBadText:
    def test_a_duplicate_key_names_both_lines(self):
        problem = only("a: 1\nb: 2\na: 3\n")
        assert (problem.line, problem.where) == (3, "a")
        assert "first in line 1" in problem.what

    def test_all_duplicates_of_all_documents_are_told_at_once(self):
        found = problems_of(read, "a: 1\na: 2\nb: {c: 1, c: 2}\n---\nd: 1\nd: 1\n", "x")
        assert [problem.line for problem in found] == [2, 3, 6]

    def test_duplicate_keys_of_json_are_told_too(self):
        assert "twice" in only('{"a": 1, "a": 2}').what

    def test_a_tab_in_the_indentation_is_called_by_its_name(self):
        problem = only("a:\n\tb: 1\n")
        assert (problem.line, problem.what) == (2, "a tab in the indentation")
        assert "spaces" in problem.mend

    @pytest.mark.parametrize(
        "bad",
        [
            "a: [1, 2",
            'a: "open',
            "a: b: c",
            "a: *nowhere",
            "a: @x",
            "- a\nb: c",
            "a: 1\n b: 2",
            "%",
            "}{",
            "? [a]\n: b",
        ],
    )
    def test_broken_yaml_is_one_problem_with_a_line(self, bad):
        problem = only(bad)
        assert problem.line >= 1 and problem.what and problem.source == "file.yaml"

    def test_bytes_that_are_no_utf_8_name_their_line(self):
        problem = only("a: 1\nb: é".encode("latin-1"))
        assert problem.line == 2 and "UTF-8" in problem.mend

    def test_utf_16_is_recognised(self):
        assert "UTF-16" in only("a: 1".encode("utf-16")).what

    @pytest.mark.parametrize("bad", ["a: 1\nb: \x00", "a: 1\nb: \x1b[31m", "a: 1\nb: \ud800"])
    def test_control_characters_are_refused_with_their_line(self, bad):
        problem = only(bad)
        assert problem.line == 2 and "control character" in problem.what

    def test_nested_anchors_do_not_explode(self):
        bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
        found = problems_of(read, bomb, "x")
        assert len(found) == 1 and "values" in found[0].what

    def test_an_anchor_within_itself_is_no_endless_loop(self):
        for circle in ("a: &a [*a]", "a: &a {b: *a}", "&a {<<: *a}"):
            assert "itself" in only(circle).what

    @pytest.mark.parametrize("deep", ["[" * 100_000, "{a: " * 5_000, "- " * 3_000, '{"a":' * 100_000])
    def test_deep_nesting_is_refused_before_it_recurses(self, deep):
        assert "deep" in only(deep).what

    def test_a_text_of_megabytes_is_refused(self):
        assert "larger" in only("a: " + "x" * text.MAX_BYTES).what

    @pytest.mark.parametrize(
        "tagged", ["!!python/object:os.system x", "!!binary aGk=", "!mine {a: 1}", "!!set {a}"]
    )
    def test_tags_are_refused(self, tagged):
        assert "tag" in only(f"a: {tagged}").what

    @pytest.mark.parametrize("number", ["1" * 5000, "9" * 41, "!!int x"])
    def test_numbers_without_sense_are_refused(self, number):
        assert "number" in only(f"a: {number}").what

    def test_keys_that_are_no_text_are_refused(self):
        found = problems_of(read, "1: a\ntrue: b\n[c]: d\n~: e\n", "x")
        assert {problem.what for problem in found} == {"has a key that is not text"}


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: str = "red"
    size: int = Field(1, ge=1, strict=True)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = Field((), min_length=1)
    by_name: dict[str, Inner] = Field(default_factory=dict)
    maybe: Inner | None = None
    kind: str = Field("x", alias="class")


class TestFitting:
    def fit(self, source):
        return fit(read(source, "f.yaml")[0], Outer)

    def test_a_good_value_is_a_model(self):
        model, problems = self.fit("name: a\nmany: [{size: 2}]\n")
        assert model is not None and model.many[0].size == 2 and problems == ()

    def test_every_problem_at_once_in_the_order_of_the_text(self):
        model, problems = self.fit("nam: a\ninner:\n  size: 0\n  color: blue\nmany:\n  - size: '2'\n  - 3\n")
        assert model is None
        assert [(problem.line, problem.where) for problem in problems] == [
            (1, "name"), (1, "nam"), (3, "inner.size"),
            (4, "inner.color"), (6, "many[0].size"), (7, "many[1]"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("source", "mend"),
        [
            ("nam: a", "did you mean 'name'?"),
            ("clas: a", "did you mean 'class'?"),
            ("inner: {colur: x}", "did you mean 'colour'?"),
            ("many: [{sise: 1}]", "did you mean 'size'?"),
            ("by_name: {a: {siz: 1}}", "did you mean 'size'?"),
            ("maybe: {siz: 1}", "did you mean 'size'?"),
            ("inner: {zzzzzz: x}", "known: colour, size"),
        ],
    )
    def test_an_unknown_key_is_met_with_the_nearest_one(self, source, mend):
        _, problems = self.fit(source)
        assert mend in [problem.mend for problem in problems]

    @pytest.mark.parametrize("source", ["[1, 2]", "word", "3"])
    def test_what_is_no_mapping_says_so(self, source):
        model, problems = self.fit(source)
        assert model is None and "not a mapping" in problems[0].what

    def test_a_number_where_text_belongs_wants_quotes(self):
        _, problems = self.fit("name: 5\nmany: [{}]")
        assert problems[0].mend == "put it in quotes"

    def test_findings_carry_their_own_path(self):
        class Strict(BaseModel):
            a: int

            def model_post_init(self, _):
                raise Findings(Finding("too red", "paint it", ("a",)), Finding("too round"))

        document = read("x: 1\na: 2\n", "f.yaml")[0]
        _, problems = fit(document, Strict)
        assert [(p.where, p.line, p.what, p.mend) for p in problems] == [
            ("", 1, "too round", ""), ("a", 2, "too red", "paint it"),
        ]  # fmt: skip

    def test_a_path_reads_like_code(self):
        assert path_text(()) == ""
        assert path_text((0, "a", "b", 1)) == "[0].a.b[1]"
