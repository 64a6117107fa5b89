//! Blobs, memberships and leases.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{BlobDeleted, BlobId, BlobLocation, BlobMount, BlobRecord, HeadLease, NewBlob};
use crate::metadata::rows::{BlobRow, LeasedBlobRow, expect_rows, json, parse, signed};
use crate::metadata::sql::blobs as sql;
use crate::metadata::sqlite::{collect, repositories};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::storage::Key;

pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Option<BlobRecord>> {
    let row: Option<BlobRow> =
        sqlx::query_as(sql::FIND).bind(repo.as_str()).bind(digest.to_string()).fetch_optional(conn).await?;
    row.map(BlobRecord::try_from).transpose()
}

/// A sound blob, and until when its lease must be written anew, if it must.
pub(super) async fn find_leased(
    conn: impl SqliteExecutor<'_>,
    repo: &RepoName,
    digest: &Digest,
    lease: HeadLease,
) -> Result<Option<(LeasedBlobRow, Option<Timestamp>)>> {
    let row: Option<LeasedBlobRow> =
        sqlx::query_as(sql::FIND_LEASE).bind(repo.as_str()).bind(digest.to_string()).fetch_optional(conn).await?;
    Ok(row.map(|row| {
        let renewal = renewal(row.lease_until.map(Timestamp::from_micros), row.referenced, lease);
        (row, renewal)
    }))
}

/// Until when a lease must be set: only when less than half of it is left.
fn renewal(current: Option<Timestamp>, referenced: bool, lease: HeadLease) -> Option<Timestamp> {
    let until = if referenced { lease.referenced_until } else { lease.unreferenced_until };
    let left = current.map_or(Duration::ZERO, |current| lease.now.until(current));
    (left < lease.now.until(until) / 2).then_some(until)
}

/// The writing half of a HEAD: everything is looked at again, because it may have changed since it was read.
pub(super) async fn lease(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    digest: &Digest,
    lease: HeadLease,
) -> Result<Option<BlobRecord>> {
    let Some((row, renewal)) = find_leased(&mut *tx, repo, digest, lease).await? else { return Ok(None) };
    if let Some(until) = renewal {
        let leased = sqlx::query(sql::LEASE).bind(row.repo_id).bind(row.blob.id).bind(until.as_micros());
        expect_rows("blobs::LEASE", 1, leased.execute(tx).await?.rows_affected())?;
    }
    BlobRecord::try_from(row.blob).map(Some)
}

pub(super) async fn mount(tx: &mut SqliteConnection, mount: &BlobMount) -> Result<Option<BlobRecord>> {
    let digest = mount.digest.to_string();
    let row: Option<BlobRow> = match &mount.from {
        Some(from) => sqlx::query_as(sql::FIND).bind(from.as_str()).bind(&digest).fetch_optional(&mut *tx).await?,
        None => sqlx::query_as(sql::FIND_ANYWHERE).bind(&digest).fetch_optional(&mut *tx).await?,
    };
    let Some(blob) = row.map(BlobRecord::try_from).transpose()?.filter(|blob| blob.damaged_at.is_none()) else {
        return Ok(None);
    };
    let repo_id = repositories::ensure(tx, &mount.to, mount.now).await?;
    join(tx, repo_id, blob.id.0, &mount.digest, mount.now, mount.lease_until).await?;
    Ok(Some(blob))
}

