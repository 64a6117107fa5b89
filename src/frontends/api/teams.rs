//! Teams. For those who may do everything.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::TeamName;

/// A team.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Team {
    name: String,
}

/// Teams, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Teams {
    teams: Vec<String>,
    next: Option<String>,
}

/// Who is in a team.
#[derive(Serialize, ToSchema)]
pub(super) struct TeamMembers {
    name: String,
    members: Vec<String>,
}

/// Lists teams.
#[utoipa::path(get, path = "/api/v1/teams", tag = "teams", params(("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Teams), (status = 401), (status = 403)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(page): Query<Page>) -> Answer {
    caller.admin()?;
    let limit = page.limit();
    let found = api.auth.accounts().team_list(page.after(), limit).await?;
    let teams: Vec<String> = found.iter().map(ToString::to_string).collect();
    let next = teams.last().filter(|_| teams.len() == limit as usize).cloned();
    json(StatusCode::OK, &Teams { teams, next })
}

/// Makes a team.
#[utoipa::path(post, path = "/api/v1/teams", tag = "teams", request_body = Team,
    responses((status = 201, body = Team), (status = 400), (status = 401), (status = 403), (status = 409)))]
pub(super) async fn create(State(api): State<Api>, caller: Caller, Body(new): Body<Team>) -> Answer {
    caller.admin()?;
    let name: TeamName = parse("name", &new.name)?;
    if !api.auth.accounts().team_add(&name, api.auth.now(), &caller.actor).await? {
        return Err(ApiError::Conflict(format!("there is a team `{name}` already")));
    }
    json(StatusCode::CREATED, &Team { name: name.to_string() })
}

/// Shows who is in a team.
#[utoipa::path(get, path = "/api/v1/teams/{name}", tag = "teams", params(("name" = String, Path)),
    responses((status = 200, body = TeamMembers), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn show(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.admin()?;
    let name: TeamName = parse("name", &name)?;
    let members = api.auth.accounts().team_members(&name).await?.ok_or(ApiError::NotFound("team"))?;
    let members = members.iter().map(ToString::to_string).collect();
    json(StatusCode::OK, &TeamMembers { name: name.to_string(), members })
}

/// Ends a team, with its roles.
#[utoipa::path(delete, path = "/api/v1/teams/{name}", tag = "teams", params(("name" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn remove(State(api): State<Api>, caller: Caller, Path(name): Path<String>) -> Answer {
    caller.admin()?;
    let name: TeamName = parse("name", &name)?;
    done(&api, api.auth.accounts().team_delete(&name, api.auth.now(), &caller.actor).await?, "team").await
}

/// Puts an account into a team.
#[utoipa::path(put, path = "/api/v1/teams/{name}/members/{user}", tag = "teams",
    params(("name" = String, Path), ("user" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn join(State(api): State<Api>, caller: Caller, Path(who): Path<(String, String)>) -> Answer {
    set(&api, &caller, &who, true).await
}

/// Takes an account out of a team.
#[utoipa::path(delete, path = "/api/v1/teams/{name}/members/{user}", tag = "teams",
    params(("name" = String, Path), ("user" = String, Path)),
    responses((status = 204), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn leave(State(api): State<Api>, caller: Caller, Path(who): Path<(String, String)>) -> Answer {
    set(&api, &caller, &who, false).await
}

async fn set(api: &Api, caller: &Caller, (name, user): &(String, String), member: bool) -> Answer {
    caller.admin()?;
    let (name, user) = (parse("name", name)?, parse("user", user)?);
    let set = api.auth.accounts().team_member_set(&name, &user, member, api.auth.now(), &caller.actor).await?;
    done(api, set, "team or account").await
}

/// The answer to a change that may have found nothing; it takes effect in this process at once.
pub(super) async fn done(api: &Api, done: bool, what: &'static str) -> Answer {
    if !done {
        return Err(ApiError::NotFound(what));
    }
    api.auth.refresh().await?;
    Ok(no_content())
}
