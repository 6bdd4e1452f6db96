"""Access as the roof uses it, and what the first start makes: `default`, an admin, the sites' tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from maillage.access.people import People
from maillage.access.tokens import Tokens, digest
from maillage.access.vault import Vault, load_key, read_private, write_private
from maillage.errors import NotSignedIn

DEFAULT = "default"
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Access:
    """Everything about people that the routes ask for."""

    tokens: Tokens
    people: People
    vault: Vault
    _orgs: dict[str, str] = field(default_factory=dict)

    def known_org(self, project: str) -> str:
        """The organisation of a project that was asked for before, "" otherwise: reads no store."""
        return self._orgs.get(project, "")

    def org_of(self, project: str) -> str:
        """The organisation of a project, which never changes. Raises NotFound."""
        if project not in self._orgs:
            self._orgs[project] = self.people.project(project).org
        return self._orgs[project]


def open_access(engine: sa.Engine, data_dir: Path) -> Access:
    """Access over the store's database; makes `secrets.key` the first time."""
    tokens = Tokens(engine)
    people = People(engine, changed=tokens.forget)
    return Access(tokens, people, Vault(engine, load_key(data_dir / "secrets.key")))


def prepare(access: Access, data_dir: Path, sites: Sequence[str]) -> None:
    """What every start makes sure of: organisation, project and operator `default`, the user `admin`
    with a token in `admin.token`, and every site of the network in somebody's hands."""
    people = access.people
    if not any(user.user == ADMIN for user in people.users()):
        people.make_user(ADMIN, "The network's administrator", admin=True)
    if not any(org.org == DEFAULT for org in people.orgs()):
        people.make_org(DEFAULT, owner=ADMIN)
    if not any(project.project == DEFAULT for project in people.projects()):
        people.make_project(DEFAULT, DEFAULT)
    operators = people.operators()
    if not any(operator.operator == DEFAULT for operator in operators):
        people.work_for(people.make_operator(DEFAULT).operator, ADMIN)
    run = {site for operator in operators for site in operator.sites}
    for site in sites:
        if site not in run:
            people.run_site(DEFAULT, site)
    token_in(access.tokens, data_dir / "admin.token", user=ADMIN)


def site_token(access: Access, data_dir: Path, site: str) -> str:
    """The token of the agent embedded for `site`, from its file, made where there is none."""
    folder = data_dir / "sites" / site
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return token_in(access.tokens, folder / "token", site=site)


def token_in(tokens: Tokens, path: Path, *, user: str = "", site: str = "") -> str:
    """The live token kept in `path`. One that is missing or was revoked is made anew, and whatever
    the same file held before stops counting. Raises Conflict when others can read the file."""
    name = f"file {path.name}"
    if path.exists():
        token = read_private(path)
        try:
            holder = tokens.authenticate(token)
        except NotSignedIn:
            path.unlink()
        else:
            if (holder.user, holder.site) == (user, site):
                return token
            path.unlink()
    for old in tokens.listed(user=user, site=site):
        if old.name == name:
            tokens.revoke(old.token_id)
    token, _ = tokens.issue(name=name, user=user, site=site, issued_by="up")
    write_private(path, token + "\n")
    return token


__all__ = ["ADMIN", "DEFAULT", "Access", "digest", "open_access", "prepare", "site_token", "token_in"]
