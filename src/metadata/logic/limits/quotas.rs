//! What namespaces may hold, and what they hold.

use serde_json::json;

use crate::access::NamespacePath;
use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::accounts::{bump, namespaces};
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, values};
use crate::metadata::model::UploadId;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::limits::{Quota, Usage};
use crate::metadata::rows::{signed, unsigned};
use crate::metadata::sql::limits as sql;
use crate::oci::name::RepoName;

pub(super) async fn set<C: Conn>(
    tx: &mut C,
    path: &NamespacePath,
    quota: Quota,
    now: Timestamp,
    by: &Actor,
) -> Result<bool> {
    bump(tx).await?;
    let Some(id) = namespaces::find_id(tx, path).await? else { return Ok(false) };
    if quota == Quota::default() {
        tx.run(&sql::QUOTA_END, values![id]).await?;
    } else {
        let number = |number: Option<u64>| Value::Int(number.map(signed));
        tx.run(&sql::QUOTA_SET, &[id.into(), number(quota.bytes), number(quota.repositories)]).await?;
    }
    let detail = json!({"bytes": quota.bytes, "repositories": quota.repositories});
    write_down(tx, by, Event { kind: "namespace.quota", subject: path.as_str(), detail, now }).await?;
    Ok(true)
}

pub(super) async fn find<C: Conn>(conn: &mut C, path: &NamespacePath) -> Result<Option<Quota>> {
    let row: Option<(Option<i64>, Option<i64>)> = conn.first(&sql::QUOTA_FIND, values![path.as_str()]).await?;
    row.map(|(bytes, repositories)| quota(path, bytes, repositories)).transpose()
}

/// What two columns of a namespace say.
pub(in crate::metadata::logic) fn quota(
    path: &NamespacePath,
    bytes: Option<i64>,
    repositories: Option<i64>,
) -> Result<Quota> {
    let number =
        |column, value: Option<i64>| value.map(|value| unsigned("quotas", column, path.as_str(), value)).transpose();
    Ok(Quota { bytes: number("bytes", bytes)?, repositories: number("repositories", repositories)? })
}

pub(super) async fn holds<C: Conn>(conn: &mut C, repo: &RepoName) -> Result<bool> {
    conn.scalar(&sql::HOLDS, values![repo.as_str()]).await
}

pub(super) async fn usage<C: Conn>(conn: &mut C, path: &NamespacePath, without: &[UploadId]) -> Result<Usage> {
    // The sign after the slash: what begins with the path and a slash lies between the two.
    let (below, behind) = (format!("{path}/"), format!("{path}0"));
    let without: Vec<String> = without.iter().map(|id| id.as_str().to_owned()).collect();
    let values = values![path.as_str(), below.as_str(), behind.as_str(), without.as_slice()];
    let (repositories, bytes): (i64, i64) = conn.one(&sql::USAGE, values).await?;
    let number = |column, value| unsigned("quotas", column, path.as_str(), value);
    Ok(Usage { bytes: number("bytes", bytes)?, repositories: number("repositories", repositories)? })
}
