//! Upload sessions. Every write of a holder carries its epoch, so that one who lost the session changes nothing.

use bytes::{Bytes, BytesMut};

use crate::clock::Timestamp;
use crate::metadata::logic::{Conn, Value, blobs, collect, record, repositories, values};
use crate::metadata::model::{
    BlobLocation, Checkpoint, NewBlob, NewUpload, Rekey, UploadEnd, UploadHold, UploadId, UploadPut, UploadRecord,
    UploadState, UploadTake, UploadTaken,
};
use crate::metadata::rows::{ENDED, UploadRow, expect_rows, inconsistent, parse_key, signed, unsigned, upload_state};
use crate::metadata::sql::repositories::SHARE_OF_UPLOAD;
use crate::metadata::sql::{Statement, uploads as sql};
use crate::metadata::{MetadataError, Result};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::storage::{DriverState, Key};

/// Longest piece of kept bytes in a row: the database's client holds a statement in memory twice, beside the upload's own
/// buffer.
const TAIL_PIECE_BYTES: usize = 1 << 20;

pub(super) async fn find<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    id: &UploadId,
    now: Timestamp,
) -> Result<Option<UploadRecord>> {
    find_by(&sql::FIND, conn, repo, id, now).await
}

async fn find_by<C: Conn>(
    statement: &Statement,
    conn: &mut C,
    repo: &RepoName,
    id: &UploadId,
    now: Timestamp,
) -> Result<Option<UploadRecord>> {
    let row: Option<UploadRow> = conn.first(statement, values![id.as_str(), repo.as_str(), now]).await?;
    row.map(UploadRecord::try_from).transpose()
}

pub(super) async fn take<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    id: &UploadId,
    take: &UploadTake,
    now: Timestamp,
) -> Result<UploadTaken> {
    let mut found = find_by(&sql::FIND_ALONE, tx, repo, id, now).await?;
    if let (None, Some(begin)) = (&found, &take.begin) {
        if take.offset.is_some_and(|offset| offset != 0) {
            return Ok(UploadTaken::WrongOffset { received: 0 });
        }
        if let Some(record) = begin_taken(tx, repo, id, take, begin, now).await? {
            return Ok(UploadTaken::Begun(Box::new(record)));
        }
        // Another writer was quicker, and is done by now.
        found = find_by(&sql::FIND_ALONE, tx, repo, id, now).await?;
    }
    // Before anything is written: a stranger who knows the name of a session must not take it from its holder.
    let found = found.filter(|found| found.principal == take.principal);
    let Some(mut record) = found else { return Ok(UploadTaken::Unknown) };
    match record.state {
        UploadState::Committed(digest) => return Ok(UploadTaken::Committed(digest)),
        UploadState::Ended => return Ok(UploadTaken::Unknown),
        UploadState::Open | UploadState::Completing(_) => {}
    }
    if take.offset.is_some_and(|offset| offset != record.received) {
        return Ok(UploadTaken::WrongOffset { received: record.received });
    }
    let key = Value::text_option(take.key.as_ref().map(Key::as_str));
    let values = &[id.as_str().into(), take.owner.as_str().into(), take.expires_at.into(), key];
    let (epoch, key): (i64, Option<String>) = tx.one(&sql::TAKE, values).await?;
    record.epoch = epoch;
    record.object_key = key.map(|key| parse_key("uploads", id.as_str(), &key)).transpose()?;
    record.tail = tail(tx, &record).await?;
    Ok(UploadTaken::Taken(Box::new(record)))
}

/// Writes a session down as its taker's. `None`: another writer was quicker.
async fn begin_taken<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    id: &UploadId,
    take: &UploadTake,
    begin: &NewUpload,
    now: Timestamp,
) -> Result<Option<UploadRecord>> {
    let row =
        NewRow { key: take.key.as_ref(), owner: Some(&take.owner), closed: None, now, expires_at: take.expires_at };
    if insert(tx, repo, id, begin, &row).await?.is_none() {
        return Ok(None);
    }
    if !begin.tail.is_empty() {
        tx.run(&sql::TAIL_INSERT, values![id.as_str(), 0_i64, begin.tail.as_ref()]).await?;
    }
    Ok(Some(UploadRecord {
        id: id.clone(),
        object_key: take.key.clone(),
        driver_state: DriverState::default(),
        received: begin.tail.len() as u64,
        hash_state: begin.hash_state.clone(),
        epoch: 1,
        principal: begin.principal.clone(),
        state: UploadState::Open,
        tail: begin.tail.clone(),
    }))
}

