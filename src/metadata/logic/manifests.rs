//! Manifests: what they name, who lists them, and what their end means.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{self, Happened, Push};
use crate::metadata::logic::repositories::{Hold, Turns};
use crate::metadata::logic::tags::{self, Target, is_signature_tag};
use crate::metadata::logic::{Conn, Value, blobs, repositories, scrub, trust, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::trust::TrustGuard;
use crate::metadata::model::{
    BlobId, BlobRole, ManifestDelete, ManifestDeleted, ManifestPut, ManifestRecord, ManifestStored, NewManifest,
    Precondition, ReferrerRecord,
};
use crate::metadata::rows::{ManifestRow, ReferrerRow, expect_rows, parse, records, signed, text_after, texts};
use crate::metadata::sql::manifests as sql;
use crate::metadata::sql::tags::{DELETE_OF_MANIFEST, EVENTS_OF_MANIFEST, OF_MANIFEST};
use crate::oci::digest::Digest;
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;

/// That a manifest was pushed again is written down at most this often.
const PUSH_GRAIN: Duration = Duration::from_hours(1);

pub(super) async fn find<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>> {
    let row: Option<ManifestRow> = match reference {
        Reference::Digest(digest) => conn.first(&sql::BY_DIGEST, &[repo.as_str().into(), Value::shown(digest)]).await?,
        Reference::Tag(tag) => conn.first(&sql::BY_TAG, values![repo.as_str(), tag.as_str()]).await?,
    };
    row.map(ManifestRecord::try_from).transpose()
}

pub(super) async fn referrers<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ReferrerRecord>> {
    if artifact_type.is_some_and(|name| name.contains('\0')) {
        // No stored type has one, and Postgres would refuse the parameter.
        return Ok(Vec::new());
    }
    let values = [
        repo.as_str().into(),
        Value::shown(subject),
        text_after(after).into(),
        limit.into(),
        Value::text_option(artifact_type),
    ];
    let rows: Vec<ReferrerRow> = match artifact_type {
        None => conn.all(&sql::REFERRERS, &values[..4]).await?,
        Some(_) => conn.all(&sql::REFERRERS_OF_TYPE, &values).await?,
    };
    records(rows)
}

/// The descriptors of all referrers with commas between them. `None`: there are more than `limit`, or there is the tag.
pub(super) async fn referrers_text<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    subject: &Digest,
    unless: &Tag,
    limit: u32,
) -> Result<Option<String>> {
    let limit = i64::from(limit);
    let values = &[repo.as_str().into(), Value::shown(subject), unless.as_str().into(), limit.saturating_add(1).into()];
    let (found, text, tagged): (i64, Option<String>, bool) = conn.one_again(&sql::REFERRERS_TEXT, values).await?;
    Ok((found <= limit && !tagged).then(|| text.unwrap_or_default()))
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
    guard: Option<TrustGuard>,
    now: Timestamp,
    by: Actor,
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
            guard: put.guard,
            now: put.now,
            by: put.by.clone(),
        }
    }
}

pub(super) async fn put<C: Conn>(tx: &mut C, put: &Put) -> Result<ManifestStored> {
    let (repo_id, known) = match prepare(tx, put).await? {
        Prepared::Refused(refusal) => return Ok(refusal),
        Prepared::Ready(repo_id, known) => (repo_id, known),
    };
    let before = known.manifests.get(&put.manifest.digest).copied();
    let manifest_id = match before {
        Some(id) => again(tx, repo_id, id, put, &known).await?,
        None => insert(tx, repo_id, put, &known).await?,
    };
    blobs::hold(tx, repo_id, &known.named_blobs(&put.manifest)).await?;
    let target = Target { manifest_id, digest: put.manifest.digest.clone() };
    tags::set(tx, repo_id, &put.tags, &target, &known.tags, put.now).await?;
    if known.changes_trust(put) {
        trust::moves(tx, repo_id).await?;
    }
    let Put { repo, manifest, tags, .. } = put;
    let push = Push { repo, manifest, new: before.is_none(), tags, before: &known.tags };
    audit::write_all(tx, &put.by, put.now, &push.events()).await?;
    Ok(ManifestStored::Stored)
}

/// Whether a PUT may go on, and with what.
enum Prepared {
    /// Nothing may be stored.
    Refused(ManifestStored),
    /// The repository, and what it has.
    Ready(i64, Known),
}

