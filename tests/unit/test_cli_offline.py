"""The command line without a network: what it says, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from maillage.access.tokens import TokenInfo
from maillage.interfaces.api.answers import told
from maillage.interfaces.cli import cli, jobview, keys, main, output, words
from maillage.interfaces.cli.output import Column

JOB: dict[str, Any] = {
    "id": "j0000000000001",
    "name": "train [bold]x[/bold]",
    "state": "succeeded",
    "site": "paris",
    "workers": 2,
    "resources": {"accelerator": ["H100", "H200"], "per_worker": 1},
    "submitted_at": "2026-11-22T15:00:00.000Z",
    "started_at": "2026-11-22T15:00:02.000Z",
    "ended_at": "2026-11-22T15:00:32.000Z",
    "runs": [
        {
            "attempt": 1,
            "site": "marseille",
            "state": "expired",
            "reason": "site_lost",
            "message": "not seen for 30 s",
        },
        {"attempt": 2, "site": "paris", "state": "exited", "reason": "succeeded", "why_here": "21 g/kWh"},
    ],
    "receipt": {"wait_s": 2.0, "credits_micros": 1250, "energy_kwh": 0.002, "carbon_g": 0.04, "sites": []},
    "outputs": {"artifact": "sha256:0", "files": [{"path": "model.gguf", "size": 2048}]},
}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAILLAGE_URL", "MAILLAGE_TOKEN", "MAILLAGE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    output.stdout.cache_clear()
    output.stderr.cache_clear()


def said(*args: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(args), input=text)


def exit_code(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    return int(caught.value.code or 0)


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [path]
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        found += (
            every_command(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
        )
    return found


@pytest.mark.parametrize("path", every_command(cli), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = said(*path, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage" in result.stdout


def test_the_verbs_of_the_design_are_there() -> None:
    found = {" ".join(path) for path in every_command(cli)}
    for verbs in (
        "up down status run chat shell top replay",
        "job list|job show|job why|job logs|job cancel|job requeue|job events|job outputs|job wait",
        "job schema|endpoint schema|network check|login|logout|completion|version",
        "endpoint deploy|endpoint list|endpoint show|endpoint scale|endpoint delete",
        "site list|site show|site limit|site drain|site resume|site cut",
        "token list|token create|token revoke|secret set",
    ):
        wanted = set(verbs.split("|")) if "|" in verbs else set(verbs.split())
        assert wanted <= found, wanted - found


def test_no_network_is_said_with_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("job", "list") == 6
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("Error: no network is up") and "maillage up" in told.err


def test_a_typo_gets_the_nearest_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("job", "lst") == 2
    assert "list" in capsys.readouterr().err
    assert exit_code("--nonsense") == 2


def test_a_broken_spec_is_told_whole_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("name: train\ncommand: [ls]\nworkerz: 2\npriority: high\n")
    assert exit_code("run", str(path), "--url", "http://127.0.0.1:9") == 2
    told = capsys.readouterr()
    assert told.out == "" and "Traceback" not in told.err
    assert "job.yaml:3" in told.err and "job.yaml:4" in told.err and "workers" in told.err


def test_a_missing_file_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("run", "nowhere.yaml", "--url", "http://127.0.0.1:9") == 3


def test_a_token_is_never_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("login", "https://network.example", "my-token") == 2
    assert exit_code("login", "http://network.example") == 2
    assert "in the clear" in capsys.readouterr().err


def test_down_where_nothing_is_up_is_well() -> None:
    assert exit_code("down") == 0


def test_up_wants_a_network_file_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("up", "--network", "nowhere.yaml") == 3
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["job", "endpoint"])
def test_schemas_are_json(verb: str) -> None:
    schema = json.loads(said(verb, "schema").stdout)
    assert "properties" in schema and "name" in schema["properties"]


def test_a_network_file_is_checked_whole(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text("name: x\nsites:\n  - {id: a, planet: earth}\n")
    assert exit_code("network", "check", str(path)) == 2
    shipped = Path(__file__).parents[2] / "networks" / "laptop.yaml"
    assert exit_code("network", "check", str(shipped)) == 0


def test_a_network_file_that_is_no_text_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "network.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    assert exit_code("network", "check", str(path)) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_a_zone_without_signals_is_told_by_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(__file__).parents[2] / "networks" / "laptop.yaml"
    path = tmp_path / "network.yaml"
    path.write_text(shipped.read_text().replace("zone: FR", "zone: QQ", 1))
    assert exit_code("network", "check", str(path)) == 0
    said = capsys.readouterr().err
    assert "site paris: no recorded carbon for grid zone 'QQ'; recorded: FR" in said
    assert "marseille" not in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    assert "_MAILLAGE_COMPLETE" in said("completion", shell).stdout


def test_a_job_page_tells_attempts_places_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(jobview.page(JOB))
    page = capsys.readouterr().out
    for part in (
        "train [bold]x[/bold]",
        "H100 or H200",
        "marseille",
        "not seen for 30 s",
        "21 g/kWh",
        "2 Wh",
        "40 mg",
    ):
        assert part in page
    assert "0.00125 credits" in page and "model.gguf (2.0 KiB)" in page
    assert all(line == line.rstrip() for line in page.splitlines())


COLUMNS = (Column("ID", lambda item: item["id"]), Column("NOTE", lambda item: item.get("note"), wide=True))


@pytest.mark.parametrize(
    ("fmt", "text"),
    [
        ("name", "a\nb\n"),
        ("csv", 'id,note\na,"1,5"\nb,\n'),
        ("table", "ID\na\nb\n"),
        ("wide", "ID  NOTE\na   1,5\nb   -\n"),
        ("json", '{\n  "items": []\n}\n'),
        ("yaml", "items: []\n"),
    ],
)
def test_every_format_prints_the_same_list(fmt: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.rows({"items": []}, [{"id": "a", "note": "1,5"}, {"id": "b"}], COLUMNS, fmt)
    assert capsys.readouterr().out == text


def test_a_token_is_listed_with_its_project_its_end_and_its_last_use() -> None:
    listed = told(
        TokenInfo("t1", "ci", "ada", "", ("read",), "vision", 1, 1_700_000_000_000, 1_600_000_000_000)
    )
    row = {column.title: column.value(listed) for column in keys.TOKENS}
    assert row["PROJECT"] == "vision"
    assert row["EXPIRES"] == "2023-11-14T22:13:20.000Z" and row["LAST USED"] == "2020-09-13T12:26:40.000Z"


def test_an_empty_list_is_said_on_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows({"items": []}, [], COLUMNS, "table", none="none yet")
    told = capsys.readouterr()
    assert told.out == "" and told.err == "none yet\n"


def test_text_from_elsewhere_moves_no_cursor() -> None:
    assert "\x1b" not in words.safe("\x1b[2Jgone") and words.safe("[red]x") == "\\[red]x"


def test_no_color_means_no_escape_sequence_at_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.stdout.cache_clear()
    output.show(jobview.page(JOB))
    assert "\x1b" not in capsys.readouterr().out


def test_a_narrow_terminal_wraps_prose_and_keeps_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maillage.interfaces.cli.output.UNCUT", 80)
    job = {**JOB, "runs": [{**JOB["runs"][1], "why_here": "best of 3 pools by carbon and price " * 3}]}
    output.show(jobview.page(job))
    page = capsys.readouterr().out
    assert "WHY THERE" in page and "succeeded" in page and "ATTEMPT" in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_without_a_terminal_a_confirmation_wants_y(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.UsageError, match="-y"):
        output.confirm("Really?", yes=False)
    output.confirm("Really?", yes=True)


def test_the_reference_names_every_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
    leaves = [
        path for path in every_command(cli) if path and not any(p[:-1] == path for p in every_command(cli))
    ]
    assert [path for path in leaves if f"`maillage {' '.join(path)}`" not in text] == []
