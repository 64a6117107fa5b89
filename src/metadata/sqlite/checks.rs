//! Questions of `fsck`, of readiness and of `/metrics`.

use std::collections::HashSet;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord, Finding, StoreCounts};
use crate::metadata::rows::{BlobRow, json, json_texts, parse_key, records, unsigned};
use crate::metadata::sql::blobs::KEEP_ORPHAN;
use crate::metadata::sql::checks as sql;
use crate::metadata::sqlite::{blobs, collect};
use crate::oci::digest::Digest;
use crate::storage::Key;

pub(super) async fn scan(conn: impl SqliteExecutor<'_>, after: BlobId, limit: u32) -> Result<Vec<BlobRecord>> {
    let rows: Vec<BlobRow> = sqlx::query_as(sql::SCAN_BLOBS).bind(after.0).bind(limit).fetch_all(conn).await?;
    records(rows)
}

pub(super) async fn blob_keys(conn: impl SqliteExecutor<'_>, ids: &[BlobId]) -> Result<Vec<Key>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let keys: Vec<String> = sqlx::query_scalar(sql::BLOB_KEYS).bind(json(&ids)).fetch_all(conn).await?;
    keys.iter().map(|key| parse_key("blobs", key, key)).collect()
}

pub(super) async fn known(conn: impl SqliteExecutor<'_>, keys: &[Key]) -> Result<Vec<bool>> {
    let known: Vec<String> = sqlx::query_scalar(sql::KNOWN_KEYS).bind(json_texts(keys)).fetch_all(conn).await?;
    let known: HashSet<String> = known.into_iter().collect();
    Ok(keys.iter().map(|key| known.contains(key.as_str())).collect())
}

pub(super) async fn references(pool: &SqlitePool) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let rows: Vec<(i64, String)> = sqlx::query_as(sql::LOST_BLOBS).fetch_all(pool).await?;
    findings.extend(rows.into_iter().map(|(id, digest)| Finding {
        invariant: "I3",
        text: format!("manifest {id} names blob {digest}, which its repository does not have"),
    }));
    let rows: Vec<(i64, String)> = sqlx::query_as(sql::LOST_CHILDREN).fetch_all(pool).await?;
    findings.extend(rows.into_iter().map(|(id, digest)| Finding {
        invariant: "I3",
        text: format!("manifest {id} lists manifest {digest}, which its repository does not have"),
    }));
    let rows: Vec<(i64, String)> = sqlx::query_as(sql::LOST_TAGS).fetch_all(pool).await?;
    findings.extend(rows.into_iter().map(|(repo, tag)| Finding {
        invariant: "I4",
        text: format!("tag {tag} of repository {repo} points to no manifest"),
    }));
    let rows: Vec<(String, String)> = sqlx::query_as(sql::FOREIGN_KEYS).fetch_all(pool).await?;
    findings.extend(rows.into_iter().map(|(table, parent)| Finding {
        invariant: if table == "tags" { "I4" } else { "I3" },
        text: format!("a row of {table} refers to no row of {parent}"),
    }));
    Ok(findings)
}

/// Takes an object that was found in the store for the bytes of a digest.
pub(super) async fn restore(
    tx: &mut SqliteConnection,
    digest: &Digest,
    size: u64,
    key: &Key,
    now: Timestamp,
    keep_until: Timestamp,
) -> Result<()> {
    let location = BlobLocation::Object(key.clone());
    let Some(stored) = blobs::by_digest(tx, digest).await? else {
        collect::undoom(tx, key).await?;
        blobs::insert(tx, digest, size, &location, now, Some(keep_until)).await?;
        return Ok(());
    };
    if stored.object_key.is_none() && stored.damaged_at.is_none() {
        // The row has the bytes itself: the object is of no use.
        return collect::doom(tx, key.as_str(), None, size, now).await;
    }
    if stored.object_key.as_deref() != Some(key.as_str()) || stored.damaged_at.is_some() {
        blobs::replace(tx, &stored, size, &location, now).await?;
    }
    collect::undoom(tx, key).await?;
    sqlx::query(KEEP_ORPHAN).bind(stored.id).bind(now.as_micros()).bind(keep_until.as_micros()).execute(tx).await?;
    Ok(())
}

pub(super) async fn counts(pool: &SqlitePool) -> Result<StoreCounts> {
    let (deletions, bytes): (i64, i64) = sqlx::query_as(sql::COUNT_DELETIONS).fetch_one(pool).await?;
    let uploads: i64 = sqlx::query_scalar(sql::COUNT_UPLOADS).fetch_one(pool).await?;
    Ok(StoreCounts {
        deletions: unsigned("object_deletions", "count", "all", deletions)?,
        deletion_bytes: unsigned("object_deletions", "size", "all", bytes)?,
        uploads: unsigned("uploads", "count", "all", uploads)?,
    })
}

pub(super) async fn ping(conn: impl SqliteExecutor<'_>) -> Result<()> {
    let _: i64 = sqlx::query_scalar(sql::PING).fetch_one(conn).await?;
    Ok(())
}
