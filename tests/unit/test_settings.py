"""Where is the network: the order of answers, and what is said when there is none."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from maillage.errors import Invalid, Unreachable
from maillage.interfaces import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MAILLAGE_URL", "MAILLAGE_TOKEN", "MAILLAGE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def network_in(folder: Path, url: str = "http://127.0.0.1:8470", token: str = "of-the-folder") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.json").write_text(
        json.dumps({"pid": 1, "url": url, "started_at": "2026-01-01T00:00:00Z"})
    )
    (folder / "admin.token").write_text(token + "\n")
    return folder


def test_with_nothing_the_message_says_how_to_get_a_network() -> None:
    with pytest.raises(Unreachable, match="maillage up") as caught:
        settings.find()
    assert caught.value.exit_code == 6


def test_the_default_data_folder_is_the_last_answer(home: Path) -> None:
    network_in(home / "data" / "maillage")
    found = settings.find()
    assert (found.url, found.token) == ("http://127.0.0.1:8470", "of-the-folder")


def test_a_login_comes_before_the_default_folder_and_after_a_named_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_in(home / "data" / "maillage")
    settings.write_login("https://network.example", "of-the-login")
    assert settings.find().token == "of-the-login"
    named = network_in(home / "named", "http://127.0.0.1:1")
    assert settings.find(data=named).url == "http://127.0.0.1:1"
    monkeypatch.setenv("MAILLAGE_DATA", str(named))
    assert settings.find().url == "http://127.0.0.1:1"


def test_the_environment_comes_first_and_an_option_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = network_in(home / "named")
    monkeypatch.setenv("MAILLAGE_URL", "https://a.example/")
    monkeypatch.setenv("MAILLAGE_TOKEN", "of-the-environment")
    monkeypatch.setenv("MAILLAGE_DATA", str(home / "nowhere"))
    found = settings.find()
    assert (found.url, found.token) == ("https://a.example", "of-the-environment")
    assert settings.find(url="http://b.example").url == "http://b.example"
    assert settings.find(data=named).url == "http://127.0.0.1:8470"


def test_a_token_goes_only_to_the_address_it_was_kept_for(home: Path) -> None:
    settings.write_login("https://network.example", "of-the-login")
    network_in(home / "data" / "maillage")
    assert settings.find(url="https://network.example").token == "of-the-login"
    assert settings.find(url="http://127.0.0.1:8470").token == "of-the-folder"
    assert settings.find(url="https://other.example").token == ""


def test_a_login_is_readable_by_its_owner_only_and_can_be_forgotten(home: Path) -> None:
    path = settings.write_login("https://network.example", "t")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["login.json"]
    assert settings.forget_login() and not settings.forget_login()
    assert settings.read_login() is None


@pytest.mark.parametrize(
    "url", ["", "network.example", "ftp://x", "http://", "http://h:99999", "http://u:p@h"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        settings.check_url(url)


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x"}', "[]"])
def test_a_damaged_server_record_is_the_users_to_mend(home: Path, text: str) -> None:
    (home / "server.json").write_text(text)
    with pytest.raises(Invalid, match=r"server\.json"):
        settings.read_server(home)


def test_a_damaged_login_says_how_to_mend_it(home: Path) -> None:
    path = settings.write_login("https://network.example", "t")
    path.write_text('{"url": 3}')
    with pytest.raises(Invalid, match="logout"):
        settings.find()


def test_a_token_stands_in_no_representation() -> None:
    assert "secret" not in repr(settings.Connection("https://a.example", "secret", "test"))


def test_a_folder_without_a_token_file_still_has_an_address(home: Path) -> None:
    folder = network_in(home / "named")
    (folder / "admin.token").unlink()
    assert settings.find(data=folder).token == ""


def test_only_encrypted_or_local_lines_are_private() -> None:
    assert settings.is_private_line("https://network.example")
    assert settings.is_private_line("http://127.0.0.1:8470")
    assert not settings.is_private_line("http://network.example")
