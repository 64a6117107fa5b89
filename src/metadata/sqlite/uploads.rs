//! Upload sessions. Every write of a holder carries its epoch, so that one who lost the session changes nothing.

use bytes::{Bytes, BytesMut};
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{
    BlobLocation, Checkpoint, NewBlob, NewUpload, UploadHold, UploadId, UploadRecord, UploadState, UploadTake,
    UploadTaken,
};
use crate::metadata::rows::{UploadRow, expect_rows, inconsistent, json, signed, unsigned, upload_state};
use crate::metadata::sql::uploads as sql;
use crate::metadata::sqlite::{blobs, collect, repositories};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::storage::{DriverState, Key};

pub(super) async fn create(tx: &mut SqliteConnection, repo: &RepoName, upload: &NewUpload) -> Result<()> {
    let repo_id = repositories::ensure(tx, repo, upload.now).await?;
    sqlx::query(sql::INSERT)
        .bind(upload.id.as_str())
        .bind(repo_id)
        .bind(DriverState::default().0)
        .bind(&upload.hash_state)
        .bind(&upload.principal)
        .bind(upload.now.as_micros())
        .bind(upload.expires_at.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    repo: &RepoName,
    id: &UploadId,
    now: Timestamp,
) -> Result<Option<UploadRecord>> {
    let row: Option<UploadRow> = sqlx::query_as(sql::FIND)
        .bind(id.as_str())
        .bind(repo.as_str())
        .bind(now.as_micros())
        .fetch_optional(conn)
        .await?;
    row.map(UploadRecord::try_from).transpose()
}

pub(super) async fn take(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    id: &UploadId,
    take: &UploadTake,
    now: Timestamp,
) -> Result<UploadTaken> {
    let Some(mut record) = find(&mut *tx, repo, id, now).await? else { return Ok(UploadTaken::Unknown) };
    if let UploadState::Committed(digest) = record.state {
        return Ok(UploadTaken::Committed(digest));
    }
    if take.offset.is_some_and(|offset| offset != record.received) {
        return Ok(UploadTaken::WrongOffset { received: record.received });
    }
    record.epoch = sqlx::query_scalar(sql::TAKE)
        .bind(id.as_str())
        .bind(&take.owner)
        .bind(take.expires_at.as_micros())
        .fetch_one(&mut *tx)
        .await?;
    record.tail = tail(tx, &record).await?;
    Ok(UploadTaken::Taken(Box::new(record)))
}

/// The kept bytes as one piece; they must have no gap, and end where an open session stands.
async fn tail(tx: &mut SqliteConnection, record: &UploadRecord) -> Result<Bytes> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(sql::TAIL).bind(record.id.as_str()).fetch_all(tx).await?;
    let wrong = |at: i64| inconsistent("upload_tail", "start", record.id.as_str(), format!("a gap before byte {at}"));
    let mut next = rows.first().map(|(start, _)| *start);
    let mut tail = BytesMut::new();
    for (start, bytes) in rows {
        if next != Some(start) {
            return Err(wrong(start));
        }
        tail.extend_from_slice(&bytes);
        next = Some(start.saturating_add(signed(bytes.len() as u64)));
    }
    match next {
        // A session about to complete has taken bytes that are not kept: they are in the request that completes it.
        Some(end) if record.state == UploadState::Open && end != signed(record.received) => Err(wrong(end)),
        _ => Ok(tail.freeze()),
    }
}

