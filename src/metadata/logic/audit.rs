//! The record of what happened: rows of the transaction in which it did.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::metadata::Result;
use crate::metadata::logic::tags::Target;
use crate::metadata::logic::{Conn, Value, outbox};
use crate::metadata::model::NewManifest;
use crate::metadata::model::accounts::Actor;
use crate::metadata::rows::expect_rows;
use crate::metadata::sql::audit as sql;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};

/// What happened, for the record.
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) subject: &'a str,
    pub(super) detail: Json,
    pub(super) now: Timestamp,
}

/// One of several things that happened at once.
pub(super) struct Happened<'a> {
    pub(super) kind: &'static str,
    pub(super) subject: Cow<'a, str>,
    pub(super) detail: Json,
}

impl<'a> Happened<'a> {
    pub(super) fn new(kind: &'static str, subject: impl Into<Cow<'a, str>>, detail: Json) -> Self {
        Self { kind, subject: subject.into(), detail }
    }

    /// The end of a manifest and of its tags.
    pub(super) fn manifest_deleted(repo: &str, digest: &str, tags: &[Tag]) -> Self {
        Self::new("manifest.delete", format!("{repo}@{digest}"), json!({"tags": names(tags)}))
    }
}

/// Writes down one thing.
pub(super) async fn write_down<C: Conn>(tx: &mut C, by: &Actor, event: Event<'_>) -> Result<()> {
    let Event { kind, subject, detail, now } = event;
    write_all(tx, by, now, &[Happened::new(kind, subject, detail)]).await
}

/// Writes down what one request did, by one statement, and puts it on its way to webhooks, by another if there are any at
/// all; nothing is fine.
pub(super) async fn write_all<C: Conn>(tx: &mut C, by: &Actor, now: Timestamp, events: &[Happened<'_>]) -> Result<()> {
    let address = by.address.map(|address| address.to_string());
    let (name, address) = (Value::text_option(by.name.as_deref()), Value::text_option(address.as_deref()));
    let request = Value::text_option(by.request_id.as_deref());
    let told: Vec<bool> = match events {
        [] => return Ok(()),
        [Happened { kind, subject, detail }] => {
            let detail = detail.to_string();
            let values =
                &[now.into(), (*kind).into(), name, address, request, subject.as_ref().into(), detail.as_str().into()];
            tx.column(&sql::EVENT, values).await?
        }
        several => {
            let row = |event: &Happened<'_>| json!([event.kind, event.subject, event.detail.to_string()]);
            let rows: Vec<Json> = several.iter().map(row).collect();
            let values = &[now.into(), name, address, request, Value::rows(&rows)];
            tx.column(&sql::EVENTS, values).await?
        }
    };
    expect_rows(&sql::EVENTS, events.len() as u64, told.len() as u64)?;
    if told.contains(&true) { outbox::enqueue(tx, by, now, events).await } else { Ok(()) }
}

/// A push, for the record.
pub(super) struct Push<'a> {
    pub(super) repo: &'a RepoName,
    pub(super) manifest: &'a NewManifest,
    /// The repository did not have it.
    pub(super) new: bool,
    /// The tags that point to it now.
    pub(super) tags: &'a [Tag],
    /// What they pointed to before.
    pub(super) before: &'a HashMap<String, Target>,
}

impl<'a> Push<'a> {
    /// One event, and one more for each tag that pointed elsewhere; none when nothing is different now.
    pub(super) fn events(&self) -> Vec<Happened<'a>> {
        let Self { repo, manifest, .. } = *self;
        let digest = &manifest.digest;
        let mut tags: Vec<&Tag> = self.tags.iter().collect();
        tags.sort_unstable();
        tags.dedup();
        let before = |tag: &Tag| self.before.get(tag.as_str()).map(|target| &target.digest);
        if !self.new && tags.iter().all(|tag| before(tag) == Some(digest)) {
            return Vec::new();
        }
        let size = manifest.payload.len();
        let detail = json!({"tags": names(tags.iter().copied()), "mediaType": manifest.media_type, "size": size});
        let push = Happened::new("manifest.push", format!("{repo}@{digest}"), detail);
        let moved = |tag: &&Tag| {
            let old = before(tag).filter(|old| *old != digest)?;
            Some(tag_moved(repo, tag, old, digest))
        };
        std::iter::once(push).chain(tags.iter().filter_map(moved)).collect()
    }
}

fn tag_moved<'a>(repo: &RepoName, tag: &Tag, old: &Digest, new: &Digest) -> Happened<'a> {
    let detail = json!({"old": old.to_string(), "new": new.to_string()});
    Happened::new("tag.move", format!("{repo}:{tag}"), detail)
}

fn names<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<&'a str> {
    tags.into_iter().map(Tag::as_str).collect()
}
