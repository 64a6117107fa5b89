//! Lists: tags of a repository, repositories, referrers of a digest (distribution-spec, end-8, end-12, `_catalog`).
//!
//! Invariant: a list that does not end here carries a `Link` to where it goes on, and only then.

use bytes::Bytes;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;

use super::Exchange;
use super::failure::Failure;
use super::reply::{Answer, JSON_MEDIA_TYPE, OCI_FILTERS_APPLIED, Reply};
use crate::auth::Identity;
use crate::oci::digest::Digest;
use crate::oci::media_type::OCI_IMAGE_INDEX;
use crate::oci::name::{RepoName, Tag};
use crate::oci::page::{PageRequest, link_next};
use crate::oci::referrers::referrers_index;
use crate::oci::route::{target_catalog, target_referrers, target_tags};
use crate::registry::{Page, RegistryError};

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Catalog<'a> {
    repositories: Vec<&'a str>,
}

/// `GET /v2/<name>/tags/list`.
pub(super) async fn tags(exchange: &Exchange, repo: &RepoName, page: &PageRequest) -> Answer {
    let listed = exchange.registry.list_tags(repo, page).await?;
    let tags = listed.entries.iter().map(Tag::as_str).collect();
    let body = json(&TagList { name: repo.as_str(), tags })?;
    let next = listed.next.map(|last| link_next(&target_tags(repo, &page.after(&last))));
    Ok(Reply::new(StatusCode::OK).maybe(LINK, next).bytes(JSON_MEDIA_TYPE, body))
}

/// `GET /v2/_catalog`.
pub(super) async fn catalog(exchange: &Exchange, page: &PageRequest) -> Answer {
    let listed = visible(exchange, page).await?;
    let body = json(&Catalog { repositories: listed.entries.iter().map(RepoName::as_str).collect() })?;
    let next = listed.next.map(|last| link_next(&target_catalog(&page.after(&last))));
    Ok(Reply::new(StatusCode::OK).maybe(LINK, next).bytes(JSON_MEDIA_TYPE, body))
}

/// Repositories looked at for one answer at most. Somebody who may see none of so many in a row has come to the end of his
/// list: where it goes on could only be said with a name that he may not see.
const LOOKED_AT_MAX: usize = 100_000;

/// Repositories looked at at once when the caller may see little of them.
const AHEAD_MAX: u32 = 1_000;

/// The repositories that the caller may pull from. The page ends with one of them, whatever lies behind it.
async fn visible(exchange: &Exchange, page: &PageRequest) -> Result<Page<RepoName>, Failure> {
    if matches!(exchange.identity, Identity::Everybody) || page.n == Some(0) {
        return Ok(exchange.registry.list_repositories(page).await?);
    }
    let most = exchange.registry.limits().catalog_page_max;
    let limit = page.n.unwrap_or(most).min(most);
    let (mut seen, mut last, mut looked_at) = (Vec::new(), page.last.clone(), 0);
    let mut ahead = limit.saturating_add(1).min(AHEAD_MAX);
    let more = loop {
        let listed = exchange.registry.list_repositories(&PageRequest { n: Some(ahead), last }).await?;
        looked_at += listed.entries.len();
        let found = exchange.gate.auth.visible(&exchange.identity, listed.entries).await;
        seen.extend(found.map_err(Failure::from)?);
        if seen.len() > limit as usize {
            break true;
        }
        if listed.next.is_none() || looked_at >= LOOKED_AT_MAX {
            break listed.next.is_some();
        }
        last = listed.next;
        ahead = ahead.saturating_mul(2).min(AHEAD_MAX);
    };
    seen.truncate(limit as usize);
    let next = if more { seen.last().map(RepoName::to_string) } else { None };
    Ok(Page { entries: seen, next })
}

/// `GET /v2/<name>/referrers/<digest>`; a subject that nobody knows has an empty list, not none.
pub(super) async fn referrers(
    exchange: &Exchange,
    repo: &RepoName,
    subject: &Digest,
    artifact_type: Option<&str>,
    page: &PageRequest,
) -> Answer {
    let listed = exchange.registry.list_referrers(repo, subject, artifact_type, page).await?;
    let next = listed.next.map(|last| link_next(&target_referrers(repo, subject, artifact_type, &page.after(&last))));
    let reply = Reply::new(StatusCode::OK).maybe(LINK, next);
    let reply = reply.maybe(OCI_FILTERS_APPLIED, artifact_type.map(|_| "artifactType"));
    // Clients compare the media type exactly, so no parameter follows it.
    Ok(reply.bytes(OCI_IMAGE_INDEX, Bytes::from(referrers_index(&listed.descriptors))))
}

fn json(value: &impl Serialize) -> Result<Bytes, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| RegistryError::Internal(Box::new(error)))?;
    Ok(Bytes::from(bytes))
}
