//! Blobs: pull whole or in ranges, look, delete (distribution-spec, end-2 and end-10).
//!
//! Invariant: HEAD never runs GET; it asks the registry another question, because whoever may push and is told that a
//! blob exists will not upload it.

use std::ops::Range;
use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
};

use super::conditions::{self, Ranged, Wanted};
use super::ranges::{self, BLOB_MEDIA_TYPE};
use super::reply::{Answer, CACHE_FOR_EVER, DOCKER_CONTENT_DIGEST, Reply, http_date};
use super::trust::Sought;
use super::{Exchange, trust};
use crate::access::Action;
use crate::metadata::model::BlobRecord;
use crate::oci::digest::Digest;
use crate::oci::etag::etag;
use crate::oci::name::RepoName;
use crate::oci::range::content_range;
use crate::registry::gate::Ruling;
use crate::registry::{OpenBlob, Purge};

/// `GET /v2/<name>/blobs/<digest>`.
pub(super) async fn get(exchange: &Exchange, repo: &RepoName, digest: &Digest) -> Answer {
    let guarded = exchange.registry.pull_blob(repo, digest).await?;
    let (blob, ruling) = exchange.admit(repo, Sought::Blob(digest), guarded).await?;
    given(exchange, repo, digest, blob, &ruling).await.map(|answer| trust::tell(answer, &ruling))
}

async fn given(exchange: &Exchange, repo: &RepoName, digest: &Digest, blob: OpenBlob, ruling: &Ruling) -> Answer {
    if let Some(answer) = conditions::judge(&exchange.headers, digest)? {
        return Ok(answer);
    }
    let content = Ranged {
        digest,
        size: blob.record.size,
        modified: blob.record.created_at,
        ranges_max: exchange.registry.limits().ranges_max,
    };
    let wanted = conditions::wanted_range(&exchange.headers, &content)?;
    if !matches!(wanted, Wanted::Many(_))
        && let Some(address) = exchange.registry.redirect_blob(&blob, ruling).await?
    {
        return Ok(elsewhere(digest, &address));
    }
    match wanted {
        Wanted::All => whole(exchange, repo, &blob).await,
        Wanted::One(range) => one_range(exchange, repo, &blob, range).await,
        Wanted::Many(ranges) => many_ranges(exchange, repo, blob, &ranges).await,
    }
}

/// `HEAD /v2/<name>/blobs/<digest>`. A `Range` is not looked at (RFC 9110, section 14.2: only GET has one).
///
/// Whoever may push asks this of every blob before he sends it, so nothing is judged for him and no verdict told; where a
/// policy guards blobs, nobody may keep the answer all the same.
pub(super) async fn head(exchange: &Exchange, repo: &RepoName, digest: &Digest) -> Answer {
    // Whoever may push comes to rely on the answer.
    if exchange.may(Action::Push, repo).await? {
        // That it is there is told to them whatever a policy says: they would send it again.
        let record = exchange.registry.stat_blob(repo, digest, true).await?;
        let answer = looked_at(exchange, &record)?;
        return Ok(if exchange.registry.guards_blobs(repo) { trust::kept_by_nobody(answer) } else { answer });
    }
    let guarded = exchange.registry.pull_blob(repo, digest).await?;
    let (blob, ruling) = exchange.admit(repo, Sought::Blob(digest), guarded).await?;
    looked_at(exchange, &blob.record).map(|answer| trust::tell(answer, &ruling))
}

fn looked_at(exchange: &Exchange, record: &BlobRecord) -> Answer {
    if let Some(answer) = conditions::judge(&exchange.headers, &record.digest)? {
        return Ok(answer);
    }
    let reply = described(StatusCode::OK, record).header(CONTENT_TYPE, BLOB_MEDIA_TYPE);
    Ok(reply.header(CONTENT_LENGTH, record.size).finish())
}

/// `DELETE /v2/<name>/blobs/<digest>`.
pub(super) async fn delete(exchange: &Exchange, repo: &RepoName, digest: &Digest, purge: Purge) -> Answer {
    exchange.registry.delete_blob(repo, digest, purge, &exchange.actor()).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED).finish())
}

/// Sends the client to the store, with its method and its `Range` (RFC 9110, section 15.4.8). The address ends soon, so
/// nobody may keep it.
fn elsewhere(digest: &Digest, address: &str) -> Response {
    Reply::empty(StatusCode::TEMPORARY_REDIRECT)
        .header(LOCATION, address)
        .header(DOCKER_CONTENT_DIGEST, digest)
        .header(CACHE_CONTROL, "no-store")
        .finish()
}

async fn whole(exchange: &Exchange, repo: &RepoName, blob: &OpenBlob) -> Answer {
    let size = blob.record.size;
    let read = exchange.registry.read_blob(repo, blob, None).await?;
    let reply = described(StatusCode::OK, &blob.record).header(CONTENT_TYPE, BLOB_MEDIA_TYPE);
    Ok(reply.header(CONTENT_LENGTH, size).body(ranges::read_body(read, size, exchange.files.as_ref())))
}

async fn one_range(exchange: &Exchange, repo: &RepoName, blob: &OpenBlob, range: Range<u64>) -> Answer {
    let length = range.end - range.start;
    let read = exchange.registry.read_blob(repo, blob, Some(range.clone())).await?;
    let reply = described(StatusCode::PARTIAL_CONTENT, &blob.record)
        .header(CONTENT_TYPE, BLOB_MEDIA_TYPE)
        .header(CONTENT_RANGE, content_range(&range, blob.record.size))
        .header(CONTENT_LENGTH, length);
    Ok(reply.body(ranges::read_body(read, length, exchange.files.as_ref())))
}

async fn many_ranges(exchange: &Exchange, repo: &RepoName, blob: OpenBlob, wanted: &[Range<u64>]) -> Answer {
    let reply = described(StatusCode::PARTIAL_CONTENT, &blob.record);
    let parts = ranges::multipart_body(Arc::clone(&exchange.registry), repo, blob, wanted).await?;
    let reply = reply.header(CONTENT_TYPE, parts.content_type).header(CONTENT_LENGTH, parts.length);
    Ok(reply.body(parts.body))
}

/// What every successful answer about a blob says.
fn described(status: StatusCode, record: &BlobRecord) -> Reply {
    Reply::new(status)
        .header(DOCKER_CONTENT_DIGEST, &record.digest)
        .header(ETAG, etag(&record.digest))
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, CACHE_FOR_EVER)
        .maybe(LAST_MODIFIED, http_date(record.created_at))
}
