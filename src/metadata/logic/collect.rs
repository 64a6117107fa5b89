//! Collection: manifests, then memberships, then blobs, then objects.
//!
//! Every pass is one transaction, so any number of collectors, in any number of processes, may run at once: what one
//! has picked, another passes over.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{self, Happened};
use crate::metadata::logic::{Conn, Value, blobs, manifests, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobId, Collected, Deletion, PurgeHold};
use crate::metadata::rows::{DeletionRow, records, signed, texts, unsigned};
use crate::metadata::sql::collect as sql;
use crate::storage::Key;

/// For how long a claimed object is not handed out again: longer than a batch of removals takes.
const CLAIM: Duration = Duration::from_mins(1);

record! {
    /// A manifest past its time.
    struct Picked {
        id: i64,
        repo_id: i64,
        digest: String,
        path: String,
        bytes: i64,
        free: bool,
    }
}

pub(super) async fn manifests<C: Conn>(tx: &mut C, now: Timestamp, limit: u32) -> Result<Collected> {
    let repositories: Vec<i64> = tx.column(&sql::DUE_REPOSITORIES, values![now, limit]).await?;
    if repositories.is_empty() {
        return Ok(Collected::default());
    }
    let picked: Vec<Picked> = tx.all(&sql::PICK_MANIFESTS, values![now, limit, repositories.as_slice()]).await?;
    let mut collected = Collected { seen: picked.len() as u64, ..Collected::default() };
    let mut events = Vec::new();
    for manifest in picked {
        if !manifest.free {
            tx.run(&sql::KEEP_MANIFEST, values![manifest.id]).await?;
            continue;
        }
        // What refers to it has waited as long as it has, so it may go in the next pass.
        let named = manifests::remove(tx, manifest.repo_id, manifest.id, &manifest.digest, now, now).await?;
        blobs::release(tx, manifest.repo_id, &named, None, now).await?;
        collected.rows += 1;
        collected.bytes += unsigned("manifests", "payload", manifest.id, manifest.bytes)?;
        events.push(Happened::manifest_deleted(&manifest.path, &manifest.digest, &[]));
    }
    audit::write_all(tx, &Actor::job("collection"), now, &events).await?;
    Ok(collected)
}

pub(super) async fn memberships<C: Conn>(tx: &mut C, now: Timestamp, limit: u32) -> Result<Collected> {
    let picked: Vec<(i64, i64)> = tx.all(&sql::PICK_MEMBERSHIPS, values![now, limit]).await?;
    if picked.is_empty() {
        return Ok(Collected::default());
    }
    let gone: Vec<i64> = tx.column(&sql::DELETE_MEMBERSHIPS, &[Value::rows(&picked), now.into()]).await?;
    tx.run(&sql::KEEP_MEMBERSHIPS, &[Value::rows(&picked), now.into()]).await?;
    blobs::orphan(tx, &gone, now).await?;
    Ok(Collected { rows: gone.len() as u64, bytes: 0, seen: picked.len() as u64 })
}

pub(super) async fn blobs<C: Conn>(
    tx: &mut C,
    now: Timestamp,
    doomed_until: Timestamp,
    limit: u32,
) -> Result<Collected> {
    let picked: Vec<i64> = tx.column(&sql::PICK_BLOBS, values![now, limit]).await?;
    if picked.is_empty() {
        return Ok(Collected::default());
    }
    let gone: Vec<(Option<String>, i64, bool)> = tx.all(&sql::DELETE_BLOBS, values![picked.as_slice()]).await?;
    // The objects of an adopted store are not ours to remove.
    let objects: Vec<(&str, i64)> = gone
        .iter()
        .filter(|(_, _, adopted)| !adopted)
        .filter_map(|(key, size, _)| key.as_deref().map(|key| (key, *size)))
        .collect();
    tx.run(&sql::DOOM_ALL, &[Value::rows(&objects), doomed_until.into()]).await?;
    tx.run(&sql::KEEP_BLOBS, values![picked.as_slice()]).await?;
    let bytes = gone.iter().map(|(_, size, _)| size.unsigned_abs()).sum();
    Ok(Collected { rows: gone.len() as u64, bytes, seen: picked.len() as u64 })
}

/// Lists an object for removal; a `driver_state` marks an unfinished upload.
pub(super) async fn doom<C: Conn>(
    tx: &mut C,
    key: &str,
    driver_state: Option<&[u8]>,
    size: u64,
    not_before: Timestamp,
) -> Result<()> {
    tx.run(&sql::DOOM, values![key, driver_state, signed(size), not_before]).await?;
    Ok(())
}

/// Takes an object off the list because it is wanted again.
pub(super) async fn undoom<C: Conn>(tx: &mut C, key: &Key) -> Result<()> {
    tx.run(&sql::UNDOOM, values![key.as_str()]).await?;
    Ok(())
}

pub(super) async fn claim<C: Conn>(tx: &mut C, now: Timestamp, limit: u32) -> Result<Vec<Deletion>> {
    let rows: Vec<DeletionRow> = tx.all(&sql::CLAIM, values![now, now.after(CLAIM), limit]).await?;
    records(rows)
}

pub(super) async fn hold<C: Conn>(tx: &mut C, name: &str, until: Timestamp) -> Result<()> {
    tx.run(&sql::HOLD, values![name, until]).await?;
    Ok(())
}

pub(super) async fn release<C: Conn>(tx: &mut C, name: &str) -> Result<()> {
    tx.run(&sql::RELEASE, values![name]).await?;
    Ok(())
}

pub(super) async fn holds<C: Conn>(conn: &mut C, now: Timestamp) -> Result<Vec<PurgeHold>> {
    let holds: Vec<(String, i64)> = conn.all(&sql::HOLDS, values![now]).await?;
    Ok(holds.into_iter().map(|(name, until)| PurgeHold { name, until: Timestamp::from_micros(until) }).collect())
}

pub(super) async fn done<C: Conn>(tx: &mut C, keys: &[Key]) -> Result<()> {
    tx.run(&sql::DONE, values![texts(keys).as_slice()]).await?;
    Ok(())
}

pub(super) async fn retry<C: Conn>(tx: &mut C, key: &Key, not_before: Timestamp) -> Result<()> {
    // No row is fine: another purger had more luck.
    tx.run(&sql::RETRY, values![key.as_str(), not_before]).await?;
    Ok(())
}

pub(super) async fn pending<C: Conn>(conn: &mut C, ids: &[BlobId], keys: &[Key], now: Timestamp) -> Result<bool> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    if conn.scalar::<bool>(&sql::GARBAGE_BLOBS, values![ids.as_slice(), now]).await? {
        return Ok(true);
    }
    conn.scalar(&sql::GARBAGE_KEYS, values![texts(keys).as_slice()]).await
}
