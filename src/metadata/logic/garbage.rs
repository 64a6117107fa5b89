//! What a sweep would find, and what repositories take. Nothing here writes.

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::{Conn, record, values};
use crate::metadata::model::{Garbage, GarbageCursor, GarbageKind, RepositoryUsage, TotalUsage};
use crate::metadata::rows::{parse, text_after, unsigned};
use crate::metadata::sql::garbage as sql;
use crate::oci::name::RepoName;

record! {
    /// A piece of garbage.
    struct GarbageRow {
        repo: Option<String>,
        name: String,
        bytes: i64,
        due: i64,
        id: i64,
        second_id: i64,
    }
}

pub(super) async fn list<C: Conn>(
    conn: &mut C,
    kind: GarbageKind,
    now: Timestamp,
    after: &GarbageCursor,
    limit: u32,
) -> Result<Vec<Garbage>> {
    let ((id, second), name) = (after.ids, after.name.as_str());
    let rows: Vec<GarbageRow> = match kind {
        GarbageKind::Session => conn.all(&sql::SESSIONS, values![now, name, limit]).await?,
        GarbageKind::Referrer => conn.all(&sql::REFERRERS, values![now, id, limit]).await?,
        GarbageKind::Membership => conn.all(&sql::MEMBERSHIPS, values![now, id, second, limit]).await?,
        GarbageKind::Blob => conn.all(&sql::BLOBS, values![now, id, limit]).await?,
        GarbageKind::Object => conn.all(&sql::OBJECTS, values![name, limit]).await?,
    };
    rows.into_iter()
        .map(|row| {
            Ok(Garbage {
                kind,
                repo: row.repo.map(|repo| parse("repositories", "path", &repo, &repo)).transpose()?,
                bytes: unsigned("garbage", "bytes", &row.name, row.bytes)?,
                at: Timestamp::from_micros(row.due),
                cursor: GarbageCursor { ids: (row.id, row.second_id), name: row.name.clone() },
                name: row.name,
            })
        })
        .collect()
}

pub(super) async fn repositories<C: Conn>(
    conn: &mut C,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<(RepoName, i64)>> {
    let rows: Vec<(String, i64)> = conn.all(&sql::REPOSITORIES, values![text_after(after), limit]).await?;
    rows.into_iter().map(|(path, id)| Ok((parse("repositories", "path", &path, &path)?, id))).collect()
}

record! {
    /// What one repository takes.
    struct UsageRow {
        path: String,
        manifests: i64,
        blobs: i64,
        bytes: i64,
        shared_bytes: i64,
    }
}

pub(super) async fn usage<C: Conn>(conn: &mut C, repositories: &[i64]) -> Result<Vec<RepositoryUsage>> {
    let rows: Vec<UsageRow> = conn.all(&sql::USAGE, values![repositories]).await?;
    rows.into_iter()
        .map(|row| {
            let number = |value| unsigned("repo_blobs", "sum", &row.path, value);
            Ok(RepositoryUsage {
                repo: parse("repositories", "path", &row.path, &row.path)?,
                manifests: number(row.manifests)?,
                blobs: number(row.blobs)?,
                bytes: number(row.bytes)?,
                shared_bytes: number(row.shared_bytes)?,
            })
        })
        .collect()
}

pub(super) async fn total<C: Conn>(conn: &mut C, repositories: Option<&[i64]>) -> Result<TotalUsage> {
    let (blobs, bytes): (i64, i64) = match repositories {
        None => conn.one(&sql::USAGE_OF_ALL, values![]).await?,
        Some(ids) => conn.one(&sql::USAGE_TOGETHER, values![ids]).await?,
    };
    Ok(TotalUsage { blobs: unsigned("blobs", "count", "all", blobs)?, bytes: unsigned("blobs", "size", "all", bytes)? })
}