/// Takes the repository, so that what is known stays true, and judges the PUT by it.
async fn prepare<C: Conn>(tx: &mut C, put: &Put) -> Result<Prepared> {
    // A blob that an edge waits for could be committed right now by one who does not see the edge yet. Whoever may leave
    // such an edge keeps out everybody who commits blobs to the repository.
    let waits = put.sparse || put.manifest.blobs.iter().any(|blob| !blob.required);
    let hold = if waits { Hold::Alone } else { Hold::Writing };
    let mut turns = Turns::default();
    loop {
        let found = repositories::find(tx, &put.repo, hold).await?;
        if let Some(guard) = &put.guard
            && !trust::still(tx, found, guard).await?
        {
            return Ok(Prepared::Refused(ManifestStored::TrustMoved));
        }
        let known = match found {
            Some(repo_id) => Known::load(tx, repo_id, put).await?,
            None => Known::default(),
        };
        if let Some(refusal) = known.refusal(put) {
            return Ok(Prepared::Refused(refusal));
        }
        let repo_id = match found {
            Some(repo_id) => Some(repo_id),
            None => repositories::insert(tx, &put.repo, put.now).await?,
        };
        if let Some(repo_id) = repo_id {
            return Ok(Prepared::Ready(repo_id, known));
        }
        turns.next()?;
    }
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
    async fn load<C: Conn>(tx: &mut C, repo_id: i64, put: &Put) -> Result<Self> {
        let manifest = &put.manifest;
        let children = || manifest.children.iter().map(|child| &child.digest);
        let condition = match &put.condition_on {
            Reference::Digest(digest) => (Some(digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let digests = texts(children().chain([&manifest.digest]).chain(condition.0));
        let rows: Vec<(String, i64)> = tx.all(&sql::IDS, values![repo_id, digests.as_slice()]).await?;
        let mut known = Self::default();
        for (digest, id) in rows {
            known.manifests.insert(parse("manifests", "digest", id, &digest)?, id);
        }
        let digests: HashSet<&Digest> = manifest.blobs.iter().map(|blob| &blob.digest).chain(children()).collect();
        let digests = texts(digests);
        let rows: Vec<(String, i64, bool)> = tx.all(&sql::BLOBS, values![repo_id, digests.as_slice()]).await?;
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

    /// Whether a verdict on anything may be another one afterwards: signatures come, come under another name or are hidden
    /// by others, an index lends its own verdict to what it lists, and what only looks like a signature is told.
    fn changes_trust(&self, put: &Put) -> bool {
        let manifest = &put.manifest;
        let tells = manifest.signature_bytes.is_some() || !manifest.children.is_empty() || looks_signed(manifest);
        let is_new = !self.manifests.contains_key(&manifest.digest);
        let moves = |tag: &Tag| self.tags.get(tag.as_str()).is_none_or(|target| target.digest != manifest.digest);
        // One that was known may have become a signature artifact by what it names or by its tag.
        (tells && is_new)
            || manifest.signature_bytes.is_some()
            || put.tags.iter().any(|tag| is_signature_tag(tag) && moves(tag))
    }

    /// Ids of the blobs that the manifest names, children that are no manifest here included.
    fn named_blobs(&self, manifest: &NewManifest) -> Vec<i64> {
        let children =
            manifest.children.iter().map(|child| &child.digest).filter(|child| !self.manifests.contains_key(child));
        let digests = manifest.blobs.iter().map(|blob| &blob.digest).chain(children);
        digests.filter_map(|digest| self.blobs.get(digest).map(|(id, _)| *id)).collect()
    }

    /// Rows of `manifest_blobs`: the blobs, then the children that are no manifest here.
    fn edges(&self, manifest: &NewManifest) -> Vec<Json> {
        let id = |digest: &Digest| self.blobs.get(digest).map(|(id, _)| *id);
        let blobs = manifest.blobs.iter().map(|blob| (&blob.digest, blob.size, blob.role));
        let children = manifest.children.iter().map(|child| (&child.digest, child.size, BlobRole::Child));
        blobs
            .chain(children)
            .enumerate()
            .filter(|(_, (digest, _, role))| *role != BlobRole::Child || !self.manifests.contains_key(digest))
            .map(|(pos, (digest, size, role))| {
                json!([pos, digest.to_string(), signed(size), role_name(role), id(digest)])
            })
            .collect()
    }

    /// Rows of `manifest_children`: the children that are manifests here, or not known at all.
    fn children(&self, manifest: &NewManifest) -> Vec<Json> {
        let children = manifest.children.iter().enumerate();
        children
            .filter(|(_, child)| self.manifests.contains_key(&child.digest) || !self.blobs.contains_key(&child.digest))
            .map(|(pos, child)| {
                json!([pos, child.digest.to_string(), self.manifests.get(&child.digest), child.platform])
            })
            .collect()
    }
}

/// Whether it refers to a manifest as signatures do, whatever it holds.
fn looks_signed(manifest: &NewManifest) -> bool {
    let kinds = ["application/vnd.dev.sigstore.bundle", "application/vnd.dev.cosign.artifact."];
    let kind = manifest.artifact_type.as_deref().filter(|_| manifest.subject.is_some());
    kind.is_some_and(|kind| kinds.iter().any(|begin| kind.starts_with(begin)))
}

fn role_name(role: BlobRole) -> &'static str {
    match role {
        BlobRole::Config => "config",
        BlobRole::Layer => "layer",
        BlobRole::Child => "child",
    }
}

/// The same bytes again: the row stays. What follows from how they are read is made anew when they are read otherwise, so
/// that a manifest never has the edges of one reading and the rights of another.
async fn again<C: Conn>(tx: &mut C, repo_id: i64, id: i64, put: &Put, known: &Known) -> Result<i64> {
    let manifest = &put.manifest;
    let artifact_type = || Value::text_option(manifest.artifact_type.as_deref());
    let referrer = || Value::text_option(manifest.referrer.as_deref());
    let values = &[
        id.into(),
        manifest.media_type.as_str().into(),
        artifact_type(),
        Value::shown_option(manifest.subject.as_ref()),
        referrer(),
        put.now.into(),
        Value::Int(manifest.signature_bytes.map(signed)),
    ];
    if tx.run(&sql::REREAD, values).await? > 0 {
        rename(tx, repo_id, id, put, known).await?;
    } else {
        let values = &[id.into(), artifact_type(), referrer(), put.now.into(), put.now.before(PUSH_GRAIN).into()];
        tx.run(&sql::REFRESH, values).await?;
    }
    scrub::heal_manifest(tx, id, &put.repo, manifest, &put.by, put.now).await?;
    Ok(id)
}

/// Takes back what a stored manifest named, and has it name what it names now.
async fn rename<C: Conn>(tx: &mut C, repo_id: i64, id: i64, put: &Put, known: &Known) -> Result<()> {
    let before = unname(tx, repo_id, id, put.now).await?;
    tx.run(&sql::DELETE_CHILDREN, values![id]).await?;
    name(tx, repo_id, id, &put.manifest, known).await?;
    blobs::release(tx, repo_id, &before, None, put.now).await?;
    trust::moves(tx, repo_id).await
}

async fn insert<C: Conn>(tx: &mut C, repo_id: i64, put: &Put, known: &Known) -> Result<i64> {
    let manifest = &put.manifest;
    let digest = manifest.digest.to_string();
    let values = &[
        repo_id.into(),
        digest.as_str().into(),
        manifest.media_type.as_str().into(),
        Value::text_option(manifest.artifact_type.as_deref()),
        Value::shown_option(manifest.subject.as_ref()),
        Value::text_option(manifest.referrer.as_deref()),
        put.now.into(),
        manifest.payload.as_ref().into(),
        Value::Int(manifest.signature_bytes.map(signed)),
    ];
    let id: i64 = tx.scalar(&sql::INSERT, values).await?;
    name(tx, repo_id, id, manifest, known).await?;
    if tx.run(&sql::FILL_CHILDREN, values![repo_id, digest.as_str(), id]).await? > 0 {
        // It may have been judged already, and these indexes may vouch for it.
        trust::moves(tx, repo_id).await?;
    }
    tx.run(&sql::DROP_WAITING_EDGES, values![repo_id, digest.as_str()]).await?;
    tx.run(&sql::KEEP_REFERRERS, values![repo_id, digest.as_str()]).await?;
    Ok(id)
}

/// Writes down what a manifest names, of which nothing is there yet.
async fn name<C: Conn>(tx: &mut C, repo_id: i64, id: i64, manifest: &NewManifest, known: &Known) -> Result<()> {
    tx.run(&sql::INSERT_EDGES, &[id.into(), repo_id.into(), Value::rows(&known.edges(manifest))]).await?;
    tx.run(&sql::INSERT_CHILDREN, &[id.into(), repo_id.into(), Value::rows(&known.children(manifest))]).await?;
    Ok(())
}

/// Takes the blobs from a manifest that it named, and says which those were, in order; their memberships are locked. What it
/// lists is let go.
async fn unname<C: Conn>(tx: &mut C, repo_id: i64, id: i64, now: Timestamp) -> Result<Vec<i64>> {
    let known: Vec<i64> = tx.column(&sql::NAMED_BLOBS, values![id]).await?;
    blobs::lock(tx, repo_id, &known).await?;
    let gone: Vec<Option<i64>> = tx.column(&sql::DELETE_EDGES, values![id]).await?;
    let mut named: Vec<i64> = gone.into_iter().flatten().collect();
    named.sort_unstable();
    named.dedup();
    if named != known {
        // A blob that one of the edges waited for has come since.
        blobs::lock(tx, repo_id, &named).await?;
    }
    tx.run(&sql::FREE_CHILDREN, values![id, repo_id, now]).await?;
    Ok(named)
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
    by: Actor,
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
            by: delete.by.clone(),
        }
    }
}

pub(super) async fn delete<C: Conn>(tx: &mut C, delete: &Delete) -> Result<ManifestDeleted> {
    let Some(repo_id) = repositories::find(tx, &delete.repo, Hold::Writing).await? else {
        return Ok(ManifestDeleted::Unknown);
    };
    let digest = delete.digest.to_string();
    let found: Option<(String, i64)> = tx.first(&sql::IDS, values![repo_id, [digest.clone()].as_slice()]).await?;
    let Some((_, id)) = found else { return Ok(ManifestDeleted::Unknown) };
    let parent: Option<(String,)> = tx.first(&sql::PARENT, values![id, repo_id]).await?;
    if let Some((parent,)) = parent {
        return parse("manifests", "digest", format!("listing {id}"), &parent).map(ManifestDeleted::Referenced);
    }
    let names: Vec<String> = tx.column(&OF_MANIFEST, values![id, repo_id]).await?;
    let tags: Vec<Tag> = names.iter().map(|name| parse("tags", "name", id, name)).collect::<Result<_>>()?;
    if let Some(tag) = tags.iter().find(|tag| delete.immutable.covers(&delete.repo, tag)) {
        return Ok(ManifestDeleted::Immutable(tag.clone()));
    }
    let (leases, referrers) = (delete.end_leases_before, delete.referrers_until);
    let blobs = end(tx, repo_id, id, &digest, leases, referrers, delete.now).await?;
    let event = Happened::manifest_deleted(delete.repo.as_str(), &digest, &tags);
    audit::write_all(tx, &delete.by, delete.now, &[event]).await?;
    Ok(ManifestDeleted::Deleted(blobs.into_iter().map(BlobId).collect()))
}

/// Ends a manifest that no index lists, and its tags; says which blobs it named.
pub(super) async fn end<C: Conn>(
    tx: &mut C,
    repo_id: i64,
    id: i64,
    digest: &str,
    end_leases_before: Option<Timestamp>,
    referrers_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<i64>> {
    tx.run(&EVENTS_OF_MANIFEST, values![id, repo_id, now]).await?;
    tx.run(&DELETE_OF_MANIFEST, values![id, repo_id]).await?;
    let blobs = remove(tx, repo_id, id, digest, referrers_until, now).await?;
    blobs::release(tx, repo_id, &blobs, end_leases_before, now).await?;
    Ok(blobs)
}

/// Removes a manifest that has no tag and no parent; its referrers may go from `referrers_until` on.
///
/// Says which blobs it named, in order; their memberships are locked.
pub(super) async fn remove<C: Conn>(
    tx: &mut C,
    repo_id: i64,
    id: i64,
    digest: &str,
    referrers_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<i64>> {
    let named = unname(tx, repo_id, id, now).await?;
    let done = tx.run(&sql::DELETE, values![id]).await?;
    expect_rows(&sql::DELETE, 1, done)?;
    trust::forget(tx, repo_id, digest).await?;
    trust::moves(tx, repo_id).await?;
    tx.run(&sql::END_REFERRERS, values![repo_id, digest, referrers_until]).await?;
    Ok(named)
}
