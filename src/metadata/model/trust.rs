//! What signature policies are judged by: where a repository stands, which signatures it has, what was found out.

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::oci::digest::Digest;
use crate::oci::name::Tag;

/// Which state of a repository's signatures something was read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Row id of the repository, which no other one ever gets.
    pub repository: i64,
    /// Moves with every change of its signatures and indexes.
    pub generation: i64,
}

/// A signature artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRecord {
    /// Its manifest.
    pub digest: Digest,
    /// Bytes of the signatures that it carries.
    pub bytes: u64,
}

/// A manifest that names a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingManifest {
    /// Its digest.
    pub digest: Digest,
    /// Whether it carries signatures and nothing else.
    pub is_signature: bool,
    /// Whether the blob is one of its layers, and not its config alone.
    pub is_layer: bool,
}

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Its number; later ones are larger.
    pub id: i64,
    /// Its text; empty: no policy.
    pub document: String,
    /// Its revision; `None`: it was stored before that was written down.
    pub revision: Option<String>,
    /// Who wrote it.
    pub actor: String,
    /// When.
    pub created_at: Timestamp,
}

/// A policy document without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// Its number; later ones are larger.
    pub id: i64,
    /// Its revision; `None`: it was stored before that was written down.
    pub revision: Option<String>,
    /// Bytes of its text.
    pub bytes: u64,
    /// Who wrote it.
    pub actor: String,
    /// When.
    pub created_at: Timestamp,
}

/// A manifest, and whether a tag leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Whether it carries signatures and nothing else.
    pub is_signature: bool,
    /// Whether a tag leads to it, by itself or through indexes that list it.
    pub is_reached: bool,
    /// The first of its own tags in byte order, [`TAGS_MAX`](Self::TAGS_MAX) at most.
    pub tags: Vec<Tag>,
}

impl ReachedManifest {
    /// Most tags that are told.
    pub const TAGS_MAX: usize = 16;
}

/// A policy document that takes the place of another one.
#[derive(Clone, Debug)]
pub struct PolicyPut {
    /// Its text.
    pub document: String,
    /// The number of the one whose place it takes; `None`: whichever it is.
    pub replaces: Option<i64>,
    /// Its revision.
    pub revision: String,
    /// Now.
    pub now: Timestamp,
    /// Who writes it.
    pub by: Actor,
}

/// Where a repository stood when something in it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// It does not matter: no policy asked for signatures.
    Anywhere,
    /// It was not there.
    Nowhere,
    /// Here.
    At(Standing),
}

/// What must still be so when a tag is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustGuard {
    /// Where the repository stood.
    pub stood: Stood,
    /// The number of the policy document in the database, 0 for none; `None`: the policies are not from there.
    pub policy: Option<i64>,
}
