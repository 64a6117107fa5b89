//! Whole repositories: listed, deleted, made public or private.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Page, Path, Query, parse};
use super::{Answer, Api, Caller, json, no_content};
use crate::access::{Action, Role};
use crate::auth::{Identity, Verdict};
use crate::oci::name::RepoName;
use crate::oci::page::PageRequest;
use crate::registry::Purge;

/// Whether anybody may pull from a repository.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Visibility {
    /// `public`, `private`, or `namespace`: as the namespace says.
    visibility: VisibilityWord,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum VisibilityWord {
    Public,
    Private,
    Namespace,
}

/// Repositories, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Repositories {
    repositories: Vec<String>,
    next: Option<String>,
}

/// Pages read for one answer at most, when the caller may see little of them. The answer then says where to go on.
const PAGES_MAX: usize = 10;

/// Lists the repositories that the caller may pull from with the credential that he sends; all of them while there are no
/// accounts. A page may be shorter than asked for, even empty: the list ends where `next` is null.
#[utoipa::path(get, path = "/api/v1/repositories", tag = "repositories",
    params(("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Repositories), (status = 401)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(page): Query<Page>) -> Answer {
    if matches!(caller.identity, Identity::Unidentified | Identity::Anonymous(_)) {
        return Err(caller.refused(ApiError::Unauthenticated));
    }
    let mut request = PageRequest { n: Some(page.limit()), last: page.after().map(str::to_owned) };
    let mut seen = Repositories { repositories: Vec::new(), next: None };
    for _ in 0..PAGES_MAX {
        let listed = api.registry.list_repositories(&request).await?;
        for repo in listed.entries {
            if api.auth.judge_action(&caller.identity, &repo, Action::Pull).await? == Verdict::Allowed {
                seen.repositories.push(repo.to_string());
            }
        }
        seen.next = listed.next;
        let Some(last) = seen.next.as_ref().filter(|_| seen.repositories.is_empty()) else { break };
        request = request.after(last);
    }
    json(StatusCode::OK, &seen)
}

/// Deletes a repository with everything in it; `?purge=wait` waits until its bytes are gone. For those who may delete in it,
/// and for everybody while there are no accounts.
#[utoipa::path(delete, path = "/api/v1/repositories/{name}", tag = "repositories",
    params(("name" = String, Path), ("purge" = Option<String>, Query)),
    responses((status = 202), (status = 400), (status = 401), (status = 403), (status = 404), (status = 503)))]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let repo: RepoName = parse("name", &name)?;
    let purge = match query.as_deref() {
        None | Some("") => Purge::Later,
        Some("purge=wait") => Purge::Wait,
        Some(_) => return Err(ApiError::Invalid("the only parameter here is purge=wait".to_owned())),
    };
    require(&api, &caller, &repo, Action::Delete).await?;
    api.registry.delete_repository(&repo, purge, &caller.actor).await?;
    json(StatusCode::ACCEPTED, &json!({"deleted": repo.as_str()}))
}

/// Says whether anybody may pull from a repository. For administrators of its namespace.
#[utoipa::path(put, path = "/api/v1/repositories/{name}", tag = "repositories", params(("name" = String, Path)),
    request_body = Visibility, responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn set_visibility(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wish): Body<Visibility>,
) -> Answer {
    let repo: RepoName = parse("name", &name)?;
    require_administrator(&api, &caller, &repo).await?;
    let public = match wish.visibility {
        VisibilityWord::Public => Some(true),
        VisibilityWord::Private => Some(false),
        VisibilityWord::Namespace => None,
    };
    if !api.auth.accounts().repository_public(&repo, public, api.auth.now(), &caller.actor).await? {
        return Err(ApiError::NotFound("repository"));
    }
    api.auth.refresh().await?;
    Ok(no_content())
}

/// Lets the caller administer a repository, with everything he may, or says why not; to a stranger it is not there.
pub(super) async fn require_administrator(api: &Api, caller: &Caller, repo: &RepoName) -> Result<(), ApiError> {
    let principal = caller.whole()?;
    if principal.admin {
        return Ok(());
    }
    require(api, caller, repo, Action::Pull).await?;
    if api.auth.role_at(principal.id, repo).await? < Some(Role::Admin) {
        return Err(denied(api, caller, repo, "administer", ApiError::Denied));
    }
    Ok(())
}

/// Lets the caller do something in a repository, or says why not; to a stranger it is not there.
async fn require(api: &Api, caller: &Caller, repo: &RepoName, action: Action) -> Result<(), ApiError> {
    if matches!(caller.identity, Identity::Unidentified | Identity::Anonymous(_)) {
        return Err(caller.refused(ApiError::Unauthenticated));
    }
    let refused = |error| denied(api, caller, repo, action.as_str(), error);
    let seen = api.auth.judge_action(&caller.identity, repo, Action::Pull).await?;
    match api.auth.judge_action(&caller.identity, repo, action).await? {
        Verdict::Allowed => Ok(()),
        Verdict::Unauthenticated => Err(caller.refused(ApiError::Unauthenticated)),
        Verdict::OutOfScope => Err(refused(ApiError::Limited)),
        Verdict::Missing => Err(refused(ApiError::NotFound("repository"))),
        Verdict::Denied if seen == Verdict::Missing => Err(refused(ApiError::NotFound("repository"))),
        Verdict::Denied => Err(refused(ApiError::Denied)),
    }
}

/// Counts a refusal of somebody who is known, and tells those who want to know of it.
fn denied(api: &Api, caller: &Caller, repo: &RepoName, action: &'static str, error: ApiError) -> ApiError {
    api.hooks.denied(repo, action, &caller.actor);
    caller.refused(error)
}
