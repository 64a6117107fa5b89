//! Blobs, memberships and leases.

use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::repositories::Turns;
use crate::metadata::logic::{Conn, Value, collect, record, repositories, scrub, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobAdopt, BlobDeleted, BlobId, BlobLocation, BlobMount, BlobRecord, HeadLease, NewBlob};
use crate::metadata::rows::{BlobRow, LeasedBlobRow, expect_rows, parse, signed};
use crate::metadata::sql::blobs as sql;
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::storage::Key;

pub(super) async fn find<C: Conn>(conn: &mut C, repo: &RepoName, digest: &Digest) -> Result<Option<BlobRecord>> {
    let row: Option<BlobRow> = conn.first(&sql::FIND, &[repo.as_str().into(), Value::shown(digest)]).await?;
    row.map(BlobRecord::try_from).transpose()
}

/// A sound blob, and until when its lease must be written anew, if it must.
pub(super) async fn find_leased<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    digest: &Digest,
    lease: HeadLease,
) -> Result<Option<(LeasedBlobRow, Option<Timestamp>)>> {
    let row: Option<LeasedBlobRow> =
        conn.first(&sql::FIND_LEASE, &[repo.as_str().into(), Value::shown(digest)]).await?;
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
pub(super) async fn lease<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    digest: &Digest,
    lease: HeadLease,
) -> Result<Option<BlobRecord>> {
    // The collector has ended the membership by the time that this is given, or leaves it alone from here on.
    let member: Option<(i64, i64)> =
        tx.first(&sql::FIND_TO_LEASE, &[repo.as_str().into(), Value::shown(digest)]).await?;
    if member.is_none() {
        return Ok(None);
    }
    let Some((row, renewal)) = find_leased(tx, repo, digest, lease).await? else { return Ok(None) };
    if let Some(until) = renewal {
        let leased = tx.run(&sql::LEASE, values![row.repo_id, row.blob.id, until]).await?;
        expect_rows(&sql::LEASE, 1, leased)?;
    }
    BlobRecord::try_from(row.blob).map(Some)
}

pub(super) async fn mount<C: Conn>(tx: &mut C, mount: &BlobMount) -> Result<Option<BlobRecord>> {
    let Some(blob) = source(tx, mount).await? else { return Ok(None) };
    let repo_id = repositories::ensure(tx, &mount.to, mount.now).await?;
    join(tx, repo_id, blob.id.0, &mount.digest, mount.now, mount.lease_until).await?;
    unorphan(tx, blob.id.0).await?;
    Ok(Some(blob))
}

/// The blob that a mount speaks of; it stays until the transaction ends.
async fn source<C: Conn>(tx: &mut C, mount: &BlobMount) -> Result<Option<BlobRecord>> {
    let digest = Value::shown(&mount.digest);
    let row: Option<BlobRow> = match &mount.from {
        Some(from) => tx.first(&sql::FIND_TO_MOUNT, &[from.as_str().into(), digest]).await?,
        None => tx.first(&sql::FIND_ANYWHERE, &[digest]).await?,
    };
    row.map(BlobRecord::try_from).transpose()
}

pub(super) async fn delete<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    digest: &Digest,
    now: Timestamp,
    by: &Actor,
) -> Result<BlobDeleted> {
    // A manifest that names the blob has been stored by the time that this is given, or finds the blob gone.
    let member: Option<(i64, i64)> =
        tx.first(&sql::FIND_TO_LEAVE, &[repo.as_str().into(), Value::shown(digest)]).await?;
    let Some((repo_id, blob_id)) = member else { return Ok(BlobDeleted::Unknown) };
    let named_by: Option<(String,)> = tx.first(&sql::NAMED_BY, values![repo_id, blob_id]).await?;
    if let Some((by,)) = named_by {
        return parse("manifests", "digest", format!("naming blob {blob_id}"), &by).map(BlobDeleted::Referenced);
    }
    let left = tx.run(&sql::LEAVE, values![repo_id, blob_id]).await?;
    expect_rows(&sql::LEAVE, 1, left)?;
    orphan(tx, &[blob_id], now).await?;
    let subject = format!("{repo}@{digest}");
    write_down(tx, by, Event { kind: "blob.delete", subject: &subject, detail: json!({}), now }).await?;
    Ok(BlobDeleted::Deleted(BlobId(blob_id)))
}

