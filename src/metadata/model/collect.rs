//! What retention and collection ask and are told, and what repositories take.

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::oci::digest::Digest;
use crate::oci::name::{RepoName, Tag};
use crate::storage::{DriverState, Key};

/// What retention has to know of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFacts {
    /// Row id.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
    /// When it was last pushed, to the hour.
    pub pushed_at: Timestamp,
    /// When it, or a manifest that it lists, was last asked for, to the hour.
    pub pulled_at: Option<Timestamp>,
    /// Since when it has no tag.
    pub untagged_since: Option<Timestamp>,
    /// Its tags in byte order.
    pub tags: Vec<Tag>,
    /// When the newest of them was set.
    pub tagged_at: Option<Timestamp>,
    /// Whether an index lists it, or what it refers to is there.
    pub held: bool,
}

/// Manifests that retention takes, as one transaction.
#[derive(Debug)]
pub struct ManifestRetire<'a> {
    /// Where.
    pub repo: &'a RepoName,
    /// Which, as they were when that was decided; one whose facts have changed stays.
    pub manifests: &'a [ManifestFacts],
    /// When referrers of a subject that is gone may go.
    pub referrers_until: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Who does it.
    pub by: &'a Actor,
}

/// How [`ManifestRetire`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestsRetired {
    /// These are gone, by row id, and their tags.
    Retired(Vec<i64>),
    /// Somebody is just writing in that repository; nothing was done.
    Busy,
}

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GarbageKind {
    /// An upload session past its expiry.
    Session,
    /// A referrer whose subject is gone for long enough.
    Referrer,
    /// A repository's blob that no manifest names and no lease holds.
    Membership,
    /// A blob that no repository has.
    Blob,
    /// An object that waits to be removed.
    Object,
}

/// One piece of garbage, as a sweep would find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Where; `None` for what belongs to no repository.
    pub repo: Option<RepoName>,
    /// Session id, digest or object key.
    pub name: String,
    /// Its bytes, as far as they are known; for a membership those of the blob, when no other repository has it.
    pub bytes: u64,
    /// Since when it is garbage; for an object, before when it is not removed.
    pub at: Timestamp,
    /// Where the next page begins.
    pub cursor: GarbageCursor,
}

/// Behind which piece of garbage a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageCursor {
    /// Row ids.
    pub ids: (i64, i64),
    /// Session id or object key.
    pub name: String,
}

/// What one repository takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryUsage {
    /// Which.
    pub repo: RepoName,
    /// Its manifests.
    pub manifests: u64,
    /// Its blobs, each once.
    pub blobs: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes of those that another repository has too.
    pub shared_bytes: u64,
}

/// What some repositories take together, each blob counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalUsage {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An object that must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its key.
    pub key: Key,
    /// Set when it is an unfinished upload: abort it.
    pub driver_state: Option<DriverState>,
    /// Size in bytes, as far as it is known.
    pub size: u64,
    /// How often it was tried.
    pub attempts: u32,
}

/// Keeps objects from being removed although their rows are gone, as a backup needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeHold {
    /// Whose it is.
    pub name: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// What one pass of the collector found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Rows removed.
    pub rows: u64,
    /// Bytes that will come back.
    pub bytes: u64,
    /// Rows looked at; a full batch means there may be more.
    pub seen: u64,
}
