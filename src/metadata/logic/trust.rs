//! Signatures, verdicts and the policy document.

use std::collections::HashMap;

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::trust::{
    NamingManifest, PolicyEntry, PolicyPut, PolicyRecord, ReachedManifest, SignatureRecord, Standing, Stood, TrustGuard,
};
use crate::metadata::rows::{parse, texts, unsigned};
use crate::metadata::sql::retention::PAGE;
use crate::metadata::sql::trust as sql;
use crate::metadata::{MetadataError, Result};
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};

pub(super) async fn standing<C: Conn>(conn: &mut C, repo: &RepoName) -> Result<Option<Standing>> {
    let row: Option<(i64, i64)> = conn.first(&sql::STANDING, values![repo.as_str()]).await?;
    Ok(row.map(|(repository, generation)| Standing { repository, generation }))
}

/// Whether what a tag was judged by is still so. The repository is the caller's alone, and was so before this is asked: a
/// statement that waits for it would answer with the policies of before it waited.
pub(super) async fn still<C: Conn>(tx: &mut C, repo_id: Option<i64>, guard: &TrustGuard) -> Result<bool> {
    let (generation, policy): (Option<i64>, i64) = tx.one(&sql::STANDS, values![repo_id.unwrap_or(0)]).await?;
    let standing = || match (repo_id, generation) {
        (Some(repository), Some(generation)) => Stood::At(Standing { repository, generation }),
        _ => Stood::Nowhere,
    };
    let stands = guard.stood == Stood::Anywhere || guard.stood == standing();
    Ok(stands && guard.policy.is_none_or(|judged| judged == policy))
}

/// The signatures of a repository change.
pub(super) async fn moves<C: Conn>(tx: &mut C, repo_id: i64) -> Result<()> {
    tx.run(&sql::MOVE, values![repo_id]).await.map(drop)
}

/// Forgets what was found out about a manifest that goes.
pub(super) async fn forget<C: Conn>(tx: &mut C, repo_id: i64, digest: &str) -> Result<()> {
    tx.run(&sql::FORGET_VERDICT, values![repo_id, digest]).await.map(drop)
}

/// The same of a repository.
pub(super) async fn forget_all<C: Conn>(tx: &mut C, repo_id: i64) -> Result<()> {
    tx.run(&sql::FORGET_VERDICTS, values![repo_id]).await.map(drop)
}

pub(super) async fn signatures<C: Conn>(
    conn: &mut C,
    repo_id: i64,
    subject: &Digest,
    tags: &[Tag],
    limit: u32,
) -> Result<Vec<SignatureRecord>> {
    let tags = texts(tags);
    let values = &[repo_id.into(), Value::shown(subject), tags.as_slice().into(), limit.into()];
    signature_records(conn.all(&sql::SIGNATURES, values).await?)
}

pub(super) async fn known_signatures<C: Conn>(
    conn: &mut C,
    repo_id: i64,
    subject: &Digest,
    tags: &[Tag],
    known: &[Digest],
) -> Result<Vec<SignatureRecord>> {
    let (tags, known) = (texts(tags), texts(known));
    let values = &[repo_id.into(), Value::shown(subject), tags.as_slice().into(), known.as_slice().into()];
    signature_records(conn.all(&sql::KNOWN_SIGNATURES, values).await?)
}

fn signature_records(rows: Vec<(String, i64)>) -> Result<Vec<SignatureRecord>> {
    let record = |(digest, bytes): (String, i64)| {
        let bytes = unsigned("manifests", "signature_bytes", &digest, bytes)?;
        Ok(SignatureRecord { digest: parse("manifests", "digest", &digest, &digest)?, bytes })
    };
    rows.into_iter().map(record).collect()
}

pub(super) async fn parents<C: Conn>(conn: &mut C, repo_id: i64, digest: &Digest, limit: u32) -> Result<Vec<Digest>> {
    let digests: Vec<String> =
        conn.column(&sql::PARENTS, &[repo_id.into(), Value::shown(digest), limit.into()]).await?;
    digests.iter().map(|digest| parse("manifests", "digest", digest, digest)).collect()
}

pub(super) async fn naming<C: Conn>(
    conn: &mut C,
    repo_id: i64,
    blob: &Digest,
    limit: u32,
) -> Result<Vec<NamingManifest>> {
    let rows: Vec<(String, bool, bool)> =
        conn.all(&sql::NAMING, &[repo_id.into(), Value::shown(blob), limit.into()]).await?;
    let record = |(digest, is_signature, is_layer): (String, bool, bool)| {
        Ok(NamingManifest { digest: parse("manifests", "digest", &digest, &digest)?, is_signature, is_layer })
    };
    rows.into_iter().map(record).collect()
}