pub(super) async fn intend(tx: &mut SqliteConnection, hold: &UploadHold, key: &Key) -> Result<bool> {
    let done = sqlx::query(sql::INTEND).bind(hold.id.as_str()).bind(hold.epoch).bind(key.as_str()).execute(tx).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn checkpoint(tx: &mut SqliteConnection, hold: &UploadHold, checkpoint: &Checkpoint) -> Result<bool> {
    let done = sqlx::query(sql::CHECKPOINT)
        .bind(hold.id.as_str())
        .bind(hold.epoch)
        .bind(signed(checkpoint.received))
        .bind(&checkpoint.driver_state.0)
        .bind(&checkpoint.hash_state)
        .bind(checkpoint.expires_at.as_micros())
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let (id, start) = (hold.id.as_str(), signed(checkpoint.tail_start));
    sqlx::query(sql::TAIL_DROP).bind(id).bind(start).execute(&mut *tx).await?;
    sqlx::query(sql::TAIL_TRIM).bind(id).bind(start).execute(&mut *tx).await?;
    if !checkpoint.tail_new.is_empty() {
        let new = checkpoint.tail_new.as_ref();
        let new_start = checkpoint.received.saturating_sub(new.len() as u64);
        sqlx::query(sql::TAIL_INSERT).bind(id).bind(signed(new_start)).bind(new).execute(tx).await?;
    }
    Ok(true)
}

pub(super) async fn renew(tx: &mut SqliteConnection, hold: &UploadHold, expires_at: Timestamp) -> Result<bool> {
    let renewed = sqlx::query(sql::RENEW).bind(hold.id.as_str()).bind(hold.epoch).bind(expires_at.as_micros());
    Ok(renewed.execute(tx).await?.rows_affected() == 1)
}

pub(super) async fn completing(
    tx: &mut SqliteConnection,
    hold: &UploadHold,
    digest: &Digest,
    received: u64,
    state: &DriverState,
) -> Result<bool> {
    let done = sqlx::query(sql::COMPLETING)
        .bind(hold.id.as_str())
        .bind(hold.epoch)
        .bind(digest.to_string())
        .bind(signed(received))
        .bind(&state.0)
        .execute(tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// A session as its holder finds it.
#[derive(Debug, sqlx::FromRow)]
struct Held {
    repo_id: i64,
    object_key: Option<String>,
    driver_state: Vec<u8>,
    received: i64,
    state: String,
    digest: Option<String>,
}

async fn held(tx: &mut SqliteConnection, hold: &UploadHold) -> Result<Option<(Held, UploadState)>> {
    let row: Option<Held> =
        sqlx::query_as(sql::HELD).bind(hold.id.as_str()).bind(hold.epoch).fetch_optional(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let state = upload_state(hold.id.as_str(), &row.state, row.digest.as_deref())?;
    Ok(Some((row, state)))
}

pub(super) async fn commit(
    tx: &mut SqliteConnection,
    hold: &UploadHold,
    blob: &NewBlob,
    keep_until: Timestamp,
) -> Result<bool> {
    let Some((session, state)) = held(tx, hold).await? else { return Ok(false) };
    if let UploadState::Committed(digest) = state {
        // The same commit again, after its answer was lost.
        return Ok(digest == blob.digest);
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
    sqlx::query(sql::TAIL_CLEAR).bind(hold.id.as_str()).execute(&mut *tx).await?;
    let done = sqlx::query(sql::COMMITTED)
        .bind(hold.id.as_str())
        .bind(blob.digest.to_string())
        .bind(signed(blob.size))
        .bind(keep_until.as_micros())
        .bind(DriverState::default().0)
        .execute(tx)
        .await?;
    expect_rows("uploads::COMMITTED", 1, done.rows_affected())?;
    Ok(true)
}

/// Ends a session that is the caller's.
pub(super) async fn drop_held(tx: &mut SqliteConnection, hold: &UploadHold, dead_until: Timestamp) -> Result<bool> {
    match held(tx, hold).await? {
        None | Some((_, UploadState::Committed(_))) => Ok(false),
        Some(_) => end(tx, &[hold.id.as_str().to_owned()], dead_until).await.map(|()| true),
    }
}

pub(super) async fn cancel(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    id: &UploadId,
    now: Timestamp,
    dead_until: Timestamp,
) -> Result<bool> {
    match find(&mut *tx, repo, id, now).await? {
        None | Some(UploadRecord { state: UploadState::Committed(_), .. }) => Ok(false),
        Some(_) => end(tx, &[id.as_str().to_owned()], dead_until).await.map(|()| true),
    }
}

pub(super) async fn expire(
    tx: &mut SqliteConnection,
    now: Timestamp,
    dead_until: Timestamp,
    limit: u32,
) -> Result<u64> {
    let ids: Vec<String> =
        sqlx::query_scalar(sql::EXPIRED).bind(now.as_micros()).bind(limit).fetch_all(&mut *tx).await?;
    end(tx, &ids, dead_until).await?;
    Ok(ids.len() as u64)
}

/// Removes sessions; the objects of those that became no blob must go, not before `dead_until`.
pub(super) async fn end(tx: &mut SqliteConnection, ids: &[String], dead_until: Timestamp) -> Result<()> {
    let list = json(ids);
    sqlx::query(sql::DOOM).bind(&list).bind(dead_until.as_micros()).execute(&mut *tx).await?;
    let done = sqlx::query(sql::DELETE).bind(&list).execute(tx).await?;
    expect_rows("uploads::DELETE", ids.len() as u64, done.rows_affected())
}