/// What is new of a session besides [`NewUpload`].
struct NewRow<'a> {
    key: Option<&'a Key>,
    owner: Option<&'a str>,
    /// The digest and the size of the blob that it is already, or [`ENDED`] and zero.
    closed: Option<(&'a str, u64)>,
    now: Timestamp,
    expires_at: Timestamp,
}

/// The id of the repository; `None`: the session is there already.
async fn insert<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    id: &UploadId,
    begin: &NewUpload,
    row: &NewRow<'_>,
) -> Result<Option<i64>> {
    let repo_id = repositories::ensure(tx, repo, row.now).await?;
    let driver_state = DriverState::default().0;
    let (state, digest, received) = match row.closed {
        None => ("open", None, begin.tail.len() as u64),
        Some((digest, size)) => ("committed", Some(digest), size),
    };
    let values = &[
        id.as_str().into(),
        repo_id.into(),
        Value::text_option(row.key.map(Key::as_str)),
        driver_state.as_slice().into(),
        signed(received).into(),
        begin.hash_state.as_slice().into(),
        Value::text_option(row.owner),
        Value::text_option(begin.principal.as_deref()),
        state.into(),
        Value::text_option(digest),
        row.now.into(),
        row.expires_at.into(),
    ];
    Ok((tx.run(&sql::INSERT, values).await? == 1).then_some(repo_id))
}