record! {
    struct ReachedRow {
        id: i64,
        digest: String,
        is_signature: bool,
        is_reached: bool,
    }
}

/// Manifests of a repository in digest order; the first of their tags are read by another statement.
pub(super) async fn reached<C: Conn>(
    conn: &mut C,
    repo_id: i64,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Vec<ReachedManifest>> {
    let after = after.map(Digest::to_string).unwrap_or_default();
    let ids: Vec<i64> = conn.column(&PAGE, values![repo_id, after.as_str(), limit]).await?;
    let rows: Vec<ReachedRow> = conn.all(&sql::REACHED, values![repo_id, ids.as_slice()]).await?;
    let most = u32::try_from(ReachedManifest::TAGS_MAX).unwrap_or(u32::MAX);
    let named: Vec<(i64, String)> = conn.all(&sql::FIRST_TAGS, values![repo_id, ids.as_slice(), most]).await?;
    let mut tags: HashMap<i64, Vec<Tag>> = HashMap::new();
    for (manifest, name) in named {
        tags.entry(manifest).or_default().push(parse("tags", "name", manifest, &name)?);
    }
    let record = |row: ReachedRow| {
        let digest = parse("manifests", "digest", row.id, &row.digest)?;
        let tags = tags.remove(&row.id).unwrap_or_default();
        Ok(ReachedManifest { digest, is_signature: row.is_signature, is_reached: row.is_reached, tags })
    };
    rows.into_iter().map(record).collect()
}

record! {
    struct PolicyRow {
        id: i64,
        document: String,
        revision: Option<String>,
        actor: String,
        created_at: i64,
    }
}

impl From<PolicyRow> for PolicyRecord {
    fn from(row: PolicyRow) -> Self {
        let PolicyRow { id, document, revision, actor, created_at } = row;
        Self { id, document, revision, actor, created_at: Timestamp::from_micros(created_at) }
    }
}

record! {
    struct PolicyEntryRow {
        id: i64,
        revision: Option<String>,
        bytes: i64,
        actor: String,
        created_at: i64,
    }
}

impl TryFrom<PolicyEntryRow> for PolicyEntry {
    type Error = MetadataError;

    fn try_from(row: PolicyEntryRow) -> Result<Self> {
        let PolicyEntryRow { id, revision, bytes, actor, created_at } = row;
        let bytes = unsigned("trust_policies", "document", id, bytes)?;
        Ok(Self { id, revision, bytes, actor, created_at: Timestamp::from_micros(created_at) })
    }
}

pub(super) async fn policy_id<C: Conn>(conn: &mut C) -> Result<i64> {
    conn.scalar(&sql::POLICY_ID, &[]).await
}

pub(super) async fn policy<C: Conn>(conn: &mut C) -> Result<Option<PolicyRecord>> {
    let row: Option<PolicyRow> = conn.first(&sql::POLICY, &[]).await?;
    Ok(row.map(PolicyRecord::from))
}

pub(super) async fn policy_with<C: Conn>(conn: &mut C, id: i64) -> Result<Option<PolicyRecord>> {
    let row: Option<PolicyRow> = conn.first(&sql::POLICY_WITH, values![id]).await?;
    Ok(row.map(PolicyRecord::from))
}

pub(super) async fn policies<C: Conn>(conn: &mut C, before: i64, limit: u32) -> Result<Vec<PolicyEntry>> {
    let rows: Vec<PolicyEntryRow> = conn.all(&sql::POLICIES, values![before, limit]).await?;
    rows.into_iter().map(PolicyEntry::try_from).collect()
}

pub(super) async fn put_policy<C: Conn>(tx: &mut C, put: &PolicyPut) -> Result<Option<i64>> {
    tx.run(&sql::LOCK_POLICIES, &[]).await?;
    let current = policy_id(tx).await?;
    if put.replaces.is_some_and(|replaces| replaces != current) {
        return Ok(None);
    }
    let actor = put.by.name.as_deref().unwrap_or_default();
    let values = values![put.document.as_str(), put.revision.as_str(), actor, put.now];
    let id = tx.scalar(&sql::PUT_POLICY, values).await?;
    let detail = json!({"revision": put.revision, "number": id});
    let event = Event { kind: "trust.policy", subject: "", detail, now: put.now };
    write_down(tx, &put.by, event).await?;
    Ok(Some(id))
}
