//! Robots of a namespace, run by its administrators.
//!
//! Whoever administers a namespace does with its robots what he may do with its members: everything up to his own role. A
//! robot is called by its own name here, or by its whole one.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::tokens::{TokenMade, Tokens, shown, wish};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::{NamespacePath, Role, UserName};
use crate::metadata::model::accounts::{MakerRight, RobotRecord};

/// A robot of a namespace.
#[derive(Serialize, ToSchema)]
pub(super) struct Robot {
    /// Its whole name, `NAMESPACE+NAME`.
    name: String,
    /// owner, admin, write or read; none: it was taken.
    role: Option<String>,
    disabled: bool,
    /// Seconds since 1970.
    created_at: i64,
}

/// Robots, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Robots {
    robots: Vec<Robot>,
    next: Option<String>,
}

/// A token of a robot to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRobotToken {
    #[serde(default)]
    name: String,
    /// `GLOB:ACTIONS`; an empty list limits it to what the robot may do.
    #[serde(default)]
    scopes: Vec<String>,
    /// In seconds.
    expires_in: Option<u64>,
}

impl From<RobotRecord> for Robot {
    fn from(robot: RobotRecord) -> Self {
        Self {
            name: robot.name.to_string(),
            role: robot.role.map(|role| role.to_string()),
            disabled: robot.disabled_at.is_some(),
            created_at: robot.created_at.as_micros() / 1_000_000,
        }
    }
}

/// Lists the robots of a namespace. For its administrators.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/robots", tag = "namespaces",
    params(("path" = String, Path), ("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Robots), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Admin).await?;
    let limit = page.limit();
    let found = api.auth.accounts().robot_list(&path, page.after(), limit).await?;
    let found = found.ok_or(ApiError::NotFound("namespace"))?;
    let next = found.last().filter(|_| found.len() == limit as usize).map(|robot| robot.name.to_string());
    json(StatusCode::OK, &Robots { robots: found.into_iter().map(Robot::from).collect(), next })
}

/// Ends a robot, with its tokens. For administrators of the namespace, up to their own role.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}/robots/{name}", tag = "namespaces",
    params(("path" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
) -> Answer {
    let (name, _) = robot(&api, &caller, &path, &name).await?;
    api.auth.delete_user(&name, &caller.actor).await?;
    Ok(no_content())
}

/// Lists the tokens of a robot. For administrators of the namespace, up to their own role.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/robots/{name}/tokens", tag = "namespaces",
    params(("path" = String, Path), ("name" = String, Path), ("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Tokens), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn tokens(
    State(api): State<Api>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Answer {
    let (name, _) = robot(&api, &caller, &path, &name).await?;
    shown(&api, &name, &page).await
}

/// Ends a token of a robot, within a second on every node. For administrators of the namespace, up to their own role.
#[utoipa::path(delete, path = "/api/v1/namespaces/{path}/robots/{name}/tokens/{id}", tag = "namespaces",
    params(("path" = String, Path), ("name" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove_token(
    State(api): State<Api>,
    caller: Caller,
    Path((path, name, id)): Path<(String, String, String)>,
) -> Answer {
    let (name, _) = robot(&api, &caller, &path, &name).await?;
    if api.auth.end_token(Some(&name), &id, &caller.actor).await? {
        Ok(no_content())
    } else {
        Err(ApiError::NotFound("token"))
    }
}

/// Makes a token of a robot, which is shown only here and never does more than the robot may. One that is made by an API
/// token ends with that. For administrators of the namespace, up to their own role.
#[utoipa::path(post, path = "/api/v1/namespaces/{path}/robots/{name}/tokens", tag = "namespaces",
    params(("path" = String, Path), ("name" = String, Path)), request_body = NewRobotToken,
    responses((status = 201, body = TokenMade), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn add_token(
    State(api): State<Api>,
    caller: Caller,
    Path((path, name)): Path<(String, String)>,
    Body(new): Body<NewRobotToken>,
) -> Answer {
    let (name, right) = robot(&api, &caller, &path, &name).await?;
    let wish = wish(new.name, &new.scopes, new.expires_in)?;
    let maker = caller.whole()?.maker(right);
    let (id, token) = api.auth.add_token(&name, wish, Some(maker), &caller.actor).await?;
    json(StatusCode::CREATED, &TokenMade::new(id, &token))
}

/// A robot of a namespace, for a caller who may do there what it may; and by what right he may.
async fn robot(api: &Api, caller: &Caller, path: &str, name: &str) -> Result<(UserName, MakerRight), ApiError> {
    let path: NamespacePath = parse("path", path)?;
    caller.with_role(api, &path, Role::Admin).await?;
    let own = name.strip_prefix(path.as_str()).and_then(|rest| rest.strip_prefix('+')).unwrap_or(name);
    let name = UserName::robot(&path, own).map_err(|error| ApiError::Invalid(format!("name: {error}")))?;
    let found = api.auth.accounts().user_find(&name).await?.filter(|robot| robot.robot_of.as_ref() == Some(&path));
    let found = found.ok_or(ApiError::NotFound("robot"))?;
    let least = api.auth.role_in(found.id, &path).await?.unwrap_or(Role::Admin).max(Role::Admin);
    caller.with_role(api, &path, least).await?;
    Ok((name, MakerRight::Role(path, least)))
}
