//! Namespaces, their members and robots.
//!
//! A path of several components stands in the address with `%2F` between them.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::teams::done;
use super::{Answer, Api, Caller, json};
use crate::access::{NamespacePath, Role, UserName};
use crate::metadata::model::accounts::{Granted, Member, NamespaceAdded, NamespaceRecord};

/// A namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct Namespace {
    path: String,
    /// Anybody may pull its repositories, unless one says something else.
    public: bool,
    /// Seconds since 1970.
    created_at: i64,
}

/// A namespace with its members.
#[derive(Serialize, ToSchema)]
pub(super) struct NamespaceMembers {
    #[serde(flatten)]
    namespace: Namespace,
    members: Vec<MemberShown>,
}

/// Who has which role.
#[derive(Serialize, ToSchema)]
pub(super) struct MemberShown {
    /// A name, or `team:NAME`.
    member: String,
    /// owner, admin, write or read.
    role: String,
}

/// Namespaces, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Namespaces {
    namespaces: Vec<Namespace>,
    next: Option<String>,
}

/// A new namespace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNamespace {
    path: String,
    owner: String,
    #[serde(default)]
    public: bool,
}

/// What to change of a namespace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespaceChange {
    public: bool,
}

/// A role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleGiven {
    /// owner, admin, write or read.
    role: String,
}

/// A new robot.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRobot {
    name: String,
    /// owner, admin, write or read; `write` when it is left out.
    role: Option<String>,
}

/// A robot that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct RobotMade {
    /// Its whole name, `NAMESPACE+NAME`.
    name: String,
}

impl From<NamespaceRecord> for Namespace {
    fn from(namespace: NamespaceRecord) -> Self {
        Self {
            path: namespace.path.to_string(),
            public: namespace.public,
            created_at: namespace.created_at.as_micros() / 1_000_000,
        }
    }
}

/// Lists namespaces. For those who may do everything.
#[utoipa::path(get, path = "/api/v1/namespaces", tag = "namespaces",
    params(("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Namespaces), (status = 401), (status = 403)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(page): Query<Page>) -> Answer {
    caller.admin()?;
    let limit = page.limit();
    let found = api.auth.accounts().namespace_list(page.after(), limit).await?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|namespace| namespace.path.to_string());
    json(StatusCode::OK, &Namespaces { namespaces: found.into_iter().map(Namespace::from).collect(), next })
}

/// Makes a namespace. For those who may do everything.
#[utoipa::path(post, path = "/api/v1/namespaces", tag = "namespaces", request_body = NewNamespace,
    responses((status = 201, body = Namespace), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<NewNamespace>) -> Answer {
    caller.admin()?;
    let path: NamespacePath = parse("path", &new.path)?;
    let owner: UserName = parse("owner", &new.owner)?;
    let record = NamespaceRecord { path, public: new.public, created_at: api.auth.now() };
    match api.auth.accounts().namespace_add(&record, &owner, &caller.actor).await? {
        NamespaceAdded::Added => {}
        NamespaceAdded::Taken => return Err(ApiError::Conflict("there is such a namespace already".to_owned())),
        NamespaceAdded::OwnerUnknown => return Err(ApiError::NotFound("account")),
    }
    api.auth.refresh().await?;
    json(StatusCode::CREATED, &Namespace::from(record))
}

/// Shows a namespace with its members. For its members.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}", tag = "namespaces", params(("path" = String, Path)),
    responses((status = 200, body = NamespaceMembers), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn show(State(api): State<Api>, caller: Caller, Path(path): Path<String>) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Read).await?;
    let unknown = || ApiError::NotFound("namespace");
    let namespace = api.auth.accounts().namespace_find(&path).await?.ok_or_else(unknown)?;
    let roles = api.auth.accounts().role_list(&path).await?.ok_or_else(unknown)?;
    let shown = |(member, role): (Member, Role)| {
        let member = match member {
            Member::User(name) => name.to_string(),
            Member::Team(name) => format!("team:{name}"),
        };
        MemberShown { member, role: role.to_string() }
    };
    let members = roles.into_iter().map(shown).collect();
    json(StatusCode::OK, &NamespaceMembers { namespace: namespace.into(), members })
}

