"""The client without a line: plans are driven by hand, answers are given as they would come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from maillage import errors
from maillage.errors import Invalid, NotFound, Problems, TimedOut, Unreachable, UserError
from maillage.interfaces.sdk.operations import Operations
from maillage.interfaces.sdk.results import JobInfo
from maillage.interfaces.sdk.submission import Submission, as_work, read_text, read_work
from maillage.interfaces.sdk.wire import Answer, Call, NotSent, Pause, Plan, get, segment, send, trouble_of

JOB = {"id": "j1", "name": "train", "state": "succeeded"}


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode())


def drive(plan: Plan[Any], replies: Iterable[Answer | UserError]) -> tuple[Any, list[Call], float]:
    """The result of a plan that gets these replies; what it called; the seconds it paused."""
    waiting = iter(replies)
    calls: list[Call] = []
    paused_s = 0.0
    try:
        step = next(plan)
        while True:
            if isinstance(step, Pause):
                paused_s += step.seconds
                step = plan.send(None)  # type: ignore[arg-type]
                continue
            calls.append(step)
            reply = next(waiting)
            step = plan.throw(reply) if isinstance(reply, UserError) else plan.send(reply)
    except StopIteration as done:
        return done.value, calls, paused_s


def test_a_lost_answer_is_asked_for_again_under_the_same_key() -> None:
    lost = Unreachable("the line broke")
    plan = Operations.submit.plan(Operations(), {"name": "train"})
    info, calls, _ = drive(plan, [lost, lost, answer(JOB, 201)])
    assert info.id == "j1"
    keys = {call.body["idempotency_key"] for call in calls}
    assert len(calls) == 3 and len(keys) == 1


def test_two_submissions_have_two_keys_and_a_given_key_is_kept() -> None:
    keys = set()
    for key in (None, None, "mine"):
        _, calls, _ = drive(Operations.submit.plan(Operations(), {}, key), [answer(JOB, 201)])
        keys.add(calls[0].body["idempotency_key"])
    assert len(keys) == 3 and "mine" in keys


def test_what_must_not_be_done_twice_is_sent_once() -> None:
    plan = Operations.requeue.plan(Operations(), "j1")
    with pytest.raises(Unreachable):
        drive(plan, [Unreachable("the line broke")])


def test_what_never_left_may_go_again_whatever_it_is() -> None:
    plan = Operations.requeue.plan(Operations(), "j1")
    info, calls, _ = drive(plan, [NotSent("nobody listens"), answer(JOB)])
    assert info.id == "j1" and len(calls) == 2


def test_patience_ends() -> None:
    plan = send(get("/status"), patience_s=3.0)
    with pytest.raises(Unreachable, match="still"):
        drive(plan, [Unreachable("still")] * 50)
    _, calls, paused_s = drive(send(get("/status"), 3.0), [Unreachable("x")] * 4 + [answer({})])
    assert len(calls) == 5 and 1.4 < paused_s < 1.6


def test_other_troubles_are_not_tried_again() -> None:
    with pytest.raises(NotFound):
        drive(Operations.job.plan(Operations(), "x"), [NotFound("no job")])


def test_waiting_ends_with_the_job() -> None:
    plan = Operations.wait.plan(Operations(), "j1")
    running = answer({**JOB, "state": "running"})
    info, calls, paused_s = drive(plan, [running, running, answer(JOB)])
    assert info.succeeded and len(calls) == 3 and 0 < paused_s < 1


def test_waiting_gives_up_in_time() -> None:
    with pytest.raises(TimedOut, match="goes on") as caught:
        drive(Operations.wait.plan(Operations(), "j1", 0.0), [answer({**JOB, "state": "running"})])
    assert caught.value.exit_code == 124


def test_an_archive_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    plan = Operations.upload.plan(Operations(), "sha256:0", tmp_path)
    sent, calls, _ = drive(plan, [Answer(200, b"")])
    assert not sent and [call.method for call in calls] == ["HEAD"]
    sent, calls, _ = drive(
        Operations.upload.plan(Operations(), "sha256:0", b"x"), [Answer(404, b""), answer({}, 201)]
    )
    assert sent and [call.method for call in calls] == ["HEAD", "PUT"]


def test_a_work_folder_is_packed_brought_and_named_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)")
    (tmp_path / "job.yaml").write_text("{name: train, command: [python, train.py], workdir: code}")
    plan = as_work(tmp_path / "job.yaml").submit(Operations())
    _, (head, put, post), _ = drive(plan, [Answer(404, b""), answer({}, 201), answer(JOB, 201)])
    digest = post.body["spec"]["workdir"]
    assert digest.startswith("sha256:")
    assert head.path.endswith(digest.replace(":", "%3A")) and put.path == head.path
    assert isinstance(put.content, Path) and not put.content.exists()  # the archive was only passing through


def test_a_missing_work_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("{name: train, command: [ls], workdir: nowhere}")
    with pytest.raises(NotFound, match="nowhere"):
        drive(as_work(tmp_path / "job.yaml").submit(Operations()), [])


FLOW = """
name: train-gpt
command: [python, train.py]
---
name: evaluate
command: [python, evaluate.py]
after: [train-gpt, somewhere-else]
inputs: [{job: train-gpt, to: model/}]
---
kind: endpoint
name: tuned
model: {job: train-gpt, file: model.gguf}
"""


def test_names_of_one_file_become_ids_and_others_stay() -> None:
    train, evaluate, tuned = read_text(FLOW, "flow.yaml", Path())
    assert (train.kind, tuned.kind) == ("job", "endpoint")
    ids = {"train-gpt": "j0000000000001"}
    spec = evaluate.with_ids(ids).spec
    assert spec["after"] == ["j0000000000001", "somewhere-else"]
    assert spec["inputs"][0]["job"] == "j0000000000001" and spec["inputs"][0]["to"] == "model/"
    assert tuned.with_ids(ids).spec["model"]["job"] == "j0000000000001"
    assert evaluate.spec["after"][0] == "train-gpt"  # the original is as it was


def test_run_takes_one_job_and_says_what_it_got_instead(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    with pytest.raises(Invalid, match=r"train-gpt.*evaluate.*tuned"):
        as_work(tmp_path / "flow.yaml")


def test_a_broken_file_tells_every_problem_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: train\ncommand: [ls]\nworkerz: 2\npriority: high\n")
    with pytest.raises(Problems) as caught:
        read_work(path)
    assert {problem.line for problem in caught.value.problems} == {3, 4}
    assert "workers" in str(caught.value)


def test_a_folder_needs_a_spec_in_it(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"maillage\.yaml"):
        read_work(tmp_path)
    (tmp_path / "maillage.yaml").write_text("{name: here, command: [ls]}")
    (found,) = read_work(tmp_path)
    assert found.name == "here" and found.folder == tmp_path


def test_a_script_is_a_job(tmp_path: Path) -> None:
    script = tmp_path / "My Job.sh"
    script.write_text("#!/bin/bash\n#MAILLAGE workers: 2\n#MAILLAGE time_limit: 5m\necho $RANK\n")
    (found,) = read_work(script)
    assert found.name == "my-job"
    assert found.spec["workers"] == 2 and found.spec["time_limit"] == 300
    assert found.spec["script"].endswith("echo $RANK\n")


def test_what_has_no_end_is_no_spec(tmp_path: Path) -> None:
    for path, why in ((Path("/dev/zero"), "larger than"), (tmp_path / "noise.yaml", "no text")):
        if path.parent == tmp_path:
            path.write_bytes(b"name: \xff\xfe")
        with pytest.raises(Invalid, match=why):
            read_work(path)


def test_a_dict_is_sent_as_it_is() -> None:
    spec = {"name": "x", "command": ["true"]}
    assert as_work(spec).spec == spec
    assert as_work(Submission("job", spec, Path())).spec == spec


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, errors.NotSignedIn, 4),
        (403, errors.NotAllowed, 4),
        (404, errors.NotFound, 3),
        (409, errors.Conflict, 5),
        (413, errors.TooLarge, 2),
        (422, errors.Invalid, 2),
        (503, errors.Unreachable, 6),
        (504, errors.TimedOut, 124),
        (500, UserError, 1),
    ],
)
def test_an_error_of_the_api_is_its_class_again(status: int, kind: type[UserError], code: int) -> None:
    body = json.dumps({"error": {"code": "x", "message": "so it is", "problems": []}}).encode()
    trouble = trouble_of(status, body, "http://x/y")
    assert type(trouble) is kind and "so it is" in str(trouble) and trouble.exit_code == code


def test_problems_come_through_whole() -> None:
    problem = {
        "where": "spec.workers",
        "what": "must be positive",
        "mend": "take 1",
        "line": 3,
        "source": "job.yaml",
    }
    body = json.dumps(
        {"error": {"code": "Problems", "message": "m", "problems": [problem, problem]}}
    ).encode()
    trouble = trouble_of(422, body, "http://x")
    assert isinstance(trouble, Problems)
    assert str(trouble.problems[0]) == "job.yaml:3: spec.workers: must be positive (take 1)"


@pytest.mark.parametrize("content", [b"", b"<html>proxy</html>", b"[]", b'{"error": "short"}', b"\xff\xfe"])
def test_whatever_answers_an_error_is_told(content: bytes) -> None:
    assert str(trouble_of(502, content, "http://x/y"))


def test_what_is_not_json_is_no_network_of_ours() -> None:
    with pytest.raises(Unreachable, match="really"):
        Answer(200, b"<html>").json()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_cannot_climb_out_of_its_path(name: str) -> None:
    with pytest.raises(Invalid):
        segment(name)


def test_a_slash_in_a_name_is_no_path() -> None:
    assert segment("a/../b") == "a%2F..%2Fb"


def test_results_read_newer_and_older_answers() -> None:
    old = JobInfo.read({"id": "j1", "state": "pending"})
    assert old.receipt is None and not old.ended and old.runs == ()
    new = JobInfo.read(
        {
            "id": "j1",
            "state": "succeeded",
            "mood": "good",
            "ended_at": "2026-11-22T15:00:00.250Z",
            "runs": [{"attempt": 2, "exit_codes": [0, 0], "planet": "earth"}],
            "receipt": {"credits_micros": 12, "sites": [{"site": "paris"}]},
        }
    )
    assert new.runs[0].exit_codes == (0, 0) and new.raw["mood"] == "good"
    assert new.receipt is not None and new.receipt.sites == ("paris",)
    assert new.ended_at is not None and new.ended_at.utcoffset() is not None


def test_the_package_gives_the_client_without_loading_it_first() -> None:
    import maillage
    from maillage.workloads.job import JobSpec

    assert maillage.Job is JobSpec
    with pytest.raises(AttributeError):
        _ = maillage.Clint  # type: ignore[attr-defined]


def test_the_version_is_the_packages() -> None:
    import tomllib

    import maillage

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert maillage.__version__ == project["version"]