/// Commits a blob that had no session.
pub(super) async fn put<C: Conn>(tx: &mut C, repo: &RepoName, blob: &NewBlob) -> Result<()> {
    let repo_id = repositories::ensure(tx, repo, blob.now).await?;
    commit(tx, repo_id, blob).await
}

/// Commits a blob to a repository: the row, the membership with its lease, and the edges that waited for it.
pub(super) async fn commit<C: Conn>(tx: &mut C, repo_id: i64, blob: &NewBlob) -> Result<()> {
    let (id, stored) = ensure(tx, &blob.digest, blob.size, &blob.location, blob.now, None).await?;
    join(tx, repo_id, id, &blob.digest, blob.now, blob.lease_until).await?;
    if let Some(stored) = stored {
        settle(tx, stored, blob).await?;
        unorphan(tx, id).await?;
    }
    Ok(())
}

/// What becomes of our bytes when the digest is there already: they take the place of damaged ones, or must go.
async fn settle<C: Conn>(tx: &mut C, mut stored: Stored, blob: &NewBlob) -> Result<()> {
    let ours = object_key(&blob.location);
    if stored.damaged_at.is_some() {
        stored = again(tx, &blob.digest, stored).await?;
    }
    if ours.is_some() && ours == stored.object_key.as_deref() {
        // The same commit again. If the object was found damaged since, these bytes are the damaged ones.
        return Ok(());
    }
    if stored.damaged_at.is_some() {
        return replace(tx, &stored, (&blob.digest, blob.size, &blob.location), blob.now, blob.replaced_until).await;
    }
    match ours {
        Some(ours) => collect::doom(tx, ours, None, blob.size, blob.now).await,
        None => Ok(()),
    }
}

/// Makes blobs members where they are; gives back those that nobody knows.
pub(super) async fn adopt<C: Conn>(tx: &mut C, repo: &RepoName, adopt: &BlobAdopt) -> Result<Vec<Digest>> {
    let repo_id = repositories::ensure(tx, repo, adopt.now).await?;
    let mut unknown = Vec::new();
    for (digest, object) in &adopt.blobs {
        match adopted_row(tx, digest, object.as_ref(), adopt).await? {
            Some(id) => {
                join(tx, repo_id, id, digest, adopt.now, adopt.lease_until).await?;
                unorphan(tx, id).await?;
            }
            None => unknown.push(digest.clone()),
        }
    }
    Ok(unknown)
}

/// The row of a digest: the sound one that is there, or one with the object.
async fn adopted_row<C: Conn>(
    tx: &mut C,
    digest: &Digest,
    object: Option<&(Key, u64)>,
    adopt: &BlobAdopt,
) -> Result<Option<i64>> {
    let Some((key, size)) = object else {
        let stored: Option<Stored> = tx.first(&sql::BY_DIGEST, &[Value::shown(digest)]).await?;
        return Ok(stored.map(|stored| stored.id));
    };
    let location = BlobLocation::Object(key.clone());
    let (id, stored) = ensure(tx, digest, *size, &location, adopt.now, None).await?;
    if let Some(stored) = stored.filter(|stored| stored.damaged_at.is_some()) {
        let stored = again(tx, digest, stored).await?;
        if stored.damaged_at.is_some() {
            replace(tx, &stored, (digest, *size, &location), adopt.now, adopt.now).await?;
        }
    }
    // The object of a blob that was adopted before may be waiting to be removed.
    collect::undoom(tx, key).await?;
    let adopted = if adopt.read_only { &sql::ADOPT } else { &sql::OWN };
    tx.run(adopted, values![id, key.as_str()]).await?;
    Ok(Some(id))
}

record! {
    /// Where the bytes of a digest are now.
    pub(super) struct Stored {
        pub(super) id: i64,
        size: i64,
        pub(super) object_key: Option<String>,
        pub(super) damaged_at: Option<i64>,
        adopted: bool,
    }
}

