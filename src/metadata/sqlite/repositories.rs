//! Repositories.

use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{BlobId, RepositoryDeleted};
use crate::metadata::rows::{expect_rows, json, parse};
use crate::metadata::sql::repositories as sql;
use crate::metadata::sql::tags::EVENTS_OF_REPOSITORY;
use crate::metadata::sqlite::{blobs, uploads};
use crate::oci::name::RepoName;

pub(super) async fn list(conn: impl SqliteExecutor<'_>, after: Option<&str>, limit: u32) -> Result<Vec<RepoName>> {
    let paths: Vec<String> =
        sqlx::query_scalar(sql::LIST).bind(after.unwrap_or_default()).bind(limit).fetch_all(conn).await?;
    paths.iter().map(|path| parse("repositories", "path", path, path)).collect()
}

/// Id of a living repository.
pub(super) async fn find(conn: impl SqliteExecutor<'_>, repo: &RepoName) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar(sql::FIND).bind(repo.as_str()).fetch_optional(conn).await?)
}

/// Id of a living repository, made when it is not there.
pub(super) async fn ensure(tx: &mut SqliteConnection, repo: &RepoName, now: Timestamp) -> Result<i64> {
    if let Some(id) = find(&mut *tx, repo).await? {
        return Ok(id);
    }
    Ok(sqlx::query_scalar(sql::INSERT).bind(repo.as_str()).bind(now.as_micros()).fetch_one(tx).await?)
}

pub(super) async fn delete(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    now: Timestamp,
    dead_until: Timestamp,
) -> Result<Option<RepositoryDeleted>> {
    let Some(id) = find(&mut *tx, repo).await? else { return Ok(None) };
    let sessions: Vec<String> = sqlx::query_scalar(sql::UPLOADS).bind(id).fetch_all(&mut *tx).await?;
    uploads::end(tx, &sessions, dead_until).await?;
    sqlx::query(EVENTS_OF_REPOSITORY).bind(id).bind(now.as_micros()).execute(&mut *tx).await?;
    let tags = sqlx::query(sql::DELETE_TAGS).bind(id).execute(&mut *tx).await?.rows_affected();
    sqlx::query(sql::DELETE_CHILDREN).bind(id).execute(&mut *tx).await?;
    sqlx::query(sql::DELETE_EDGES).bind(id).execute(&mut *tx).await?;
    let manifests = sqlx::query(sql::DELETE_MANIFESTS).bind(id).execute(&mut *tx).await?.rows_affected();
    let members: Vec<i64> = sqlx::query_scalar(sql::DELETE_MEMBERSHIPS).bind(id).fetch_all(&mut *tx).await?;
    blobs::orphan(tx, &json(&members), now).await?;
    let done = sqlx::query(sql::DELETE).bind(id).bind(now.as_micros()).execute(tx).await?;
    expect_rows("repositories::DELETE", 1, done.rows_affected())?;
    Ok(Some(RepositoryDeleted { manifests, tags, blobs: members.into_iter().map(BlobId).collect() }))
}