/// Says whether its repositories are public. For its administrators.
#[utoipa::path(patch, path = "/api/v1/namespaces/{path}", tag = "namespaces", params(("path" = String, Path)),
    request_body = NamespaceChange, responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Body(change): Body<NamespaceChange>,
) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Admin).await?;
    let (now, public) = (api.auth.now(), change.public);
    done(&api, api.auth.accounts().namespace_public(&path, public, now, &caller.actor).await?, "namespace").await
}

/// Ends a namespace with its roles and robots; its repositories stay. For its owners.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}", tag = "namespaces", params(("path" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(State(api): State<Api>, caller: Caller, Path(path): Path<String>) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Owner).await?;
    done(&api, api.auth.accounts().namespace_delete(&path, api.auth.now(), &caller.actor).await?, "namespace").await
}

/// Gives a role. For administrators of the namespace, up to their own role.
#[utoipa::path(put, path = "/api/v1/namespaces/{path}/members/{member}", tag = "namespaces",
    params(("path" = String, Path), ("member" = String, Path)), request_body = RoleGiven,
    responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn grant(
    State(api): State<Api>,
    caller: Caller,
    Path((path, member)): Path<(String, String)>,
    Body(given): Body<RoleGiven>,
) -> Answer {
    let role = parse("role", &given.role)?;
    set_role(&api, &caller, &path, &member, Some(role)).await
}

/// Takes a role. For administrators of the namespace, up to their own role.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}/members/{member}", tag = "namespaces",
    params(("path" = String, Path), ("member" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path((path, member)): Path<(String, String)>,
) -> Answer {
    set_role(&api, &caller, &path, &member, None).await
}

async fn set_role(api: &Api, caller: &Caller, path: &str, member: &str, role: Option<Role>) -> Answer {
    let path: NamespacePath = parse("path", path)?;
    let who = match member.strip_prefix("team:") {
        Some(team) => Member::Team(parse("member", team)?),
        None => Member::User(parse("member", member)?),
    };
    caller.with_role(api, &path, Role::Admin).await?;
    // Only an owner makes owners, and only an owner ends one.
    let roles = api.auth.accounts().role_list(&path).await?.ok_or(ApiError::NotFound("namespace"))?;
    let held = roles.iter().find(|(known, _)| *known == who).map(|(_, role)| *role);
    if role.max(held) == Some(Role::Owner) {
        caller.with_role(api, &path, Role::Owner).await?;
    }
    match api.auth.accounts().role_set(&path, &who, role, api.auth.now(), &caller.actor).await? {
        Granted::Done => done(api, true, "").await,
        Granted::NamespaceUnknown => Err(ApiError::NotFound("namespace")),
        Granted::MemberUnknown => Err(ApiError::NotFound("account or team")),
        Granted::LastOwner => Err(ApiError::Conflict("this is the last owner; make another one first".to_owned())),
    }
}

/// Makes a robot. For administrators of the namespace, up to their own role.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/robots", tag = "namespaces", params(("path" = String, Path)),
    request_body = NewRobot,
    responses((status = 201, body = RobotMade), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409)))]
pub(super) async fn add_robot(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Body(new): Body<NewRobot>,
) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    let role = new.role.as_deref().map_or(Ok(Role::Write), |role| parse("role", role))?;
    caller.with_role(&api, &path, role.max(Role::Admin)).await?;
    let name = UserName::robot(&path, &new.name).map_err(|error| ApiError::Invalid(format!("name: {error}")))?;
    api.auth.add_robot(&name, &path, role, &caller.actor).await?;
    json(StatusCode::CREATED, &RobotMade { name: name.to_string() })
}