pub(super) async fn put<C: Conn>(tx: &mut C, repo: &RepoName, id: &UploadId, put: &UploadPut) -> Result<bool> {
    let UploadPut { principal, begin, blob, keep_until } = put;
    let digest = blob.digest.to_string();
    match (find_by(&sql::FIND, tx, repo, id, blob.now).await?, begin) {
        (None, Some(begin)) => {
            let closed = Some((digest.as_str(), blob.size));
            let row = NewRow { key: None, owner: None, closed, now: blob.now, expires_at: *keep_until };
            let Some(repo_id) = insert(tx, repo, id, begin, &row).await? else { return Ok(false) };
            blobs::commit(tx, repo_id, blob).await?;
            Ok(true)
        }
        (Some(found), _) if found.principal == *principal && is_untouched(&found) => {
            tx.run(&SHARE_OF_UPLOAD, values![id.as_str()]).await?;
            // Looked at again, since somebody may have taken it in between.
            let found = find_by(&sql::FIND_ALONE, tx, repo, id, blob.now).await?;
            if !found.is_some_and(|found| is_untouched(&found)) {
                return Ok(false);
            }
            blobs::put(tx, repo, blob).await?;
            close(tx, id, &digest, blob.size, *keep_until).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn is_untouched(record: &UploadRecord) -> bool {
    record.state == UploadState::Open && record.received == 0 && record.object_key.is_none()
}

/// Leaves of a session what answers a repeated request.
async fn close<C: Conn>(tx: &mut C, id: &UploadId, digest: &str, size: u64, keep_until: Timestamp) -> Result<()> {
    let state = DriverState::default().0;
    let values = values![id.as_str(), digest, signed(size), keep_until, state.as_slice()];
    let done = tx.run(&sql::COMMITTED, values).await?;
    expect_rows(&sql::COMMITTED, 1, done)
}

/// The kept bytes of a session that is the caller's.
pub(super) async fn held_tail<C: Conn>(conn: &mut C, hold: &UploadHold) -> Result<Option<Bytes>> {
    let (tail, _) = kept(conn, hold.id.as_str()).await?;
    // Asked last: only a later holder changes the rows, so what was read before it came is ours.
    Ok(held(conn, hold).await?.map(|_| tail))
}

/// The kept bytes as one piece; they must end where an open session stands.
async fn tail<C: Conn>(tx: &mut C, record: &UploadRecord) -> Result<Bytes> {
    let id = record.id.as_str();
    let (tail, end) = kept(tx, id).await?;
    match end {
        None => Ok(tail),
        Some(end) if end == signed(record.received) => Ok(tail),
        Some(end) if record.state == UploadState::Open => Err(gap(id, end)),
        // A session about to complete took bytes that are not kept, in the request that was to complete it. Those that
        // are kept lie before them and are of no use without.
        Some(_) => Ok(Bytes::new()),
    }
}

fn gap(id: &str, at: i64) -> MetadataError {
    inconsistent("upload_tail", "start", id, format!("a gap before byte {at}"))
}

/// The kept bytes as one piece, which must have no gap, and their end.
async fn kept<C: Conn>(conn: &mut C, id: &str) -> Result<(Bytes, Option<i64>)> {
    let mut next = None;
    let mut tail = BytesMut::new();
    for row in conn.rows(&sql::TAIL, values![id]).await? {
        let (start, bytes): (i64, Vec<u8>) = C::record(row)?;
        if next.is_some_and(|next| next != start) {
            return Err(gap(id, start));
        }
        tail.extend_from_slice(&bytes);
        next = Some(start.saturating_add(signed(bytes.len() as u64)));
    }
    Ok((tail.freeze(), next))
}

pub(super) async fn intend<C: Conn>(tx: &mut C, hold: &UploadHold, key: &Key) -> Result<bool> {
    let done = tx.run(&sql::INTEND, values![hold.id.as_str(), hold.epoch, key.as_str()]).await?;
    Ok(done == 1)
}

pub(super) async fn rekey<C: Conn>(tx: &mut C, hold: &UploadHold, rekey: &Rekey) -> Result<bool> {
    let Some((session, UploadState::Open | UploadState::Completing(_))) = held(tx, hold).await? else {
        return Ok(false);
    };
    let id = hold.id.as_str();
    tx.run(&sql::DOOM, values![[id.to_owned()].as_slice(), rekey.dead_until]).await?;
    let nothing = DriverState::default().0;
    tx.run(&sql::REKEY, values![id, rekey.key.as_str(), nothing.as_slice()]).await?;
    let received = unsigned("uploads", "received", id, session.received)?;
    keep(tx, id, received, &rekey.tail).await?;
    Ok(true)
}

pub(super) async fn checkpoint<C: Conn>(tx: &mut C, hold: &UploadHold, checkpoint: &Checkpoint) -> Result<bool> {
    let (id, start) = (hold.id.as_str(), signed(checkpoint.tail_start));
    let values = values![
        id,
        hold.epoch,
        signed(checkpoint.received),
        checkpoint.driver_state.0.as_slice(),
        checkpoint.hash_state.as_slice(),
        checkpoint.expires_at,
    ];
    if tx.run(&sql::CHECKPOINT, values).await? == 0 {
        return Ok(false);
    }
    tx.run(&sql::TAIL_DROP, values![id, start]).await?;
    tx.run(&sql::TAIL_TRIM, values![id, start]).await?;
    keep(tx, id, checkpoint.received, &checkpoint.tail_new).await?;
    Ok(true)
}

/// Keeps the last bytes of a session that stands at `end`.
async fn keep<C: Conn>(tx: &mut C, id: &str, end: u64, bytes: &[u8]) -> Result<()> {
    let mut start = end.saturating_sub(bytes.len() as u64);
    for piece in bytes.chunks(TAIL_PIECE_BYTES) {
        tx.run(&sql::TAIL_INSERT, values![id, signed(start), piece]).await?;
        start += piece.len() as u64;
    }
    Ok(())
}

pub(super) async fn renew<C: Conn>(tx: &mut C, hold: &UploadHold, expires_at: Timestamp) -> Result<bool> {
    Ok(tx.run(&sql::RENEW, values![hold.id.as_str(), hold.epoch, expires_at]).await? == 1)
}

pub(super) async fn completing<C: Conn>(
    tx: &mut C,
    hold: &UploadHold,
    digest: &Digest,
    received: u64,
    state: &DriverState,
) -> Result<bool> {
    let digest = digest.to_string();
    let values = values![hold.id.as_str(), hold.epoch, digest.as_str(), signed(received), state.0.as_slice()];
    Ok(tx.run(&sql::COMPLETING, values).await? == 1)
}

record! {
    /// A session as its holder finds it.
    struct Held {
        repo_id: i64,
        object_key: Option<String>,
        driver_state: Vec<u8>,
        received: i64,
        state: String,
        digest: Option<String>,
    }
}

async fn held<C: Conn>(tx: &mut C, hold: &UploadHold) -> Result<Option<(Held, UploadState)>> {
    let row: Option<Held> = tx.first(&sql::HELD, values![hold.id.as_str(), hold.epoch]).await?;
    let Some(row) = row else { return Ok(None) };
    let state = upload_state(hold.id.as_str(), &row.state, row.digest.as_deref())?;
    Ok(Some((row, state)))
}

pub(super) async fn commit<C: Conn>(
    tx: &mut C,
    hold: &UploadHold,
    blob: &NewBlob,
    keep_until: Timestamp,
) -> Result<bool> {
    // The repository comes before the session: its end, which takes its sessions along, must not wait for this.
    tx.run(&SHARE_OF_UPLOAD, values![hold.id.as_str()]).await?;
    let Some((session, state)) = held(tx, hold).await? else { return Ok(false) };
    match state {
        // The same commit again, after its answer was lost.
        UploadState::Committed(digest) => return Ok(digest == blob.digest),
        UploadState::Ended => return Ok(false),
        UploadState::Open | UploadState::Completing(_) => {}
    }
    blobs::commit(tx, session.repo_id, blob).await?;
    let committed = match &blob.location {
        BlobLocation::Object(key) => Some(key.as_str()),
        BlobLocation::Inline(_) => None,
    };
    if let Some(unused) = session.object_key.as_deref().filter(|key| Some(*key) != committed) {
        let received = unsigned("uploads", "received", hold.id.as_str(), session.received)?;
        collect::doom(tx, unused, Some(&session.driver_state), received, blob.now).await?;
    }
    tx.run(&sql::TAIL_CLEAR, values![hold.id.as_str()]).await?;
    close(tx, &hold.id, &blob.digest.to_string(), blob.size, keep_until).await?;
    Ok(true)
}

/// Ends a session that is the caller's.
pub(super) async fn drop_held<C: Conn>(tx: &mut C, hold: &UploadHold, end: UploadEnd) -> Result<bool> {
    match held(tx, hold).await? {
        None | Some((_, UploadState::Committed(_) | UploadState::Ended)) => Ok(false),
        Some(_) => end_for_good(tx, &hold.id, end).await.map(|()| true),
    }
}

pub(super) async fn cancel<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    id: &UploadId,
    begin: Option<&NewUpload>,
    end: UploadEnd,
) -> Result<bool> {
    let mut found = find_by(&sql::FIND_ALONE, tx, repo, id, end.now).await?;
    if let (None, Some(begin)) = (&found, begin) {
        let closed = Some((ENDED, 0));
        let row = NewRow { key: None, owner: None, closed, now: end.now, expires_at: end.keep_until };
        if insert(tx, repo, id, begin, &row).await?.is_some() {
            return Ok(true);
        }
        found = find_by(&sql::FIND_ALONE, tx, repo, id, end.now).await?;
    }
    match found.map(|record| record.state) {
        None | Some(UploadState::Committed(_) | UploadState::Ended) => Ok(false),
        Some(UploadState::Open | UploadState::Completing(_)) => end_for_good(tx, id, end).await.map(|()| true),
    }
}

/// Ends a session, which is the caller's, and keeps its name, so that none begins under it again.
async fn end_for_good<C: Conn>(tx: &mut C, id: &UploadId, end: UploadEnd) -> Result<()> {
    tx.run(&sql::DOOM, values![[id.as_str().to_owned()].as_slice(), end.dead_until]).await?;
    tx.run(&sql::TAIL_CLEAR, values![id.as_str()]).await?;
    close(tx, id, ENDED, 0, end.keep_until).await
}

pub(super) async fn expire<C: Conn>(tx: &mut C, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64> {
    let ids: Vec<String> = tx.column(&sql::EXPIRED, values![now, limit]).await?;
    end(tx, &ids, dead_until).await?;
    Ok(ids.len() as u64)
}

/// Removes sessions, which are the caller's; the objects of those that became no blob must go, not before `dead_until`.
pub(super) async fn end<C: Conn>(tx: &mut C, ids: &[String], dead_until: Timestamp) -> Result<()> {
    tx.run(&sql::DOOM, values![ids, dead_until]).await?;
    let done = tx.run(&sql::DELETE, values![ids]).await?;
    expect_rows(&sql::DELETE, ids.len() as u64, done)
}
