//! Damage, and the passes that look for it.

use bytes::Bytes;
use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::{Conn, Value, record, values};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::scrub::{BlobDamage, ManifestBytes, ManifestDamage, ScrubPass, ScrubStage, ScrubTake};
use crate::metadata::model::{BlobId, BlobLocation, NewManifest};
use crate::metadata::rows::{expect_rows, inconsistent, parse, records, signed, unsigned};
use crate::metadata::sql::checks as sql;
use crate::metadata::{MetadataError, Result};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::storage::Key;

/// Repositories that the event of a blob names; a base image may be in thousands.
const REPOSITORIES_MAX: u32 = 20;

record! {
    /// The row of `scrub`.
    struct PassRow {
        began_at: i64,
        finished_at: Option<i64>,
        stage: i64,
        after_id: i64,
        objects: i64,
        bytes: i64,
        damaged: i64,
    }
}

impl TryFrom<PassRow> for ScrubPass {
    type Error = MetadataError;

    fn try_from(row: PassRow) -> Result<Self> {
        let stage = match row.stage {
            0 => ScrubStage::Blobs,
            1 => ScrubStage::Manifests,
            other => return Err(inconsistent("scrub", "stage", 1, format!("{other} is none"))),
        };
        Ok(Self {
            began_at: Timestamp::from_micros(row.began_at),
            finished_at: row.finished_at.map(Timestamp::from_micros),
            stage,
            after: row.after_id,
            objects: unsigned("scrub", "objects", 1, row.objects)?,
            bytes: unsigned("scrub", "bytes", 1, row.bytes)?,
            damaged: unsigned("scrub", "damaged", 1, row.damaged)?,
        })
    }
}

record! {
    /// A row of `manifests` as whoever reads it again sees it.
    struct BytesRow {
        id: i64,
        digest: String,
        payload: Vec<u8>,
        damaged_at: Option<i64>,
        created_at: i64,
    }
}

impl TryFrom<BytesRow> for ManifestBytes {
    type Error = MetadataError;

    fn try_from(row: BytesRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            digest: parse("manifests", "digest", row.id, &row.digest)?,
            payload: Bytes::from(row.payload),
            damaged_at: row.damaged_at.map(Timestamp::from_micros),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

pub(super) async fn damage<C: Conn>(tx: &mut C, damage: &BlobDamage) -> Result<bool> {
    let BlobDamage { id, location, reason, now, by } = damage;
    // What was found says nothing about other bytes: those under another key, or in the row since.
    let marked: Option<(String,)> = match location {
        BlobLocation::Object(key) => tx.first(&sql::DAMAGE_OBJECT, values![id.0, key.as_str(), *now]).await?,
        BlobLocation::Inline(bytes) => tx.first(&sql::DAMAGE_INLINE, values![id.0, bytes.as_ref(), *now]).await?,
    };
    let Some((digest,)) = marked else { return Ok(false) };
    let repositories = repositories(tx, id.0).await?;
    let detail = json!({"reason": reason, "repositories": repositories});
    write_down(tx, by, Event { kind: "blob.damage", subject: &digest, detail, now: *now }).await?;
    Ok(true)
}

/// Bytes that are right have taken the place of a blob's damaged ones.
pub(super) async fn healed<C: Conn>(tx: &mut C, id: i64, digest: &Digest, now: Timestamp) -> Result<()> {
    write_heal(tx, id, &digest.to_string(), &Actor::default(), now).await
}

/// The bytes that were found wrong are right after all, as long as they are still the blob's.
pub(super) async fn unmark<C: Conn>(tx: &mut C, id: BlobId, key: &Key, now: Timestamp, by: &Actor) -> Result<bool> {
    let unmarked: Option<(String,)> = tx.first(&sql::UNMARK_OBJECT, values![id.0, key.as_str()]).await?;
    let Some((digest,)) = unmarked else { return Ok(false) };
    write_heal(tx, id.0, &digest, by, now).await?;
    Ok(true)
}

async fn write_heal<C: Conn>(tx: &mut C, id: i64, digest: &str, by: &Actor, now: Timestamp) -> Result<()> {
    let detail = json!({"repositories": repositories(tx, id).await?});
    write_down(tx, by, Event { kind: "blob.heal", subject: digest, detail, now }).await
}

async fn repositories<C: Conn>(tx: &mut C, id: i64) -> Result<Vec<String>> {
    tx.column(&sql::REPOSITORIES_OF_BLOB, values![id, REPOSITORIES_MAX]).await
}

pub(super) async fn manifests<C: Conn>(conn: &mut C, after: i64, limit: u32) -> Result<Vec<ManifestBytes>> {
    let rows: Vec<BytesRow> = conn.all(&sql::SCAN_MANIFESTS, values![after, limit]).await?;
    records(rows)
}

pub(super) async fn damage_manifest<C: Conn>(tx: &mut C, damage: &ManifestDamage) -> Result<bool> {
    let ManifestDamage { id, payload, reason, now, by } = damage;
    let marked: Option<(String, String)> =
        tx.first(&sql::DAMAGE_MANIFEST, values![*id, payload.as_ref(), *now]).await?;
    let Some((digest, path)) = marked else { return Ok(false) };
    let subject = format!("{path}@{digest}");
    let detail = json!({"reason": reason});
    write_down(tx, by, Event { kind: "manifest.damage", subject: &subject, detail, now: *now }).await?;
    Ok(true)
}

/// The bytes of a manifest came again; if those that are there are wrong, they take their place.
pub(super) async fn heal_manifest<C: Conn>(
    tx: &mut C,
    id: i64,
    repo: &RepoName,
    manifest: &NewManifest,
    by: &Actor,
    now: Timestamp,
) -> Result<()> {
    if tx.run(&sql::HEAL_MANIFEST, values![id, manifest.payload.as_ref()]).await? == 0 {
        return Ok(());
    }
    let subject = format!("{repo}@{}", manifest.digest);
    let event = Event { kind: "manifest.heal", subject: &subject, detail: json!({}), now };
    write_down(tx, by, event).await
}

/// Whether a transaction that takes the pass is worth while.
pub(super) async fn is_due<C: Conn>(conn: &mut C, take: &ScrubTake) -> Result<bool> {
    conn.scalar(&sql::DUE, values![take.node.as_str(), take.now, take.due]).await
}

pub(super) async fn take<C: Conn>(tx: &mut C, take: &ScrubTake) -> Result<Option<ScrubPass>> {
    let values = values![take.node.as_str(), take.now, take.due, take.until];
    let taken: Option<PassRow> = tx.first(&sql::TAKE, values).await?;
    let Some(row) = taken else { return Ok(None) };
    if row.finished_at.is_none() {
        return ScrubPass::try_from(row).map(Some);
    }
    let pass = ScrubPass::begun(take.now);
    let kept = keep(tx, &take.node, &pass, take.until).await?;
    expect_rows(&sql::KEEP, 1, u64::from(kept))?;
    Ok(Some(pass))
}

pub(super) async fn keep<C: Conn>(tx: &mut C, node: &str, pass: &ScrubPass, until: Timestamp) -> Result<bool> {
    let stage: i64 = match pass.stage {
        ScrubStage::Blobs => 0,
        ScrubStage::Manifests => 1,
    };
    let values: &[Value<'_>] = &[
        node.into(),
        until.into(),
        pass.began_at.into(),
        pass.finished_at.into(),
        stage.into(),
        pass.after.into(),
        signed(pass.objects).into(),
        signed(pass.bytes).into(),
        signed(pass.damaged).into(),
    ];
    Ok(tx.run(&sql::KEEP, values).await? == 1)
}
