"""People, tokens and secrets over a real store in a temporary folder."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from maillage.access import tables
from maillage.access.open import Access, open_access, prepare, site_token
from maillage.access.roles import Action, Role
from maillage.access.tokens import PREFIX, Tokens
from maillage.access.vault import write_private
from maillage.control.store import Store
from maillage.control.tables import metadata
from maillage.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "maillage.db")
    yield opened
    opened.close()


@pytest.fixture
def access(store: Store, tmp_path: Path) -> Access:
    opened = open_access(store.engine, tmp_path)
    prepare(opened, tmp_path, ["paris", "mulhouse"])
    return opened


def admin_token(folder: Path) -> str:
    return (folder / "admin.token").read_text().strip()


def test_first_start_makes_an_admin_whose_token_only_its_owner_reads(access: Access, tmp_path: Path) -> None:
    principal = access.tokens.authenticate(admin_token(tmp_path))
    assert principal.admin and principal.user == "admin"
    assert principal.operates == {"paris", "mulhouse"}
    assert principal.projects == {"default": Role.OWNER}
    for name in ("admin.token", "secrets.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_migrations_make_the_tables_that_the_code_means(store: Store) -> None:
    with store.engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), metadata) == []


def test_a_store_that_takes_nothing_keeps_nobody_out(access: Access, store: Store, tmp_path: Path) -> None:
    @sa.event.listens_for(store.engine, "begin")
    def refuse(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert access.tokens.authenticate(admin_token(tmp_path)).user == "admin"
    with pytest.raises(sa.exc.OperationalError):
        access.tokens.issue(name="another", user="admin")


def test_a_second_start_changes_nothing(access: Access, tmp_path: Path) -> None:
    before = admin_token(tmp_path), len(access.tokens.listed()), access.people.operators()
    prepare(access, tmp_path, ["paris", "mulhouse"])
    assert (admin_token(tmp_path), len(access.tokens.listed()), access.people.operators()) == before


def test_a_lost_token_file_is_made_anew_and_the_old_token_stops(access: Access, tmp_path: Path) -> None:
    old = admin_token(tmp_path)
    (tmp_path / "admin.token").unlink()
    prepare(access, tmp_path, [])
    assert admin_token(tmp_path) != old
    with pytest.raises(NotSignedIn):
        access.tokens.authenticate(old)


def test_a_token_file_that_was_cut_short_is_made_anew(access: Access, tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("")
    prepare(access, tmp_path, [])
    assert access.tokens.authenticate(admin_token(tmp_path)).admin


def test_a_token_file_that_others_can_read_is_refused(access: Access, tmp_path: Path) -> None:
    (tmp_path / "admin.token").chmod(0o644)
    with pytest.raises(Conflict, match="chmod 600"):
        prepare(access, tmp_path, [])


def test_a_private_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        write_private(tmp_path / "link", "secret")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_only_the_digest_of_a_token_is_stored(access: Access, store: Store) -> None:
    token, info = access.tokens.issue(name="laptop", user="admin")
    assert token.startswith(PREFIX) and len(token) == 47
    store.engine.dispose()
    with store.reader.connect() as db:
        row = db.execute(sa.select(tables.tokens).where(tables.tokens.c.token_id == info.token_id)).one()
    assert token not in repr(row) and token[len(PREFIX) :] not in repr(row)


@pytest.mark.parametrize(
    "wrong", ["", "mlg_", "Bearer x", "mlg_" + "A" * 43, "mlg_" + "A" * 5000, "mlg_é" + "A" * 42]
)
def test_a_wrong_token_is_nobody(access: Access, wrong: str) -> None:
    with pytest.raises(NotSignedIn):
        access.tokens.authenticate(wrong)


def test_a_revoked_token_stops_at_once(access: Access) -> None:
    token, info = access.tokens.issue(name="x", user="admin")
    assert access.tokens.authenticate(token).admin
    access.tokens.revoke(info.token_id)
    assert access.tokens.known(token) is None
    with pytest.raises(NotSignedIn):
        access.tokens.authenticate(token)
    with pytest.raises(NotFound):
        access.tokens.revoke(info.token_id)


def test_an_expired_token_stops_even_when_it_is_remembered(store: Store, access: Access) -> None:
    now_ms = [1_700_000_000_000]
    tokens = Tokens(store.engine, lambda: now_ms[0])
    token, _ = tokens.issue(name="x", user="admin", expires_at_ms=now_ms[0] + 1000)
    assert tokens.authenticate(token).admin and tokens.known(token) is not None
    now_ms[0] += 1000
    assert tokens.known(token) is None
    with pytest.raises(NotSignedIn, match="expired"):
        tokens.authenticate(token)
    with pytest.raises(Invalid):
        tokens.issue(name="x", user="admin", expires_at_ms=now_ms[0])


def test_last_use_is_kept(store: Store, access: Access) -> None:
    now_ms = [1_700_000_000_000]
    tokens = Tokens(store.engine, lambda: now_ms[0])
    token, info = tokens.issue(name="x", user="admin")
    assert tokens.find(info.token_id).used_at_ms == 0
    tokens.authenticate(token)
    assert tokens.find(info.token_id).used_at_ms == now_ms[0]


def test_a_role_counts_from_the_moment_it_is_given_to_the_moment_it_is_taken(access: Access) -> None:
    access.people.make_user("ada")
    token, _ = access.tokens.issue(name="x", user="ada")
    assert not access.tokens.authenticate(token).may(Action.JOB_SUBMIT, project="default")
    access.people.join("default", "ada", "viewer")
    assert access.tokens.authenticate(token).may(Action.JOB_READ, project="default")
    assert not access.tokens.authenticate(token).may(Action.JOB_SUBMIT, project="default")
    access.people.join("default", "ada", "member")
    assert access.tokens.authenticate(token).may(Action.JOB_SUBMIT, project="default")
    access.people.leave("default", "ada")
    assert not access.tokens.authenticate(token).may(Action.JOB_READ, project="default")


def test_an_owner_holds_every_project_of_the_organisation_also_a_later_one(access: Access) -> None:
    access.people.make_user("ada")
    access.people.make_org("lab", owner="ada")
    token, _ = access.tokens.issue(name="x", user="ada")
    assert access.tokens.authenticate(token).owns == {"lab"}
    access.people.make_project("vision", "lab")
    assert access.tokens.authenticate(token).projects == {"vision": Role.OWNER}
    assert [(m.user, m.role) for m in access.people.members("vision")] == [("ada", Role.OWNER)]


def test_a_narrowed_token_can_do_less_than_its_user(access: Access) -> None:
    access.people.make_project("other", "default")
    token, _ = access.tokens.issue(name="ci", user="admin", only_project="default", scopes=["read"])
    principal = access.tokens.authenticate(token)
    assert principal.may(Action.JOB_READ, project="default")
    for action, project in (
        (Action.JOB_READ, "other"),
        (Action.JOB_SUBMIT, "default"),
        (Action.LOG_READ, ""),
    ):
        assert not principal.may(action, project=project)
        with pytest.raises(NotAllowed):
            principal.require(action, project=project)
    with pytest.raises(NotAllowed, match=r"lacks the scope 'run'$"):
        principal.require(Action.JOB_SUBMIT, project="default")


def test_a_site_token_is_that_sites_only(access: Access, tmp_path: Path) -> None:
    token = site_token(access, tmp_path, "paris")
    assert site_token(access, tmp_path, "paris") == token
    principal = access.tokens.authenticate(token)
    assert principal.may(Action.SITE_AGENT, site="paris") and not principal.may(
        Action.SITE_AGENT, site="mulhouse"
    )
    assert principal.name == "site:paris"
    for action in (
        Action.JOB_SUBMIT,
        Action.JOB_READ,
        Action.SITE_OPERATE,
        Action.TOKEN_OWN,
        Action.STATUS_READ,
    ):
        assert not principal.may(action)


def test_names_are_checked_and_taken_once(access: Access) -> None:
    for bad in ("", "Default", "a b", "-a", "a" * 65, "../x", "é"):
        with pytest.raises(Invalid):
            access.people.make_org(bad)
    with pytest.raises(Conflict):
        access.people.make_org("default")
    with pytest.raises(Conflict):
        access.people.make_project("default", "default")
    with pytest.raises(NotFound):
        access.people.make_project("x", "nowhere")
    with pytest.raises(NotFound):
        access.people.make_org("half", owner="nobody")
    assert [org.org for org in access.people.orgs()] == ["default"]


def test_the_last_owner_stays(access: Access) -> None:
    with pytest.raises(Conflict, match="last owner"):
        access.people.disown("default", "admin")
    access.people.make_user("ada")
    access.people.own("default", "ada")
    access.people.disown("default", "admin")
    assert access.people.org("default").owners == ("ada",)


def test_secrets_are_sealed_and_open_for_their_project_only(
    access: Access, store: Store, tmp_path: Path
) -> None:
    access.people.make_project("other", "default")
    access.vault.put("default", "HF_TOKEN", "hf_one", by="admin")
    access.vault.put("default", "HF_TOKEN", "hf_two\nlines", by="admin")
    assert access.vault.open("default", ("HF_TOKEN",)) == {"HF_TOKEN": "hf_two\nlines"}
    with pytest.raises(NotFound, match="HF_TOKEN"):
        access.vault.open("other", ("HF_TOKEN",))
    assert b"hf_two" not in b"".join(path.read_bytes() for path in tmp_path.glob("maillage.db*"))
    with store.engine.begin() as db:  # somebody with the database moves the row to a project of theirs
        db.execute(sa.update(tables.project_secrets).values(project="other"))
    with pytest.raises(Conflict, match="swapped"):
        access.vault.open("other", ("HF_TOKEN",))


def test_secrets_without_their_key_say_so(access: Access, store: Store, tmp_path: Path) -> None:
    access.vault.put("default", "KEY", "value", by="admin")
    (tmp_path / "secrets.key").rename(tmp_path / "lost")
    reopened = open_access(store.engine, tmp_path)
    with pytest.raises(Conflict, match=r"secrets\.key"):
        reopened.vault.open("default", ("KEY",))


@pytest.mark.parametrize(
    ("name", "value"), [("", "x"), ("1A", "x"), ("A-B", "x"), ("A", ""), ("A", "x" * 65_537)]
)
def test_a_secret_that_no_environment_can_hold_is_refused(access: Access, name: str, value: str) -> None:
    with pytest.raises(Invalid):
        access.vault.put("default", name, value, by="admin")
    assert access.vault.listed("default") == []


def test_deleting_a_secret(access: Access) -> None:
    access.vault.put("default", "KEY", "value", by="admin")
    access.vault.delete("default", "KEY")
    with pytest.raises(NotFound):
        access.vault.delete("default", "KEY")
    assert access.vault.open("default", ()) == {}
