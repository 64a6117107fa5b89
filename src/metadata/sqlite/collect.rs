//! Collection: manifests, then memberships, then blobs, then objects.
//!
//! Every pass is one transaction, so any number of collectors, in any number of processes, may run at once.

use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{BlobId, Collected, Deletion};
use crate::metadata::rows::{DeletionRow, json, json_texts, records, signed, unsigned};
use crate::metadata::sql::collect as sql;
use crate::metadata::sqlite::{blobs, manifests};
use crate::storage::Key;

/// For how long a claimed object is not handed out again: longer than a batch of removals takes.
const CLAIM: Duration = Duration::from_mins(1);

/// A manifest past its time.
#[derive(Debug, sqlx::FromRow)]
struct Picked {
    id: i64,
    repo_id: i64,
    digest: String,
    bytes: i64,
    free: bool,
}

pub(super) async fn manifests(tx: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Collected> {
    let picked: Vec<Picked> =
        sqlx::query_as(sql::PICK_MANIFESTS).bind(now.as_micros()).bind(limit).fetch_all(&mut *tx).await?;
    let mut collected = Collected { seen: picked.len() as u64, ..Collected::default() };
    for manifest in picked {
        if !manifest.free {
            sqlx::query(sql::KEEP_MANIFEST).bind(manifest.id).execute(&mut *tx).await?;
            continue;
        }
        let named = manifests::named_blobs(tx, manifest.id).await?;
        // What refers to it has waited as long as it has, so it may go in the next pass.
        manifests::remove(tx, manifest.repo_id, manifest.id, &manifest.digest, now).await?;
        blobs::release(tx, manifest.repo_id, &named, None, now).await?;
        collected.rows += 1;
        collected.bytes += unsigned("manifests", "payload", manifest.id, manifest.bytes)?;
    }
    Ok(collected)
}

pub(super) async fn memberships(tx: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Collected> {
    let now_micros = now.as_micros();
    let picked: Vec<(i64, i64)> =
        sqlx::query_as(sql::PICK_MEMBERSHIPS).bind(now_micros).bind(limit).fetch_all(&mut *tx).await?;
    let list = json(&picked);
    let gone: Vec<i64> =
        sqlx::query_scalar(sql::DELETE_MEMBERSHIPS).bind(&list).bind(now_micros).fetch_all(&mut *tx).await?;
    sqlx::query(sql::KEEP_MEMBERSHIPS).bind(&list).bind(now_micros).execute(&mut *tx).await?;
    blobs::orphan(tx, &json(&gone), now).await?;
    Ok(Collected { rows: gone.len() as u64, bytes: 0, seen: picked.len() as u64 })
}

pub(super) async fn blobs(tx: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Collected> {
    let now = now.as_micros();
    let picked: Vec<i64> = sqlx::query_scalar(sql::PICK_BLOBS).bind(now).bind(limit).fetch_all(&mut *tx).await?;
    let list = json(&picked);
    sqlx::query(sql::DOOM_BLOBS).bind(&list).bind(now).execute(&mut *tx).await?;
    let gone: Vec<i64> = sqlx::query_scalar(sql::DELETE_BLOBS).bind(&list).fetch_all(&mut *tx).await?;
    sqlx::query(sql::KEEP_BLOBS).bind(&list).execute(tx).await?;
    let bytes = gone.iter().map(|size| size.unsigned_abs()).sum();
    Ok(Collected { rows: gone.len() as u64, bytes, seen: picked.len() as u64 })
}

/// Lists an object for removal; a `driver_state` marks an unfinished upload.
pub(super) async fn doom(
    tx: &mut SqliteConnection,
    key: &str,
    driver_state: Option<&[u8]>,
    size: u64,
    not_before: Timestamp,
) -> Result<()> {
    sqlx::query(sql::DOOM)
        .bind(key)
        .bind(driver_state)
        .bind(signed(size))
        .bind(not_before.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes an object off the list because it is wanted again.
pub(super) async fn undoom(tx: &mut SqliteConnection, key: &Key) -> Result<()> {
    sqlx::query(sql::UNDOOM).bind(key.as_str()).execute(tx).await?;
    Ok(())
}

pub(super) async fn claim(tx: &mut SqliteConnection, now: Timestamp, limit: u32) -> Result<Vec<Deletion>> {
    let rows: Vec<DeletionRow> = sqlx::query_as(sql::CLAIM)
        .bind(now.as_micros())
        .bind(now.after(CLAIM).as_micros())
        .bind(limit)
        .fetch_all(tx)
        .await?;
    records(rows)
}

pub(super) async fn done(tx: &mut SqliteConnection, keys: &[Key]) -> Result<()> {
    sqlx::query(sql::DONE).bind(json_texts(keys)).execute(tx).await?;
    Ok(())
}

pub(super) async fn retry(tx: &mut SqliteConnection, key: &Key, not_before: Timestamp) -> Result<()> {
    // No row is fine: another purger had more luck.
    sqlx::query(sql::RETRY).bind(key.as_str()).bind(not_before.as_micros()).execute(tx).await?;
    Ok(())
}

pub(super) async fn pending(pool: &SqlitePool, ids: &[BlobId], keys: &[Key], now: Timestamp) -> Result<bool> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let blobs: bool =
        sqlx::query_scalar(sql::GARBAGE_BLOBS).bind(json(&ids)).bind(now.as_micros()).fetch_one(pool).await?;
    if blobs {
        return Ok(true);
    }
    Ok(sqlx::query_scalar(sql::GARBAGE_KEYS).bind(json_texts(keys)).fetch_one(pool).await?)
}
