//! Questions of `fsck`, of readiness and of `/metrics`.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, blobs, collect, values};
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord, Finding, StoreCounts};
use crate::metadata::rows::{BlobRow, parse_key, records, texts, unsigned};
use crate::metadata::sql::blobs::KEEP_ORPHAN;
use crate::metadata::sql::checks as sql;
use crate::oci::digest::Digest;
use crate::storage::Key;

pub(super) async fn scan<C: Conn>(conn: &mut C, after: BlobId, limit: u32) -> Result<Vec<BlobRecord>> {
    let rows: Vec<BlobRow> = conn.all(&sql::SCAN_BLOBS, values![after.0, limit]).await?;
    records(rows)
}

pub(super) async fn blob_keys<C: Conn>(conn: &mut C, ids: &[BlobId]) -> Result<Vec<Key>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let keys: Vec<String> = conn.column(&sql::BLOB_KEYS, values![ids.as_slice()]).await?;
    keys.iter().map(|key| parse_key("blobs", key, key)).collect()
}

pub(super) async fn known<C: Conn>(conn: &mut C, keys: &[Key]) -> Result<Vec<bool>> {
    let known: Vec<String> = conn.column(&sql::KNOWN_KEYS, values![texts(keys).as_slice()]).await?;
    let known: HashSet<String> = known.into_iter().collect();
    Ok(keys.iter().map(|key| known.contains(key.as_str())).collect())
}

pub(super) async fn references<C: Conn>(conn: &mut C) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let rows: Vec<(i64, String)> = conn.all(&sql::LOST_BLOBS, &[]).await?;
    findings.extend(rows.into_iter().map(|(id, digest)| Finding {
        invariant: "I3",
        text: format!("manifest {id} names blob {digest}, which its repository does not have"),
    }));
    let rows: Vec<(i64, String)> = conn.all(&sql::LOST_CHILDREN, &[]).await?;
    findings.extend(rows.into_iter().map(|(id, digest)| Finding {
        invariant: "I3",
        text: format!("manifest {id} lists manifest {digest}, which its repository does not have"),
    }));
    let rows: Vec<(i64, String)> = conn.all(&sql::LOST_TAGS, &[]).await?;
    findings.extend(rows.into_iter().map(|(repo, tag)| Finding {
        invariant: "I4",
        text: format!("tag {tag} of repository {repo} points to no manifest"),
    }));
    let rows: Vec<(String, String)> = conn.all(&sql::FOREIGN_KEYS, &[]).await?;
    findings.extend(rows.into_iter().map(|(table, parent)| Finding {
        invariant: if table == "tags" { "I4" } else { "I3" },
        text: format!("a row of {table} refers to no row of {parent}"),
    }));
    Ok(findings)
}

/// Takes an object that was found in the store for the bytes of a digest.
pub(super) async fn restore<C: Conn>(
    tx: &mut C,
    digest: &Digest,
    size: u64,
    key: &Key,
    now: Timestamp,
    keep_until: Timestamp,
) -> Result<()> {
    let location = BlobLocation::Object(key.clone());
    let (_, found) = blobs::ensure(tx, digest, size, &location, now, Some(keep_until)).await?;
    let Some(found) = found else { return collect::undoom(tx, key).await };
    let stored = blobs::again(tx, digest, found).await?;
    if stored.object_key.is_none() && stored.damaged_at.is_none() {
        // The row has the bytes itself: the object is of no use.
        return collect::doom(tx, key.as_str(), None, size, now).await;
    }
    if stored.object_key.as_deref() != Some(key.as_str()) || stored.damaged_at.is_some() {
        blobs::replace(tx, &stored, (digest, size, &location), now, now).await?;
    }
    collect::undoom(tx, key).await?;
    tx.run(&KEEP_ORPHAN, values![stored.id, now, keep_until]).await?;
    Ok(())
}

pub(super) async fn counts<C: Conn>(conn: &mut C) -> Result<StoreCounts> {
    let (deletions, bytes): (i64, i64) = conn.one(&sql::COUNT_DELETIONS, &[]).await?;
    let (garbage, garbage_bytes): (i64, i64) = conn.one(&sql::COUNT_GARBAGE, &[]).await?;
    let (blobs, manifests): (i64, i64) = conn.one(&sql::COUNT_DAMAGED, &[]).await?;
    Ok(StoreCounts {
        deletions: unsigned("object_deletions", "count", "all", deletions)?,
        deletion_bytes: unsigned("object_deletions", "size", "all", bytes)?,
        uploads: uploads(conn).await?,
        garbage: unsigned("blobs", "count", "all", garbage)?,
        garbage_bytes: unsigned("blobs", "size", "all", garbage_bytes)?,
        damaged_blobs: unsigned("blobs", "count", "all", blobs)?,
        damaged_manifests: unsigned("manifests", "count", "all", manifests)?,
    })
}

pub(super) async fn uploads<C: Conn>(conn: &mut C) -> Result<u64> {
    let uploads: i64 = conn.scalar(&sql::COUNT_UPLOADS, &[]).await?;
    unsigned("uploads", "count", "all", uploads)
}

pub(super) async fn ping<C: Conn>(conn: &mut C) -> Result<()> {
    let _: i64 = conn.scalar(&sql::PING, &[]).await?;
    Ok(())
}
