"""The one role table: which role may do what, and where the role must be held.

Routes read it to authorise, `docs/reference/roles.md` is written from it, and the tests walk it.
There is no second place that grants anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    ADMIN = "admin"  # of the whole network
    OPERATOR = "operator"  # of the sites of one operator
    OWNER = "owner"  # of an organisation, and so of all its projects
    MEMBER = "member"  # of a project
    VIEWER = "viewer"  # of a project
    SITE = "site"  # no person: the agent of one site


class Held(StrEnum):
    """Where the role must be held for the action on one thing."""

    NETWORK = "network"
    SITE = "site"  # for that site
    ORG = "organisation"  # in that organisation
    PROJECT = "project"  # in that project, or as owner of its organisation
    ANYWHERE = "anywhere"  # in any project, organisation or site
    SELF = "oneself"  # whoever is signed in


class TokenScope(StrEnum):
    """What a token may be narrowed to. A token without scopes may do all that its user may."""

    READ = "read"
    RUN = "run"
    INFER = "infer"
    OPERATE = "operate"
    MANAGE = "manage"


class Action(StrEnum):
    JOB_SUBMIT = "job.submit"
    JOB_QUOTE = "job.quote"
    JOB_READ = "job.read"
    JOB_CONTROL = "job.control"
    JOB_SHELL = "job.shell"
    ARTIFACT_READ = "artifact.read"
    ARTIFACT_WRITE = "artifact.write"
    ENDPOINT_READ = "endpoint.read"
    ENDPOINT_DEPLOY = "endpoint.deploy"
    ENDPOINT_CALL = "endpoint.call"
    SITE_READ = "site.read"
    SITE_OPERATE = "site.operate"
    SITE_TOKEN = "site.token"  # noqa: S105 - the name of an action
    SITE_AGENT = "site.agent"
    ORG_READ = "org.read"
    ORG_CREATE = "org.create"
    ORG_OWNERS = "org.owners"
    PROJECT_READ = "project.read"
    PROJECT_CREATE = "project.create"
    MEMBER_READ = "member.read"
    MEMBER_WRITE = "member.write"
    SECRET_READ = "secret.read"  # noqa: S105
    SECRET_WRITE = "secret.write"  # noqa: S105
    USER_MANAGE = "user.manage"
    OPERATOR_MANAGE = "operator.manage"
    TOKEN_OWN = "token.own"  # noqa: S105
    SELF_READ = "self.read"
    STATUS_READ = "status.read"
    EVENTS_READ = "events.read"
    LOG_READ = "log.read"


@dataclass(frozen=True, slots=True)
class Rule:
    """`roles` may do the action where they are `held`, with a token that has `scope`."""

    held: Held
    roles: frozenset[Role]
    scope: TokenScope
    what: str


_ADMIN = frozenset({Role.ADMIN})
_OPERATORS = _ADMIN | {Role.OPERATOR}
_OWNERS = _ADMIN | {Role.OWNER}
_MEMBERS = _OWNERS | {Role.MEMBER}
_VIEWERS = _MEMBERS | {Role.VIEWER}
_PEOPLE = _VIEWERS | {Role.OPERATOR}
_AGENT = frozenset({Role.SITE})

_READ, _RUN, _MANAGE = TokenScope.READ, TokenScope.RUN, TokenScope.MANAGE

RULES: dict[Action, Rule] = {
    Action.JOB_SUBMIT: Rule(Held.PROJECT, _MEMBERS, _RUN, "submit jobs"),
    Action.JOB_QUOTE: Rule(Held.PROJECT, _MEMBERS, _RUN, "ask where, when and for how much a job would run"),
    Action.JOB_READ: Rule(
        Held.PROJECT, _VIEWERS, _READ, "see jobs, their logs, outputs, receipts and why they wait"
    ),
    Action.JOB_CONTROL: Rule(Held.PROJECT, _MEMBERS, _RUN, "cancel and requeue jobs"),
    Action.JOB_SHELL: Rule(Held.PROJECT, _MEMBERS, _RUN, "open a shell in a running job"),
    Action.ARTIFACT_READ: Rule(Held.ANYWHERE, _VIEWERS | _AGENT, _READ, "fetch an artifact by its digest"),
    Action.ARTIFACT_WRITE: Rule(Held.ANYWHERE, _MEMBERS | _AGENT, _RUN, "store an artifact"),
    Action.ENDPOINT_READ: Rule(Held.PROJECT, _VIEWERS, _READ, "see endpoints"),
    Action.ENDPOINT_DEPLOY: Rule(Held.PROJECT, _MEMBERS, _RUN, "deploy, scale and delete endpoints"),
    Action.ENDPOINT_CALL: Rule(Held.PROJECT, _MEMBERS, TokenScope.INFER, "call a model through the gateway"),
    Action.SITE_READ: Rule(Held.ANYWHERE, _PEOPLE, _READ, "see sites, their load, power and signals"),
    Action.SITE_OPERATE: Rule(
        Held.SITE, _OPERATORS, TokenScope.OPERATE, "drain, resume, limit and drill a site"
    ),
    Action.SITE_TOKEN: Rule(Held.SITE, _OPERATORS, _MANAGE, "issue and revoke the tokens of a site's agent"),
    Action.SITE_AGENT: Rule(
        Held.SITE, _AGENT, TokenScope.OPERATE, "sync, push logs and serve shells as a site"
    ),
    Action.ORG_READ: Rule(Held.SELF, _PEOPLE, _READ, "list the organisations one belongs to"),
    Action.ORG_CREATE: Rule(Held.NETWORK, _ADMIN, _MANAGE, "make an organisation"),
    Action.ORG_OWNERS: Rule(Held.ORG, _OWNERS, _MANAGE, "name owners of an organisation"),
    Action.PROJECT_READ: Rule(Held.SELF, _PEOPLE, _READ, "list the projects one belongs to"),
    Action.PROJECT_CREATE: Rule(Held.ORG, _OWNERS, _MANAGE, "make a project"),
    Action.MEMBER_READ: Rule(Held.PROJECT, _VIEWERS, _READ, "list the members of a project"),
    Action.MEMBER_WRITE: Rule(Held.PROJECT, _OWNERS, _MANAGE, "add, change and remove members of a project"),
    Action.SECRET_READ: Rule(Held.PROJECT, _MEMBERS, _READ, "list the names of a project's secrets"),
    Action.SECRET_WRITE: Rule(Held.PROJECT, _MEMBERS, _MANAGE, "set and delete a project's secrets"),
    Action.USER_MANAGE: Rule(Held.NETWORK, _ADMIN, _MANAGE, "list and make users, and issue tokens for them"),
    Action.OPERATOR_MANAGE: Rule(
        Held.NETWORK, _ADMIN, _MANAGE, "list and make operators, their people and sites"
    ),
    Action.TOKEN_OWN: Rule(Held.SELF, _PEOPLE, _MANAGE, "list, issue and revoke one's own tokens"),
    Action.SELF_READ: Rule(Held.SELF, _PEOPLE | _AGENT, _READ, "see who one is"),
    Action.STATUS_READ: Rule(Held.ANYWHERE, _PEOPLE, _READ, "see the state of the network"),
    Action.EVENTS_READ: Rule(Held.ANYWHERE, _PEOPLE, _READ, "follow the live stream and the console page"),
    Action.LOG_READ: Rule(Held.NETWORK, _ADMIN, _MANAGE, "read the whole log"),
}


def markdown() -> str:
    """The table as `docs/reference/roles.md` shows it."""
    roles = tuple(Role)
    lines = [
        "# Roles",
        "",
        "Written by `python -m maillage.access.roles`; a test compares it with the table that routes read.",
        "",
        "An admin is of the whole network, an operator of the sites of one operator, an owner of an",
        "organisation and so of all its projects, members and viewers of a project. `site` is no person: it",
        "is the token of one site's agent. *Held in* says where the role must be held; a thing in",
        "a project one cannot see answers 404, one that may be seen but not changed answers 403. *Scope* is",
        "what a narrowed token needs; a token without scopes may do all that its user may.",
        "",
        "| action | may | held in | scope | " + " | ".join(roles) + " |",
        "|---|---|---|---|" + "---|" * len(roles),
    ]
    for action, rule in RULES.items():
        ticks = " | ".join("yes" if role in rule.roles else "" for role in roles)
        lines.append(f"| `{action}` | {rule.what} | {rule.held} | {rule.scope} | {ticks} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
