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
use crate::access::Action;
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

/// Pages read for one answer at most, when the caller may see little of them. The answer then says where to go on.
const PAGES_MAX: usize = 10;

/// The repositories that the caller may pull from.
async fn visible(exchange: &Exchange, page: &PageRequest) -> Result<Page<RepoName>, Failure> {
    let mut listed = exchange.registry.list_repositories(page).await?;
    if matches!(exchange.identity, Identity::Everybody) {
        return Ok(listed);
    }
    let mut seen = Page { entries: Vec::new(), next: None };
    for _ in 0..PAGES_MAX {
        for repo in listed.entries {
            if exchange.may(Action::Pull, &repo).await? {
                seen.entries.push(repo);
            }
        }
        seen.next = listed.next;
        let Some(last) = seen.next.as_ref().filter(|_| seen.entries.is_empty()) else { break };
        listed = exchange.registry.list_repositories(&page.after(last)).await?;
    }
    Ok(seen)
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
