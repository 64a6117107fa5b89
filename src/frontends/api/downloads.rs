//! Who downloaded what, for those who administer the namespace.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{Query, parse};
use super::repositories::require_administrator;
use super::{Answer, Api, Caller, json};
use crate::metadata::model::downloads::{Download, DownloadRecord};
use crate::oci::name::RepoName;

/// Entries of a page when the client does not say, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;

/// Downloads of one manifest by one client in one hour.
#[derive(Serialize, ToSchema)]
pub(super) struct DownloadShown {
    /// When the hour began.
    hour: String,
    digest: String,
    /// The account; null: nobody in particular, or many.
    actor: Option<String>,
    /// The address, or the first one of its network, as the operator chose; null: many.
    address: Option<String>,
    pulls: u64,
}

/// Downloads, those counted last first, and where the list goes on.
#[derive(Serialize, ToSchema)]
pub(super) struct Downloads {
    downloads: Vec<DownloadShown>,
    /// To be sent as `last`.
    next: Option<String>,
}

/// Of which repository, and which part of the list.
#[derive(Deserialize)]
pub(super) struct Which {
    repository: String,
    n: Option<u32>,
    last: Option<String>,
}

impl From<DownloadRecord> for DownloadShown {
    fn from(DownloadRecord { download, pulls, .. }: DownloadRecord) -> Self {
        let Download { hour, digest, actor, address, .. } = download;
        let address = address.map(|address| address.to_string());
        Self { hour: hour.to_rfc3339(), digest: digest.to_string(), actor, address, pulls }
    }
}

/// Lists who downloaded what from a repository, as far as the operator has it written down (`[downloads]`). For
/// administrators of its namespace.
#[utoipa::path(get, path = "/api/v1/downloads", tag = "repositories",
    params(("repository" = String, Query), ("n" = Option<u32>, Query), ("last" = Option<String>, Query)),
    responses((status = 200, body = Downloads), (status = 400), (status = 401), (status = 403), (status = 404)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller, Query(which): Query<Which>) -> Answer {
    let repo: RepoName = parse("repository", &which.repository)?;
    let before = which.last.as_deref().map(|last| parse("last", last)).transpose()?;
    require_administrator(&api, &caller, &repo).await?;
    let limit = which.n.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let page = api.registry.downloads(&repo, before, limit).await?;
    let is_full = page.len() as u64 == u64::from(limit);
    let next = page.last().filter(|_| is_full).map(|last| last.id.to_string());
    json(StatusCode::OK, &Downloads { downloads: page.into_iter().map(DownloadShown::from).collect(), next })
}
