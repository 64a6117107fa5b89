//! Repositories.

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, blobs, trust, uploads, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobId, RepositoryDeleted};
use crate::metadata::rows::{expect_rows, parse, text_after};
use crate::metadata::sql::repositories as sql;
use crate::metadata::sql::tags::EVENTS_OF_REPOSITORY;
use crate::metadata::{MetadataError, Result};
use crate::oci::name::RepoName;

/// How often a repository is looked for again that appears and disappears while somebody wants to write to it.
const TURNS_MAX: u32 = 8;

/// What others may do in a repository until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Anything but end it: for blobs and sessions.
    Shared,
    /// Nothing with its manifests and tags: for those who write them.
    Writing,
    /// Nothing: for its end, and for a manifest that leaves edges to be filled by a blob that may come right now.
    Alone,
}

pub(super) async fn list<C: Conn>(conn: &mut C, after: Option<&str>, limit: u32) -> Result<Vec<RepoName>> {
    let paths: Vec<String> = conn.column(&sql::LIST, values![text_after(after), limit]).await?;
    paths.iter().map(|path| parse("repositories", "path", path, path)).collect()
}

/// Id of a living repository.
pub(super) async fn find<C: Conn>(tx: &mut C, repo: &RepoName, hold: Hold) -> Result<Option<i64>> {
    let statement = match hold {
        Hold::Shared => &sql::FIND_SHARED,
        Hold::Writing => &sql::FIND_WRITING,
        Hold::Alone => &sql::FIND_ALONE,
    };
    let row: Option<(i64,)> = tx.first(statement, values![repo.as_str()]).await?;
    Ok(row.map(|(id,)| id))
}

/// Makes a repository that was not there. `None`: somebody else has made it since, and it must be looked for again.
///
/// Nobody can see a new one before the transaction ends, so it is the caller's alone.
pub(super) async fn insert<C: Conn>(tx: &mut C, repo: &RepoName, now: Timestamp) -> Result<Option<i64>> {
    let row: Option<(i64,)> = tx.first(&sql::INSERT, values![repo.as_str(), now]).await?;
    Ok(row.map(|(id,)| id))
}

/// Id of a living repository, made when it is not there, which lives until the transaction ends.
pub(super) async fn ensure<C: Conn>(tx: &mut C, repo: &RepoName, now: Timestamp) -> Result<i64> {
    let mut turns = Turns::default();
    loop {
        if let Some(id) = find(tx, repo, Hold::Shared).await? {
            return Ok(id);
        }
        if let Some(id) = insert(tx, repo, now).await? {
            return Ok(id);
        }
        turns.next()?;
    }
}

/// Bounds a loop that starts over because of what others do.
#[derive(Debug, Default)]
pub(super) struct Turns(u32);

impl Turns {
    /// One more turn, unless there were too many.
    pub(super) fn next(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 < TURNS_MAX {
            return Ok(());
        }
        Err(MetadataError::Unavailable("what this write needs comes and goes; it may be tried again".to_owned()))
    }
}

pub(super) async fn delete<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    now: Timestamp,
    dead_until: Timestamp,
    by: &Actor,
) -> Result<Option<RepositoryDeleted>> {
    let Some(id) = find(tx, repo, Hold::Alone).await? else { return Ok(None) };
    tx.run(&sql::FORGET_PUBLIC, values![id]).await?;
    let sessions: Vec<String> = tx.column(&sql::UPLOADS, values![id]).await?;
    uploads::end(tx, &sessions, dead_until).await?;
    tx.run(&EVENTS_OF_REPOSITORY, values![id, now]).await?;
    let tags = tx.run(&sql::DELETE_TAGS, values![id]).await?;
    trust::forget_all(tx, id).await?;
    tx.run(&sql::DELETE_CHILDREN, values![id]).await?;
    tx.run(&sql::DELETE_EDGES, values![id]).await?;
    let manifests = tx.run(&sql::DELETE_MANIFESTS, values![id]).await?;
    let members: Vec<i64> = tx.column(&sql::DELETE_MEMBERSHIPS, values![id]).await?;
    blobs::orphan(tx, &members, now).await?;
    let ended = tx.run(&sql::DELETE, values![id, now]).await?;
    expect_rows(&sql::DELETE, 1, ended)?;
    let detail = json!({"manifests": manifests, "tags": tags});
    write_down(tx, by, Event { kind: "repository.delete", subject: repo.as_str(), detail, now }).await?;
    Ok(Some(RepositoryDeleted { manifests, tags, blobs: members.into_iter().map(BlobId).collect() }))
}
