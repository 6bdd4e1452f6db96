"""Who is calling: a person or a site's agent, with every role they hold and what their token allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maillage.access.roles import RULES, Action, Held, Role, TokenScope
from maillage.errors import NotAllowed

ALL_SCOPES = frozenset(TokenScope)


@dataclass(frozen=True, slots=True)
class Principal:
    """`projects` holds the role in every project, an owner's included; an admin needs none of them.

    `only_project` is set for a token narrowed to one project: the principal then holds nothing
    but its role there. `site` is set for an agent's token, and `user` is then empty.
    """

    user: str = ""
    admin: bool = False
    operates: frozenset[str] = frozenset()
    owns: frozenset[str] = frozenset()
    projects: Mapping[str, Role] = field(default_factory=dict)
    site: str = ""
    token_id: str = ""
    scopes: frozenset[TokenScope] = ALL_SCOPES
    only_project: str = ""
    expires_at_ms: int = 0

    @property
    def name(self) -> str:
        return self.user or f"site:{self.site}"

    def visible_projects(self) -> frozenset[str] | None:
        """Projects whose things may be read; None means all."""
        return None if self.admin else frozenset(self.projects)

    def may(self, action: Action, *, project: str = "", org: str = "", site: str = "") -> bool:
        """Whether the action is allowed on a thing of that project, organisation or site.

        With nothing named, whether it may be allowed on anything at all: the first gate of a
        route, before the thing is known.
        """
        rule = RULES[action]
        if rule.scope not in self.scopes:
            return False
        if self.admin and Role.ADMIN in rule.roles:
            return True
        if rule.held is Held.SELF:
            return bool(self.user) or Role.SITE in rule.roles
        if rule.held is Held.NETWORK:
            return False
        if rule.held is Held.PROJECT and project:
            return self.projects.get(project) in rule.roles
        if rule.held is Held.ORG and org:
            return Role.OWNER in rule.roles and org in self.owns
        if rule.held is Held.SITE and site:
            return (Role.OPERATOR in rule.roles and site in self.operates) or (
                Role.SITE in rule.roles and site == self.site
            )
        return not self._roles_anywhere().isdisjoint(rule.roles)

    def require(self, action: Action, *, project: str = "", org: str = "", site: str = "") -> None:
        """Raises NotAllowed, naming the roles that may, where `may` says no."""
        if self.may(action, project=project, org=org, site=site):
            return
        rule = RULES[action]
        if rule.scope not in self.scopes:
            raise NotAllowed(f"this token may not {rule.what}: it lacks the scope {rule.scope.value!r}")
        where = f" in project {project!r}" if project else f" of site {site!r}" if site else ""
        where = where or (f" in organisation {org!r}" if org else "")
        roles = " or ".join(role for role in Role if role in rule.roles)
        raise NotAllowed(f"{self.name!r} may not {rule.what}{where}: that takes the role {roles}")

    def _roles_anywhere(self) -> frozenset[Role]:
        roles = set(self.projects.values())
        if self.owns:
            roles.add(Role.OWNER)
        if self.operates:
            roles.add(Role.OPERATOR)
        if self.site:
            roles.add(Role.SITE)
        return frozenset(roles)
