//! Tags.

use std::collections::HashMap;

use serde_json::json;

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::audit::{Event, write_down};
use crate::metadata::logic::repositories::Hold;
use crate::metadata::logic::{Conn, Value, repositories, trust, values};
use crate::metadata::model::TagDeleted;
use crate::metadata::model::accounts::Actor;
use crate::metadata::rows::{expect_rows, parse, text_after, texts};
use crate::metadata::sql::manifests::{MARK_TAGGED, MARK_UNTAGGED};
use crate::metadata::sql::repositories::HAS_MANIFEST;
use crate::metadata::sql::tags as sql;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};

/// What a tag points to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) manifest_id: i64,
    pub(super) digest: Digest,
}

pub(super) async fn list<C: Conn>(
    conn: &mut C,
    repo: &RepoName,
    after: Option<&str>,
    limit: u32,
) -> Result<Option<Vec<Tag>>> {
    let values = values![repo.as_str(), text_after(after), limit];
    let (names,): (Option<String>,) = conn.one_again(&sql::LIST, values).await?;
    let Some(names) = names else {
        let known = conn.scalar::<bool>(&HAS_MANIFEST, values![repo.as_str()]).await?;
        return Ok(known.then(Vec::new));
    };
    let tag = |name: &str| parse("tags", "name", repo, name);
    let mut tags = names.split(',').map(tag).collect::<Result<Vec<Tag>>>()?;
    tags.sort_unstable();
    Ok(Some(tags))
}

/// What these tags point to now, those that exist.
pub(super) async fn find<C: Conn>(
    conn: &mut C,
    repo_id: i64,
    tags: impl IntoIterator<Item = &Tag> + Send,
) -> Result<HashMap<String, Target>> {
    let names = texts(tags);
    let rows: Vec<(String, i64, String)> = conn.all(&sql::FIND, values![repo_id, names.as_slice()]).await?;
    rows.into_iter()
        .map(|(name, manifest_id, digest)| {
            let digest = parse("manifests", "digest", manifest_id, &digest)?;
            Ok((name, Target { manifest_id, digest }))
        })
        .collect()
}

/// Points tags to a manifest; `current` is what [`find`] gave for them.
pub(super) async fn set<C: Conn>(
    tx: &mut C,
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
        let set = tx.run(&sql::SET, values![repo_id, tag.as_str(), target.manifest_id, now]).await?;
        expect_rows(&sql::SET, 1, set)?;
        event(tx, repo_id, tag, old.map(|old| &old.digest), Some(&target.digest), now).await?;
        if let Some(old) = old {
            mark_untagged(tx, old.manifest_id, now).await?;
        }
    }
    if !tags.is_empty() {
        tx.run(&MARK_TAGGED, values![target.manifest_id]).await?;
    }
    Ok(())
}

/// Deletes a tag; `protected` when it cannot go.
pub(super) async fn delete<C: Conn>(
    tx: &mut C,
    repo: &RepoName,
    tag: &Tag,
    protected: bool,
    now: Timestamp,
    by: &Actor,
) -> Result<TagDeleted> {
    let Some(repo_id) = repositories::find(tx, repo, Hold::Writing).await? else { return Ok(TagDeleted::Unknown) };
    let Some(old) = find(tx, repo_id, [tag]).await?.remove(tag.as_str()) else {
        return Ok(TagDeleted::Unknown);
    };
    if protected {
        return Ok(TagDeleted::Immutable);
    }
    let deleted = tx.run(&sql::DELETE, values![repo_id, tag.as_str()]).await?;
    expect_rows(&sql::DELETE, 1, deleted)?;
    event(tx, repo_id, tag, Some(&old.digest), None, now).await?;
    mark_untagged(tx, old.manifest_id, now).await?;
    if is_signature_tag(tag) {
        trust::moves(tx, repo_id).await?;
    }
    let (subject, detail) = (format!("{repo}:{tag}"), json!({"digest": old.digest.to_string()}));
    write_down(tx, by, Event { kind: "tag.delete", subject: &subject, detail, now }).await?;
    Ok(TagDeleted::Deleted)
}

/// Whether signatures may be found under a tag, as cosign names them: `sha256-<digest>`, with a suffix or without.
pub(super) fn is_signature_tag(tag: &Tag) -> bool {
    tag.as_str().starts_with("sha256-") || tag.as_str().starts_with("sha512-")
}

async fn mark_untagged<C: Conn>(tx: &mut C, manifest_id: i64, now: Timestamp) -> Result<()> {
    tx.run(&MARK_UNTAGGED, values![manifest_id, now]).await?;
    Ok(())
}

async fn event<C: Conn>(
    tx: &mut C,
    repo_id: i64,
    tag: &Tag,
    old: Option<&Digest>,
    new: Option<&Digest>,
    now: Timestamp,
) -> Result<()> {
    let values = &[repo_id.into(), tag.as_str().into(), Value::shown_option(old), Value::shown_option(new), now.into()];
    tx.run(&sql::EVENT, values).await?;
    Ok(())
}
