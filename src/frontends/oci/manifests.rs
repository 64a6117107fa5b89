//! Manifests: pull, look, push, delete (distribution-spec, end-3, end-7, end-9).
//!
//! Invariants: what is stored is served, byte for byte and under the type it was pushed with, whatever `Accept` says;
//! HEAD asks the registry for the manifest but never sends it.

use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
};

use super::conditions::{self, Ranged, Wanted};
use super::reply::{Answer, CACHE_FOR_EVER, DOCKER_CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, Reply, http_date};
use super::trust::Sought;
use super::{Exchange, trust};
use crate::access::Action;
use crate::oci::etag::etag;
use crate::oci::name::{RepoName, Tag};
use crate::oci::range::content_range;
use crate::oci::reference::Reference;
use crate::oci::route::location_manifest;
use crate::registry::{Purge, PutManifest, RegistryError, StoredManifest};

/// `GET /v2/<name>/manifests/<tag or digest>`.
pub(super) async fn get(exchange: &Exchange, repo: &RepoName, reference: &Reference) -> Answer {
    let guarded = exchange.registry.pull_manifest(repo, reference).await?;
    let (manifest, ruling) = exchange.admit(repo, Sought::Manifest, guarded).await?;
    given(exchange, repo, reference, manifest).map(|answer| trust::tell(answer, &ruling))
}

fn given(exchange: &Exchange, repo: &RepoName, reference: &Reference, manifest: StoredManifest) -> Answer {
    if let Some(answer) = conditions::judge(&exchange.headers, &manifest.digest)? {
        return Ok(answer);
    }
    let size = manifest.payload.len() as u64;
    let content = Ranged {
        digest: &manifest.digest,
        size,
        modified: manifest.created_at,
        ranges_max: exchange.registry.limits().ranges_max,
    };
    match conditions::wanted_range(&exchange.headers, &content)? {
        Wanted::One(range) => {
            if range.start == 0 {
                // Some clients ask for all of a manifest by a range. Who asks for its rest had the beginning before.
                exchange.registry.note_download(repo, &manifest.digest, || exchange.actor());
            }
            let reply = described(StatusCode::PARTIAL_CONTENT, reference, &manifest);
            let reply = reply.header(CONTENT_RANGE, content_range(&range, size));
            Ok(reply.bytes(&manifest.media_type, slice(&manifest.payload, &range)))
        }
        // A manifest is small: several ranges of one get the whole (RFC 9110, section 14.2, lets a server do so).
        Wanted::All | Wanted::Many(_) => {
            exchange.registry.note_download(repo, &manifest.digest, || exchange.actor());
            let reply = described(StatusCode::OK, reference, &manifest);
            Ok(reply.bytes(&manifest.media_type, manifest.payload))
        }
    }
}

/// `HEAD /v2/<name>/manifests/<tag or digest>`.
pub(super) async fn head(exchange: &Exchange, repo: &RepoName, reference: &Reference) -> Answer {
    let guarded = match exchange.registry.pull_manifest(repo, reference).await {
        // Whoever may push, and is told that it is not there, pushes it, which heals it.
        Err(RegistryError::ManifestDamaged(reference)) if exchange.may(Action::Push, repo).await? => {
            return Err(RegistryError::ManifestUnknown(reference).into());
        }
        found => found?,
    };
    let (manifest, ruling) = exchange.admit(repo, Sought::Manifest, guarded).await?;
    if let Some(answer) = conditions::judge(&exchange.headers, &manifest.digest)? {
        return Ok(trust::tell(answer, &ruling));
    }
    let reply = described(StatusCode::OK, reference, &manifest).header(CONTENT_TYPE, &manifest.media_type);
    Ok(trust::tell(reply.header(CONTENT_LENGTH, manifest.payload.len()).finish(), &ruling))
}

/// `PUT /v2/<name>/manifests/<tag or digest>`; `tags` are the `tag` parameters.
pub(super) async fn put(exchange: &Exchange, repo: &RepoName, reference: Reference, tags: Vec<Tag>) -> Answer {
    let content_type = conditions::media_type(&exchange.headers)?;
    let precondition = conditions::precondition(&exchange.headers)?;
    let payload = exchange.inbound.read_manifest(exchange.registry.limits().manifest_bytes_max).await?;
    let (room, bytes) = (exchange.room_for_manifest(repo, &reference, &payload).await?, payload.len() as u64);
    let named = match &reference {
        Reference::Tag(tag) => vec![tag.clone()],
        Reference::Digest(_) => tags.clone(),
    };
    let put = PutManifest { reference, tags, content_type, payload, precondition };
    let receipt = exchange.registry.put_manifest(repo, put, &exchange.actor()).await;
    let receipt = receipt.map_err(|error| exchange.explained(repo, Sought::Tags(&named), error))?;
    if let Some(room) = room {
        room.fill(bytes);
    }

    let mut reply = Reply::empty(StatusCode::CREATED)
        .header(LOCATION, location_manifest(repo, &Reference::Digest(receipt.digest.clone())))
        .header(DOCKER_CONTENT_DIGEST, &receipt.digest)
        .header(ETAG, etag(&receipt.digest))
        .maybe(OCI_SUBJECT, receipt.subject.as_ref());
    for tag in &receipt.tags {
        reply = reply.header(OCI_TAG, tag);
    }
    Ok(trust::tell(reply.finish(), &receipt.ruling))
}

/// `DELETE /v2/<name>/manifests/<tag or digest>`.
pub(super) async fn delete(exchange: &Exchange, repo: &RepoName, reference: &Reference, purge: Purge) -> Answer {
    exchange.registry.delete_manifest(repo, reference, purge, &exchange.actor()).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED).finish())
}

/// What every successful answer about a manifest says.
fn described(status: StatusCode, asked: &Reference, manifest: &StoredManifest) -> Reply {
    // A tag can point elsewhere in a moment; what a digest names cannot change.
    let caching = match asked {
        Reference::Tag(_) => "no-cache",
        Reference::Digest(_) => CACHE_FOR_EVER,
    };
    Reply::new(status)
        .header(DOCKER_CONTENT_DIGEST, &manifest.digest)
        .header(ETAG, etag(&manifest.digest))
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, caching)
        .maybe(LAST_MODIFIED, http_date(manifest.created_at))
}

fn slice(payload: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(payload.len());
    payload.slice(at(range.start)..at(range.end))
}
