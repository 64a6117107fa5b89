//! Manifests: what they name, who lists them, and what their end means.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json as value};
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::model::{
    BlobId, BlobRole, ManifestDelete, ManifestDeleted, ManifestPut, ManifestRecord, ManifestStored, NewManifest,
    Precondition, ReferrerRecord,
};
use crate::metadata::rows::{ManifestRow, ReferrerRow, expect_rows, json, json_texts, parse, records, signed};
use crate::metadata::sql::manifests as sql;
use crate::metadata::sql::tags::{DELETE_OF_MANIFEST, EVENTS_OF_MANIFEST, OF_MANIFEST};
use crate::metadata::sqlite::tags::{self, Target};
use crate::metadata::sqlite::{blobs, repositories};
use crate::oci::digest::Digest;
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;

pub(super) async fn find(
    conn: impl SqliteExecutor<'_>,
    repo: &RepoName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>> {
    let query = match reference {
        Reference::Digest(digest) => sqlx::query_as(sql::BY_DIGEST).bind(repo.as_str()).bind(digest.to_string()),
        Reference::Tag(tag) => sqlx::query_as(sql::BY_TAG).bind(repo.as_str()).bind(tag.as_str()),
    };
    let row: Option<ManifestRow> = query.fetch_optional(conn).await?;
    row.map(ManifestRecord::try_from).transpose()
}

pub(super) async fn referrers(
    conn: impl SqliteExecutor<'_>,
    repo: &RepoName,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ReferrerRecord>> {
    let rows: Vec<ReferrerRow> = sqlx::query_as(sql::REFERRERS)
        .bind(repo.as_str())
        .bind(subject.to_string())
        .bind(artifact_type)
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(conn)
        .await?;
    records(rows)
}

/// A PUT that owns everything it needs.
#[derive(Debug)]
pub(super) struct Put {
    repo: RepoName,
    manifest: NewManifest,
    tags: Vec<Tag>,
    /// Those of `tags` that cannot move.
    protected: Vec<Tag>,
    sparse: bool,
    precondition: Precondition,
    condition_on: Reference,
    now: Timestamp,
}

impl From<&ManifestPut<'_>> for Put {
    fn from(put: &ManifestPut<'_>) -> Self {
        Self {
            repo: put.repo.clone(),
            manifest: put.manifest.clone(),
            tags: put.tags.to_vec(),
            protected: put.tags.iter().filter(|tag| put.immutable.covers(put.repo, tag)).cloned().collect(),
            sparse: put.sparse,
            precondition: put.precondition.clone(),
            condition_on: put.condition_on.clone(),
            now: put.now,
        }
    }
}

pub(super) async fn put(tx: &mut SqliteConnection, put: &Put) -> Result<ManifestStored> {
    let repo_id = repositories::find(&mut *tx, &put.repo).await?;
    let known = match repo_id {
        Some(repo_id) => Known::load(tx, repo_id, put).await?,
        None => Known::default(),
    };
    if let Some(refusal) = known.refusal(put) {
        return Ok(refusal);
    }
    let repo_id = repositories::ensure(tx, &put.repo, put.now).await?;
    let manifest_id = match known.manifests.get(&put.manifest.digest) {
        Some(id) => refresh(tx, *id, &put.manifest).await?,
        None => insert(tx, repo_id, put, &known).await?,
    };
    blobs::hold(tx, repo_id, &known.named_blobs(&put.manifest)).await?;
    let target = Target { manifest_id, digest: put.manifest.digest.clone() };
    tags::set(tx, repo_id, &put.tags, &target, &known.tags, put.now).await?;
    Ok(ManifestStored::Stored)
}

/// What the repository has of everything that a PUT speaks of.
#[derive(Debug, Default)]
struct Known {
    manifests: HashMap<Digest, i64>,
    /// Blob id, and whether its bytes are sound.
    blobs: HashMap<Digest, (i64, bool)>,
    tags: HashMap<String, Target>,
}

impl Known {
    async fn load(tx: &mut SqliteConnection, repo_id: i64, put: &Put) -> Result<Self> {
        let manifest = &put.manifest;
        let children = || manifest.children.iter().map(|child| &child.digest);
        let condition = match &put.condition_on {
            Reference::Digest(digest) => (Some(digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let digests = json_texts(children().chain([&manifest.digest]).chain(condition.0));
        let rows: Vec<(String, i64)> = sqlx::query_as(sql::IDS).bind(repo_id).bind(digests).fetch_all(&mut *tx).await?;
        let mut known = Self::default();
        for (digest, id) in rows {
            known.manifests.insert(parse("manifests", "digest", id, &digest)?, id);
        }
        let digests: HashSet<&Digest> = manifest.blobs.iter().map(|blob| &blob.digest).chain(children()).collect();
        let rows: Vec<(String, i64, bool)> =
            sqlx::query_as(sql::BLOBS).bind(repo_id).bind(json_texts(digests)).fetch_all(&mut *tx).await?;
        for (digest, id, sound) in rows {
            known.blobs.insert(parse("blobs", "digest", id, &digest)?, (id, sound));
        }
        known.tags = tags::find(tx, repo_id, put.tags.iter().chain(condition.1)).await?;
        Ok(known)
    }

    fn refusal(&self, put: &Put) -> Option<ManifestStored> {
        let current = match &put.condition_on {
            Reference::Digest(digest) => self.manifests.get_key_value(digest).map(|(digest, _)| digest),
            Reference::Tag(tag) => self.tags.get(tag.as_str()).map(|target| &target.digest),
        };
        if !put.precondition.holds(current) {
            return Some(ManifestStored::PreconditionFailed);
        }
        let moves = |tag: &&Tag| self.tags.get(tag.as_str()).is_some_and(|target| target.digest != put.manifest.digest);
        if let Some(tag) = put.protected.iter().find(moves) {
            return Some(ManifestStored::Immutable(tag.clone()));
        }
        let missing = if put.sparse { Vec::new() } else { self.missing(&put.manifest) };
        (!missing.is_empty()).then_some(ManifestStored::Missing(missing))
    }

    /// What the manifest needs and the repository has not, in the manifest's order, each once.
    ///
    /// A blob whose bytes are damaged counts as missing, as it does for a HEAD: pushing it again heals it.
    fn missing(&self, manifest: &NewManifest) -> Vec<Digest> {
        let sound = |digest: &Digest| self.blobs.get(digest).is_some_and(|(_, sound)| *sound);
        let blobs = manifest.blobs.iter().filter(|blob| blob.required).map(|blob| &blob.digest);
        let children =
            manifest.children.iter().map(|child| &child.digest).filter(|child| !self.manifests.contains_key(child));
        let mut seen = HashSet::new();
        blobs.chain(children).filter(|digest| !sound(digest) && seen.insert(*digest)).cloned().collect()
    }

    /// Ids of the blobs that the manifest names, children that are no manifest here included.
    fn named_blobs(&self, manifest: &NewManifest) -> Vec<i64> {
        let children =
            manifest.children.iter().map(|child| &child.digest).filter(|child| !self.manifests.contains_key(child));
        let digests = manifest.blobs.iter().map(|blob| &blob.digest).chain(children);
        digests.filter_map(|digest| self.blobs.get(digest).map(|(id, _)| *id)).collect()
    }

    /// Rows of `manifest_blobs`: the blobs, then the children that are no manifest here.
    fn edges(&self, manifest: &NewManifest) -> Vec<Value> {
        let id = |digest: &Digest| self.blobs.get(digest).map(|(id, _)| *id);
        let blobs = manifest.blobs.iter().map(|blob| (&blob.digest, blob.size, blob.role));
        let children = manifest.children.iter().map(|child| (&child.digest, child.size, BlobRole::Child));
        blobs
            .chain(children)
            .enumerate()
            .filter(|(_, (digest, _, role))| *role != BlobRole::Child || !self.manifests.contains_key(digest))
            .map(|(pos, (digest, size, role))| {
                value!([pos, digest.to_string(), signed(size), role_name(role), id(digest)])
            })
            .collect()
    }

    /// Rows of `manifest_children`: the children that are manifests here, or not known at all.
    fn children(&self, manifest: &NewManifest) -> Vec<Value> {
        let children = manifest.children.iter().enumerate();
        children
            .filter(|(_, child)| self.manifests.contains_key(&child.digest) || !self.blobs.contains_key(&child.digest))
            .map(|(pos, child)| {
                value!([pos, child.digest.to_string(), self.manifests.get(&child.digest), child.platform])
            })
            .collect()
    }
}

fn role_name(role: BlobRole) -> &'static str {
    match role {
        BlobRole::Config => "config",
        BlobRole::Layer => "layer",
        BlobRole::Child => "child",
    }
}

/// The same bytes again: the row stays, the content type may have changed.
async fn refresh(tx: &mut SqliteConnection, id: i64, manifest: &NewManifest) -> Result<i64> {
    sqlx::query(sql::REFRESH)
        .bind(id)
        .bind(&manifest.media_type)
        .bind(&manifest.artifact_type)
        .bind(&manifest.referrer)
        .execute(tx)
        .await?;
    Ok(id)
}

async fn insert(tx: &mut SqliteConnection, repo_id: i64, put: &Put, known: &Known) -> Result<i64> {
    let manifest = &put.manifest;
    let digest = manifest.digest.to_string();
    let id: i64 = sqlx::query_scalar(sql::INSERT)
        .bind(repo_id)
        .bind(&digest)
        .bind(&manifest.media_type)
        .bind(&manifest.artifact_type)
        .bind(manifest.subject.as_ref().map(Digest::to_string))
        .bind(&manifest.referrer)
        .bind(put.now.as_micros())
        .bind(manifest.payload.as_ref())
        .fetch_one(&mut *tx)
        .await?;
    let edges = json(&known.edges(manifest));
    sqlx::query(sql::INSERT_EDGES).bind(id).bind(repo_id).bind(edges).execute(&mut *tx).await?;
    let children = json(&known.children(manifest));
    sqlx::query(sql::INSERT_CHILDREN).bind(id).bind(repo_id).bind(children).execute(&mut *tx).await?;
    sqlx::query(sql::FILL_CHILDREN).bind(repo_id).bind(&digest).bind(id).execute(&mut *tx).await?;
    sqlx::query(sql::DROP_WAITING_EDGES).bind(repo_id).bind(&digest).execute(&mut *tx).await?;
    sqlx::query(sql::KEEP_REFERRERS).bind(repo_id).bind(&digest).execute(tx).await?;
    Ok(id)
}

/// A DELETE that owns everything it needs.
#[derive(Debug)]
pub(super) struct Delete {
    repo: RepoName,
    digest: Digest,
    immutable: ImmutableTags,
    end_leases_before: Option<Timestamp>,
    referrers_until: Timestamp,
    now: Timestamp,
}

impl From<&ManifestDelete<'_>> for Delete {
    fn from(delete: &ManifestDelete<'_>) -> Self {
        Self {
            repo: delete.repo.clone(),
            digest: delete.digest.clone(),
            immutable: delete.immutable.clone(),
            end_leases_before: delete.end_leases_before,
            referrers_until: delete.referrers_until,
            now: delete.now,
        }
    }
}

pub(super) async fn delete(tx: &mut SqliteConnection, delete: &Delete) -> Result<ManifestDeleted> {
    let Some(repo_id) = repositories::find(&mut *tx, &delete.repo).await? else {
        return Ok(ManifestDeleted::Unknown);
    };
    let digests = json_texts([&delete.digest]);
    let found: Option<(String, i64)> =
        sqlx::query_as(sql::IDS).bind(repo_id).bind(digests).fetch_optional(&mut *tx).await?;
    let Some((_, id)) = found else { return Ok(ManifestDeleted::Unknown) };
    let parent: Option<String> =
        sqlx::query_scalar(sql::PARENT).bind(id).bind(repo_id).fetch_optional(&mut *tx).await?;
    if let Some(parent) = parent {
        return parse("manifests", "digest", format!("listing {id}"), &parent).map(ManifestDeleted::Referenced);
    }
    let names: Vec<String> = sqlx::query_scalar(OF_MANIFEST).bind(id).bind(repo_id).fetch_all(&mut *tx).await?;
    for name in names {
        let tag: Tag = parse("tags", "name", id, &name)?;
        if delete.immutable.covers(&delete.repo, &tag) {
            return Ok(ManifestDeleted::Immutable(tag));
        }
    }
    sqlx::query(EVENTS_OF_MANIFEST).bind(id).bind(repo_id).bind(delete.now.as_micros()).execute(&mut *tx).await?;
    sqlx::query(DELETE_OF_MANIFEST).bind(id).bind(repo_id).execute(&mut *tx).await?;
    let blobs = named_blobs(tx, id).await?;
    remove(tx, repo_id, id, &delete.digest.to_string(), delete.referrers_until).await?;
    blobs::release(tx, repo_id, &blobs, delete.end_leases_before, delete.now).await?;
    Ok(ManifestDeleted::Deleted(blobs.into_iter().map(BlobId).collect()))
}

/// Ids of the blobs that a stored manifest names.
pub(super) async fn named_blobs(tx: &mut SqliteConnection, id: i64) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar(sql::NAMED_BLOBS).bind(id).fetch_all(tx).await?)
}

/// Removes a manifest that has no tag and no parent; its referrers may go from `referrers_until` on.
pub(super) async fn remove(
    tx: &mut SqliteConnection,
    repo_id: i64,
    id: i64,
    digest: &str,
    referrers_until: Timestamp,
) -> Result<()> {
    let done = sqlx::query(sql::DELETE).bind(id).execute(&mut *tx).await?;
    expect_rows("manifests::DELETE", 1, done.rows_affected())?;
    let until = referrers_until.as_micros();
    sqlx::query(sql::END_REFERRERS).bind(repo_id).bind(digest).bind(until).execute(tx).await?;
    Ok(())
}