pub(super) async fn delete(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<BlobDeleted> {
    let found: Option<(i64, i64, Option<String>)> = sqlx::query_as(sql::FIND_REFERENCED)
        .bind(repo.as_str())
        .bind(digest.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let (repo_id, blob_id) = match found {
        None => return Ok(BlobDeleted::Unknown),
        Some((_, blob_id, Some(by))) => {
            return parse("manifests", "digest", format!("naming blob {blob_id}"), &by).map(BlobDeleted::Referenced);
        }
        Some((repo_id, blob_id, None)) => (repo_id, blob_id),
    };
    let left = sqlx::query(sql::LEAVE).bind(repo_id).bind(blob_id).execute(&mut *tx).await?;
    expect_rows("blobs::LEAVE", 1, left.rows_affected())?;
    orphan(tx, &json(&[blob_id]), now).await?;
    Ok(BlobDeleted::Deleted(BlobId(blob_id)))
}

/// Commits a blob to a repository: the row, the membership with its lease, and the edges that waited for it.
pub(super) async fn commit(tx: &mut SqliteConnection, repo_id: i64, blob: &NewBlob) -> Result<()> {
    let blob_id = store(tx, blob).await?;
    join(tx, repo_id, blob_id, &blob.digest, blob.now, blob.lease_until).await
}

/// The row of a digest: a new one, the sound one that is there, or the damaged one with our bytes.
async fn store(tx: &mut SqliteConnection, blob: &NewBlob) -> Result<i64> {
    let Some(stored) = by_digest(tx, &blob.digest).await? else {
        return insert(tx, &blob.digest, blob.size, &blob.location, blob.now, None).await;
    };
    let ours = object_key(&blob.location);
    if ours.is_some() && ours == stored.object_key.as_deref() {
        // The same commit again. If the object was found damaged since, these bytes are the damaged ones.
        return Ok(stored.id);
    }
    if stored.damaged_at.is_some() {
        replace(tx, &stored, blob.size, &blob.location, blob.now).await?;
    } else if let Some(ours) = ours {
        collect::doom(tx, ours, None, blob.size, blob.now).await?;
    }
    Ok(stored.id)
}

/// Where the bytes of a digest are now.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) id: i64,
    size: i64,
    pub(super) object_key: Option<String>,
    pub(super) damaged_at: Option<i64>,
    adopted: bool,
}

pub(super) async fn by_digest(tx: &mut SqliteConnection, digest: &Digest) -> Result<Option<Stored>> {
    Ok(sqlx::query_as(sql::BY_DIGEST).bind(digest.to_string()).fetch_optional(tx).await?)
}

/// A new row; `orphan_until` keeps it when it has no repository.
pub(super) async fn insert(
    tx: &mut SqliteConnection,
    digest: &Digest,
    size: u64,
    location: &BlobLocation,
    now: Timestamp,
    orphan_until: Option<Timestamp>,
) -> Result<i64> {
    let id = sqlx::query_scalar(sql::INSERT)
        .bind(digest.to_string())
        .bind(signed(size))
        .bind(object_key(location))
        .bind(inline(location))
        .bind(now.as_micros())
        .bind(orphan_until.map(|_| now.as_micros()))
        .bind(orphan_until.map(Timestamp::as_micros))
        .fetch_one(tx)
        .await?;
    Ok(id)
}

/// Other bytes for a row; what was there before goes.
pub(super) async fn replace(
    tx: &mut SqliteConnection,
    stored: &Stored,
    size: u64,
    location: &BlobLocation,
    now: Timestamp,
) -> Result<()> {
    let done = sqlx::query(sql::REPLACE)
        .bind(stored.id)
        .bind(signed(size))
        .bind(object_key(location))
        .bind(inline(location))
        .execute(&mut *tx)
        .await?;
    expect_rows("blobs::REPLACE", 1, done.rows_affected())?;
    match &stored.object_key {
        Some(old) if !stored.adopted => collect::doom(tx, old, None, stored.size.unsigned_abs(), now).await,
        _ => Ok(()),
    }
}

fn object_key(location: &BlobLocation) -> Option<&str> {
    match location {
        BlobLocation::Object(key) => Some(key.as_str()),
        BlobLocation::Inline(_) => None,
    }
}

fn inline(location: &BlobLocation) -> Option<&[u8]> {
    match location {
        BlobLocation::Object(_) => None,
        BlobLocation::Inline(bytes) => Some(bytes),
    }
}

/// Makes a blob a member with a lease, and fills the edges of the repository that waited for it.
async fn join(
    tx: &mut SqliteConnection,
    repo_id: i64,
    blob_id: i64,
    digest: &Digest,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<()> {
    let joined = sqlx::query(sql::JOIN).bind(repo_id).bind(blob_id).bind(lease_until.as_micros()).bind(now.as_micros());
    expect_rows("blobs::JOIN", 1, joined.execute(&mut *tx).await?.rows_affected())?;
    sqlx::query(sql::UNORPHAN).bind(blob_id).execute(&mut *tx).await?;
    let digest = digest.to_string();
    sqlx::query(sql::FILL_EDGES).bind(repo_id).bind(&digest).bind(blob_id).execute(&mut *tx).await?;
    sqlx::query(sql::DROP_WAITING_CHILDREN).bind(repo_id).bind(&digest).execute(tx).await?;
    Ok(())
}

/// Marks blobs (ids as JSON) as garbage where no repository has them.
pub(super) async fn orphan(tx: &mut SqliteConnection, ids: &str, now: Timestamp) -> Result<()> {
    sqlx::query(sql::ORPHAN).bind(ids).bind(now.as_micros()).execute(tx).await?;
    Ok(())
}

/// What follows when a manifest that named these blobs is gone.
pub(super) async fn release(
    tx: &mut SqliteConnection,
    repo_id: i64,
    blobs: &[i64],
    end_leases_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let ids = json(blobs);
    if let Some(before) = end_leases_before {
        sqlx::query(sql::END_LEASES).bind(repo_id).bind(&ids).bind(before.as_micros()).execute(&mut *tx).await?;
    }
    sqlx::query(sql::RELEASE).bind(repo_id).bind(&ids).bind(now.as_micros()).execute(tx).await?;
    Ok(())
}

/// What follows when a manifest names these blobs.
pub(super) async fn hold(tx: &mut SqliteConnection, repo_id: i64, blobs: &[i64]) -> Result<()> {
    sqlx::query(sql::HOLD).bind(repo_id).bind(json(blobs)).execute(tx).await?;
    Ok(())
}

pub(super) async fn damage(tx: &mut SqliteConnection, id: BlobId, key: &Key, now: Timestamp) -> Result<()> {
    sqlx::query(sql::DAMAGE).bind(id.0).bind(key.as_str()).bind(now.as_micros()).execute(tx).await?;
    Ok(())
}
