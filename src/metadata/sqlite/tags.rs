//! Tags.

use std::collections::HashMap;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::TagDeleted;
use crate::metadata::rows::{expect_rows, json_texts, parse};
use crate::metadata::sql::manifests::{MARK_TAGGED, MARK_UNTAGGED};
use crate::metadata::sql::repositories::HAS_MANIFEST;
use crate::metadata::sql::tags as sql;
use crate::metadata::sqlite::repositories;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};

/// What a tag points to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) manifest_id: i64,
    pub(super) digest: Digest,
}

pub(super) async fn list(
    pool: &SqlitePool,
    repo: &RepoName,
    after: Option<&str>,
    limit: u32,
) -> Result<Option<Vec<Tag>>> {
    let names: Vec<String> = sqlx::query_scalar(sql::LIST)
        .bind(repo.as_str())
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(pool)
        .await?;
    if names.is_empty() {
        let exists: bool = sqlx::query_scalar(HAS_MANIFEST).bind(repo.as_str()).fetch_one(pool).await?;
        if !exists {
            return Ok(None);
        }
    }
    names.iter().map(|name| parse("tags", "name", format!("{repo}:{name}"), name)).collect::<Result<_>>().map(Some)
}

/// What these tags point to now, those that exist.
pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    repo_id: i64,
    tags: impl IntoIterator<Item = &Tag>,
) -> Result<HashMap<String, Target>> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as(sql::FIND).bind(repo_id).bind(json_texts(tags)).fetch_all(conn).await?;
    rows.into_iter()
        .map(|(name, manifest_id, digest)| {
            let digest = parse("manifests", "digest", manifest_id, &digest)?;
            Ok((name, Target { manifest_id, digest }))
        })
        .collect()
}

/// Points tags to a manifest; `current` is what [`find`] gave for them.
pub(super) async fn set(
    tx: &mut SqliteConnection,
    repo_id: i64,
    tags: &[Tag],
    target: &Target,
    current: &HashMap<String, Target>,
    now: Timestamp,
) -> Result<()> {
    for tag in tags {
        let old = current.get(tag.as_str());
        if old.is_some_and(|old| old.manifest_id == target.manifest_id) {
            continue;
        }
        let set = sqlx::query(sql::SET).bind(repo_id).bind(tag.as_str()).bind(target.manifest_id).bind(now.as_micros());
        expect_rows("tags::SET", 1, set.execute(&mut *tx).await?.rows_affected())?;
        event(tx, repo_id, tag, old.map(|old| &old.digest), Some(&target.digest), now).await?;
        if let Some(old) = old {
            mark_untagged(tx, old.manifest_id, now).await?;
        }
    }
    if !tags.is_empty() {
        sqlx::query(MARK_TAGGED).bind(target.manifest_id).execute(tx).await?;
    }
    Ok(())
}

/// Deletes a tag; `protected` when it cannot go.
pub(super) async fn delete(
    tx: &mut SqliteConnection,
    repo: &RepoName,
    tag: &Tag,
    protected: bool,
    now: Timestamp,
) -> Result<TagDeleted> {
    let Some(repo_id) = repositories::find(&mut *tx, repo).await? else { return Ok(TagDeleted::Unknown) };
    let Some(old) = find(&mut *tx, repo_id, [tag]).await?.remove(tag.as_str()) else {
        return Ok(TagDeleted::Unknown);
    };
    if protected {
        return Ok(TagDeleted::Immutable);
    }
    let done = sqlx::query(sql::DELETE).bind(repo_id).bind(tag.as_str()).execute(&mut *tx).await?;
    expect_rows("tags::DELETE", 1, done.rows_affected())?;
    event(tx, repo_id, tag, Some(&old.digest), None, now).await?;
    mark_untagged(tx, old.manifest_id, now).await?;
    Ok(TagDeleted::Deleted)
}

async fn mark_untagged(tx: &mut SqliteConnection, manifest_id: i64, now: Timestamp) -> Result<()> {
    sqlx::query(MARK_UNTAGGED).bind(manifest_id).bind(now.as_micros()).execute(tx).await?;
    Ok(())
}

async fn event(
    tx: &mut SqliteConnection,
    repo_id: i64,
    tag: &Tag,
    old: Option<&Digest>,
    new: Option<&Digest>,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(sql::EVENT)
        .bind(repo_id)
        .bind(tag.as_str())
        .bind(old.map(Digest::to_string))
        .bind(new.map(Digest::to_string))
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(())
}
