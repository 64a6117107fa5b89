//! Damage, and the passes that look for it, as the store gives and takes them.

use bytes::Bytes;

use super::accounts::Actor;
use super::{BlobId, BlobLocation};
use crate::clock::Timestamp;
use crate::oci::digest::Digest;

/// A blob whose bytes were found wrong or missing.
#[derive(Clone, Debug)]
pub struct BlobDamage {
    /// Which.
    pub id: BlobId,
    /// Where the bytes were looked for; elsewhere there may be better ones by now.
    pub location: BlobLocation,
    /// What is wrong with them.
    pub reason: String,
    /// Now.
    pub now: Timestamp,
    /// Who found it.
    pub by: Actor,
}

/// A manifest as it stands in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBytes {
    /// Row id.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub payload: Bytes,
    /// Since when its bytes are known to be wrong.
    pub damaged_at: Option<Timestamp>,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A manifest whose bytes were found wrong.
#[derive(Clone, Debug)]
pub struct ManifestDamage {
    /// Row id.
    pub id: i64,
    /// The wrong bytes; others there are may be right.
    pub payload: Bytes,
    /// What is wrong with them.
    pub reason: String,
    /// Now.
    pub now: Timestamp,
    /// Who found it.
    pub by: Actor,
}

/// What a pass is at. The order is that in which it comes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScrubStage {
    /// Blobs.
    Blobs,
    /// Manifests.
    Manifests,
}

/// One pass over everything that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubPass {
    /// When it began.
    pub began_at: Timestamp,
    /// When it had read everything.
    pub finished_at: Option<Timestamp>,
    /// What it is at.
    pub stage: ScrubStage,
    /// The row id of the last one that is behind it.
    pub after: i64,
    /// Blobs and manifests that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those among them that were found damaged.
    pub damaged: u64,
}

impl ScrubPass {
    /// One that has read nothing yet.
    pub fn begun(now: Timestamp) -> Self {
        let (stage, after) = (ScrubStage::Blobs, i64::MIN);
        Self { began_at: now, finished_at: None, stage, after, objects: 0, bytes: 0, damaged: 0 }
    }
}

/// A node's wish to go on with the pass that is under way, or to begin one.
#[derive(Clone, Debug)]
pub struct ScrubTake {
    /// The node.
    pub node: String,
    /// Now.
    pub now: Timestamp,
    /// Until when it keeps others from it.
    pub until: Timestamp,
    /// A new pass begins when the last one began then, or earlier.
    pub due: Timestamp,
}
