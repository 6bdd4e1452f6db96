"""Organisations, projects, members and secrets. These routes are rare: they read the store in a thread."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from maillage.access.roles import Action
from maillage.errors import Invalid
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer, told
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router

router = api_router("people")

Someone = Annotated[Caller, needs(Action.SELF_READ)]
OrgReader = Annotated[Caller, needs(Action.ORG_READ)]
OrgMaker = Annotated[Caller, needs(Action.ORG_CREATE)]
OrgOwner = Annotated[Caller, needs(Action.ORG_OWNERS)]
ProjectReader = Annotated[Caller, needs(Action.PROJECT_READ)]
ProjectMaker = Annotated[Caller, needs(Action.PROJECT_CREATE)]
MemberReader = Annotated[Caller, needs(Action.MEMBER_READ)]
MemberWriter = Annotated[Caller, needs(Action.MEMBER_WRITE)]
SecretReader = Annotated[Caller, needs(Action.SECRET_READ)]
SecretWriter = Annotated[Caller, needs(Action.SECRET_WRITE)]
Admin = Annotated[Caller, needs(Action.USER_MANAGE)]
OperatorAdmin = Annotated[Caller, needs(Action.OPERATOR_MANAGE)]


@router.get("/me", response_model=shapes.Me, operation_id="getMe")
def me(caller: Someone) -> JsonAnswer:
    """Who the token says I am, and what I may."""
    who = caller.principal
    return JsonAnswer(
        {
            "user": who.user,
            "admin": who.admin,
            "site": who.site,
            "operates": sorted(who.operates),
            "owns": sorted(who.owns),
            "projects": dict(sorted(who.projects.items())),
            "scopes": sorted(who.scopes),
        }
    )


@router.get("/orgs", response_model=shapes.Items, operation_id="listOrgs")
def orgs(caller: OrgReader) -> JsonAnswer:
    """Organisations one owns, or has a project of."""
    people, who = caller.parts.access.people, caller.principal
    seen = set(who.owns) | {project.org for project in people.projects() if project.project in who.projects}
    return JsonAnswer({"items": [told(org) for org in people.orgs() if who.admin or org.org in seen]})


@router.post("/orgs", status_code=201, operation_id="makeOrg")
def make_org(body: shapes.OrgAsked, caller: OrgMaker) -> JsonAnswer:
    """Make an organisation, with its first owner."""
    caller.require(Action.ORG_CREATE)
    return JsonAnswer(told(caller.parts.access.people.make_org(body.org, body.owner)), status_code=201)


@router.post("/orgs/{org}/owners", status_code=201, operation_id="addOwner")
def add_owner(org: str, body: shapes.OwnerAsked, caller: OrgOwner) -> JsonAnswer:
    """Make a user an owner of the organisation."""
    caller.require(Action.ORG_OWNERS, org=org)
    return JsonAnswer(told(caller.parts.access.people.own(org, body.user)), status_code=201)


@router.delete("/orgs/{org}/owners/{user}", status_code=204, operation_id="removeOwner")
def remove_owner(org: str, user: str, caller: OrgOwner) -> Response:
    """The last owner stays."""
    caller.require(Action.ORG_OWNERS, org=org)
    caller.parts.access.people.disown(org, user)
    return Response(status_code=204)


@router.get("/projects", response_model=shapes.Items, operation_id="listProjects")
def projects(caller: ProjectReader) -> JsonAnswer:
    """Projects one may see."""
    visible = caller.projects
    found = caller.parts.access.people.projects()
    return JsonAnswer({"items": [told(one) for one in found if visible is None or one.project in visible]})


@router.post("/projects", status_code=201, operation_id="makeProject")
def make_project(body: shapes.ProjectAsked, caller: ProjectMaker) -> JsonAnswer:
    """Make a project in an organisation one owns. Names are the network's."""
    caller.require(Action.PROJECT_CREATE, org=body.org)
    return JsonAnswer(told(caller.parts.access.people.make_project(body.project, body.org)), status_code=201)


@router.get("/projects/{project}/members", response_model=shapes.Items, operation_id="listMembers")
def members(project: str, caller: MemberReader) -> JsonAnswer:
    """Owners, members and viewers."""
    _in(caller, project, Action.MEMBER_READ)
    return JsonAnswer({"items": caller.parts.access.people.members(project)})


