//! Retention: what is known of manifests, and their end by rule.

use std::collections::{BTreeMap, HashMap};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{self, Happened};
use crate::metadata::logic::{Conn, Value, manifests, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{ManifestFacts, ManifestRetire, ManifestsRetired};
use crate::metadata::rows::{parse, unsigned};
use crate::metadata::sql::repositories::FIND;
use crate::metadata::sql::retention as sql;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};

/// What is known of manifests of a repository, in digest order; the tags are read by a second statement.
pub(super) async fn page<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Vec<ManifestFacts>> {
    let Some(repo_id) = find(conn, repo).await? else { return Ok(Vec::new()) };
    let after = after.map(Digest::to_string).unwrap_or_default();
    let ids: Vec<i64> = conn.column(&sql::PAGE, values![repo_id, after.as_str(), limit]).await?;
    facts(conn, repo_id, &ids).await
}

/// Id of a living repository, for those who only read.
async fn find<C: Conn>(conn: &mut C, repo: &RepoName) -> Result<Option<i64>> {
    let row: Option<(i64,)> = conn.first(&FIND, values![repo.as_str()]).await?;
    Ok(row.map(|(id,)| id))
}

record! {
    /// A manifest as retention sees it.
    struct FactsRow {
        id: i64,
        digest: String,
        pushed_at: i64,
        pulled_at: Option<i64>,
        untagged_since: Option<i64>,
        children_pulled_at: Option<i64>,
        held: bool,
    }
}

async fn facts<C: Conn>(conn: &mut C, repo_id: i64, ids: &[i64]) -> Result<Vec<ManifestFacts>> {
    let rows: Vec<FactsRow> = conn.all(&sql::FACTS, values![repo_id, ids]).await?;
    let tags: Vec<(i64, String, i64)> = conn.all(&sql::TAGS, values![repo_id, ids]).await?;
    let mut by_manifest: HashMap<i64, (Vec<Tag>, i64)> = HashMap::new();
    for (manifest, name, updated_at) in tags {
        let (names, newest) = by_manifest.entry(manifest).or_insert_with(|| (Vec::new(), updated_at));
        names.push(parse("tags", "name", manifest, &name)?);
        *newest = updated_at.max(*newest);
    }
    rows.into_iter()
        .map(|row| {
            let (tags, tagged_at) = by_manifest.remove(&row.id).unzip();
            Ok(ManifestFacts {
                digest: parse("manifests", "digest", row.id, &row.digest)?,
                id: row.id,
                pushed_at: Timestamp::from_micros(row.pushed_at),
                pulled_at: row.pulled_at.max(row.children_pulled_at).map(Timestamp::from_micros),
                untagged_since: row.untagged_since.map(Timestamp::from_micros),
                tags: tags.unwrap_or_default(),
                tagged_at: tagged_at.map(Timestamp::from_micros),
                held: row.held,
            })
        })
        .collect()
}

/// A [`ManifestRetire`] that owns everything it needs.
#[derive(Debug)]
pub(super) struct Retire {
    repo: RepoName,
    manifests: BTreeMap<i64, ManifestFacts>,
    referrers_until: Timestamp,
    now: Timestamp,
    by: Actor,
}

impl From<&ManifestRetire<'_>> for Retire {
    fn from(retire: &ManifestRetire<'_>) -> Self {
        Self {
            repo: retire.repo.clone(),
            manifests: retire.manifests.iter().map(|facts| (facts.id, facts.clone())).collect(),
            referrers_until: retire.referrers_until,
            now: retire.now,
            by: retire.by.clone(),
        }
    }
}

/// Ends manifests whose facts have not changed: no tag came or went, nobody pushed or pulled them, nothing names them.
///
/// That a newer tag went since, so that one of these would now be among the last ones, does not save it: it would have
/// gone all the same, had this come a moment earlier.
pub(super) async fn retire<C: Conn>(tx: &mut C, retire: &Retire) -> Result<ManifestsRetired> {
    let claimed: Option<(i64,)> = tx.first(&sql::CLAIM_REPOSITORY, values![retire.repo.as_str()]).await?;
    let Some((repo_id,)) = claimed else { return Ok(ManifestsRetired::Busy) };
    let wanted: Vec<i64> = retire.manifests.keys().copied().collect();
    let claimed: Vec<i64> = tx.column(&sql::CLAIM, values![repo_id, wanted.as_slice()]).await?;
    let (mut gone, mut events) = (Vec::new(), Vec::new());
    for found in facts(tx, repo_id, &claimed).await? {
        if retire.manifests.get(&found.id) != Some(&found) {
            continue;
        }
        let digest = found.digest.to_string();
        manifests::end(tx, repo_id, found.id, &digest, None, retire.referrers_until, retire.now).await?;
        events.push(Happened::manifest_deleted(retire.repo.as_str(), &digest, &found.tags));
        gone.push(found.id);
    }
    audit::write_all(tx, &retire.by, retire.now, &events).await?;
    Ok(ManifestsRetired::Retired(gone))
}

pub(super) async fn pulled<C: Conn>(tx: &mut C, pulls: &[(i64, Timestamp)], stale: Timestamp) -> Result<()> {
    let rows: Vec<(i64, i64)> = pulls.iter().map(|(id, at)| (*id, at.as_micros())).collect();
    tx.run(&sql::PULLED, &[Value::rows(&rows), Value::from(stale)]).await?;
    Ok(())
}

pub(super) async fn bytes_alone<C: Conn>(conn: &mut C, repo: &RepoName, manifests: &[i64]) -> Result<u64> {
    let Some(repo_id) = find(conn, repo).await? else { return Ok(0) };
    let bytes: i64 = conn.scalar(&sql::BYTES_ALONE, values![repo_id, manifests]).await?;
    unsigned("blobs", "size", repo, bytes)
}