/// The row of a digest: a new one with these bytes, or the one that is there. It stays until the transaction ends.
///
/// `orphan_until` keeps a new row when it has no repository.
pub(super) async fn ensure<C: Conn>(
    tx: &mut C,
    digest: &Digest,
    size: u64,
    location: &BlobLocation,
    now: Timestamp,
    orphan_until: Option<Timestamp>,
) -> Result<(i64, Option<Stored>)> {
    let mut turns = Turns::default();
    loop {
        let stored: Option<Stored> = tx.first(&sql::BY_DIGEST, &[Value::shown(digest)]).await?;
        if let Some(stored) = stored {
            return Ok((stored.id, Some(stored)));
        }
        let values = &[
            Value::shown(digest),
            signed(size).into(),
            Value::text_option(object_key(location)),
            inline(location).into(),
            now.into(),
            orphan_until.map(|_| now).into(),
            orphan_until.into(),
        ];
        let inserted: Option<(i64,)> = tx.first(&sql::INSERT, values).await?;
        if let Some((id,)) = inserted {
            return Ok((id, None));
        }
        turns.next()?;
    }
}

/// The row as it is once nobody else can change it.
pub(super) async fn again<C: Conn>(tx: &mut C, digest: &Digest, stored: Stored) -> Result<Stored> {
    tx.run(&sql::LOCK_BLOBS, values![[stored.id].as_slice()]).await?;
    tx.one(&sql::BY_DIGEST, &[Value::shown(digest)]).await
}

/// Other bytes (digest, size, place) for a row, which is the caller's alone; what was there before goes, not before
/// `doomed_until`.
pub(super) async fn replace<C: Conn>(
    tx: &mut C,
    stored: &Stored,
    (digest, size, location): (&Digest, u64, &BlobLocation),
    now: Timestamp,
    doomed_until: Timestamp,
) -> Result<()> {
    let values =
        &[stored.id.into(), signed(size).into(), Value::text_option(object_key(location)), inline(location).into()];
    let replaced = tx.run(&sql::REPLACE, values).await?;
    expect_rows(&sql::REPLACE, 1, replaced)?;
    if stored.damaged_at.is_some() {
        scrub::healed(tx, stored.id, digest, now).await?;
    }
    match &stored.object_key {
        Some(old) if !stored.adopted => collect::doom(tx, old, None, stored.size.unsigned_abs(), doomed_until).await,
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
async fn join<C: Conn>(
    tx: &mut C,
    repo_id: i64,
    blob_id: i64,
    digest: &Digest,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<()> {
    let joined = tx.run(&sql::JOIN, values![repo_id, blob_id, lease_until, now]).await?;
    expect_rows(&sql::JOIN, 1, joined)?;
    tx.run(&sql::FILL_EDGES, &[repo_id.into(), Value::shown(digest), blob_id.into()]).await?;
    tx.run(&sql::DROP_WAITING_CHILDREN, &[repo_id.into(), Value::shown(digest)]).await?;
    Ok(())
}

/// Takes the mark of garbage from a blob that has a repository again.
async fn unorphan<C: Conn>(tx: &mut C, blob_id: i64) -> Result<()> {
    tx.run(&sql::UNORPHAN, values![blob_id]).await?;
    Ok(())
}

/// Marks blobs as garbage where no repository has them.
pub(super) async fn orphan<C: Conn>(tx: &mut C, ids: &[i64], now: Timestamp) -> Result<()> {
    // Of two who take the last two memberships, the second waits here and then sees what the first has done.
    tx.run(&sql::LOCK_BLOBS, values![ids]).await?;
    tx.run(&sql::ORPHAN, values![ids, now]).await?;
    Ok(())
}

/// Keeps the memberships of blobs that a manifest is about to stop naming; before its edges go, as everywhere.
pub(super) async fn lock<C: Conn>(tx: &mut C, repo_id: i64, blobs: &[i64]) -> Result<()> {
    tx.run(&sql::LOCK_MEMBERSHIPS, values![repo_id, blobs]).await?;
    Ok(())
}

/// What follows when a manifest that named these blobs, which are locked, is gone.
pub(super) async fn release<C: Conn>(
    tx: &mut C,
    repo_id: i64,
    blobs: &[i64],
    end_leases_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    if let Some(before) = end_leases_before {
        tx.run(&sql::END_LEASES, values![repo_id, blobs, before]).await?;
    }
    tx.run(&sql::RELEASE, values![repo_id, blobs, now]).await?;
    Ok(())
}

/// What follows when a manifest names these blobs.
pub(super) async fn hold<C: Conn>(tx: &mut C, repo_id: i64, blobs: &[i64]) -> Result<()> {
    tx.run(&sql::LOCK_TO_HOLD, values![repo_id, blobs]).await?;
    tx.run(&sql::HOLD, values![repo_id, blobs]).await?;
    Ok(())
}
