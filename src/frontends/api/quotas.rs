//! What namespaces may hold.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::{Body, Path, parse};
use super::teams::done;
use super::{Answer, Api, Caller, json};
use crate::access::{NamespacePath, Role};
use crate::metadata::model::limits::Quota;

/// Largest number that every database holds.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What a namespace may hold, and what it holds.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaShown {
    /// Most bytes; null: any number. Those of each repository are counted by themselves.
    bytes: Option<u64>,
    /// Most repositories with content; null: any number.
    repositories: Option<u64>,
    /// Bytes of blobs and manifests, and of uploads under way.
    bytes_used: u64,
    /// Repositories with content.
    repositories_used: u64,
}

/// What a namespace shall hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaGiven {
    /// Most bytes; null: any number.
    bytes: Option<u64>,
    /// Most repositories with content; null: any number.
    repositories: Option<u64>,
}

/// Shows what a namespace may hold, and what it holds. For its members.
#[utoipa::path(get, path = "/api/v1/namespaces/{path}/quota", tag = "namespaces", params(("path" = String, Path)),
    responses((status = 200, body = QuotaShown), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn show(State(api): State<Api>, caller: Caller, Path(path): Path<String>) -> Answer {
    let path: NamespacePath = parse("path", &path)?;
    caller.with_role(&api, &path, Role::Read).await?;
    let found = api.auth.quota_and_usage(&path).await?;
    let (quota, usage) = found.ok_or(ApiError::NotFound("namespace"))?;
    let shown = QuotaShown {
        bytes: quota.bytes,
        repositories: quota.repositories,
        bytes_used: usage.bytes,
        repositories_used: usage.repositories,
    };
    json(StatusCode::OK, &shown)
}

/// Says what a namespace may hold. For those who may do everything.
#[utoipa::path(put, path = "/api/v1/namespaces/{path}/quota", tag = "namespaces", params(("path" = String, Path)),
    request_body = QuotaGiven, responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    Body(given): Body<QuotaGiven>,
) -> Answer {
    caller.admin()?;
    let path: NamespacePath = parse("path", &path)?;
    let QuotaGiven { bytes, repositories } = given;
    if [bytes, repositories].into_iter().flatten().any(|number| number > NUMBER_MAX) {
        return Err(ApiError::Invalid(format!("a quota is {NUMBER_MAX} at most; null is any number")));
    }
    let quota = Quota { bytes, repositories };
    done(&api, api.auth.accounts().quota_set(&path, quota, api.auth.now(), &caller.actor).await?, "namespace").await
}