@router.post("/projects/{project}/members", status_code=201, operation_id="addMember")
def add_member(project: str, body: shapes.MemberAsked, caller: MemberWriter) -> JsonAnswer:
    """Give a user a role in the project, or change it."""
    _in(caller, project, Action.MEMBER_WRITE)
    return JsonAnswer(caller.parts.access.people.join(project, body.user, body.role), status_code=201)


@router.delete("/projects/{project}/members/{user}", status_code=204, operation_id="removeMember")
def remove_member(project: str, user: str, caller: MemberWriter) -> Response:
    """From this moment on the user sees nothing of the project."""
    _in(caller, project, Action.MEMBER_WRITE)
    caller.parts.access.people.leave(project, user)
    return Response(status_code=204)


@router.get("/projects/{project}/secrets", response_model=shapes.Items, operation_id="listSecrets")
def secrets(project: str, caller: SecretReader) -> JsonAnswer:
    """Names only: values go to runs and are shown to nobody."""
    _in(caller, project, Action.SECRET_READ)
    return JsonAnswer({"items": [told(one) for one in caller.parts.access.vault.listed(project)]})


@router.post("/projects/{project}/secrets", status_code=201, operation_id="setSecret")
def set_secret(project: str, body: shapes.SecretAsked, caller: SecretWriter) -> JsonAnswer:
    """Set or replace a secret."""
    _in(caller, project, Action.SECRET_WRITE)
    by = caller.principal.name
    return JsonAnswer(
        told(caller.parts.access.vault.put(project, body.name, body.value, by)), status_code=201
    )


@router.delete("/projects/{project}/secrets/{name}", status_code=204, operation_id="deleteSecret")
def delete_secret(project: str, name: str, caller: SecretWriter) -> Response:
    """Runs that start later go without it."""
    _in(caller, project, Action.SECRET_WRITE)
    caller.parts.access.vault.delete(project, name)
    return Response(status_code=204)


@router.get("/users", response_model=shapes.Items, operation_id="listUsers")
def users(caller: Admin) -> JsonAnswer:
    """All users of the network."""
    return JsonAnswer({"items": [told(user) for user in caller.parts.access.people.users()]})


@router.post("/users", status_code=201, operation_id="makeUser")
def make_user(body: shapes.UserAsked, caller: Admin) -> JsonAnswer:
    """Make a user; `POST /tokens` with `user` gives them their first token."""
    made = caller.parts.access.people.make_user(body.user, body.full_name, admin=body.admin)
    return JsonAnswer(told(made), status_code=201)


@router.get("/operators", response_model=shapes.Items, operation_id="listOperators")
def operators(caller: OperatorAdmin) -> JsonAnswer:
    """Operators with their people and sites."""
    return JsonAnswer({"items": caller.parts.access.people.operators()})


@router.post("/operators", status_code=201, operation_id="makeOperator")
def make_operator(body: shapes.OperatorAsked, caller: OperatorAdmin) -> JsonAnswer:
    """Make an operator, who then gets people and sites."""
    return JsonAnswer(caller.parts.access.people.make_operator(body.operator), status_code=201)


@router.post("/operators/{operator}/people", status_code=201, operation_id="addOperatorPerson")
def add_operator_person(operator: str, body: shapes.OwnerAsked, caller: OperatorAdmin) -> JsonAnswer:
    """The user may operate all sites of the operator."""
    return JsonAnswer(caller.parts.access.people.work_for(operator, body.user), status_code=201)


@router.post("/operators/{operator}/sites", status_code=201, operation_id="addOperatorSite")
async def add_operator_site(operator: str, body: shapes.SiteAsked, caller: OperatorAdmin) -> JsonAnswer:
    """Give a site to the operator, from whoever had it."""
    await caller.parts.service.site(body.site)
    return JsonAnswer(caller.parts.access.people.run_site(operator, body.site), status_code=201)


def _in(caller: Caller, project: str, action: Action) -> None:
    """Raises NotFound for a project that is not there or not seen, NotAllowed where the role is too low."""
    if not project:
        raise Invalid("name the project")
    caller.see_project(project)
    caller.parts.access.people.project(project)
    caller.require(action, project=project)
