//! What goes into and comes out of a [`MetadataStore`](super::MetadataStore): plain values.

pub mod accounts;
pub mod audit;
pub mod certificates;
mod collect;
pub mod downloads;
pub mod limits;
pub mod publishers;
pub mod scrub;
pub mod trust;
pub mod verdicts;
pub mod webhooks;

use accounts::Actor;
use bytes::Bytes;
use trust::{Standing, TrustGuard};

use crate::clock::Timestamp;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::storage::{DriverState, Key};

pub use collect::{
    Collected, Deletion, Garbage, GarbageCursor, GarbageKind, ManifestFacts, ManifestRetire, ManifestsRetired,
    PurgeHold, RepositoryUsage, TotalUsage,
};

/// Row id of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub i64);

/// Where a blob's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobLocation {
    /// In the store.
    Object(Key),
    /// In the row itself.
    Inline(Bytes),
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// Row id.
    pub id: BlobId,
    /// Its digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub location: BlobLocation,
    /// Since when its bytes are known to be wrong or missing.
    pub damaged_at: Option<Timestamp>,
    /// When it was first committed.
    pub created_at: Timestamp,
}

/// A new lease of a blob by a HEAD.
#[derive(Clone, Copy, Debug)]
pub struct HeadLease {
    /// Now.
    pub now: Timestamp,
    /// Until when, for a blob that no manifest of the repository names.
    pub unreferenced_until: Timestamp,
    /// Until when, for one that a manifest names.
    pub referenced_until: Timestamp,
}

/// A mount of a blob from one repository into another.
#[derive(Clone, Debug)]
pub struct BlobMount {
    /// Where to; made when it is not there.
    pub to: RepoName,
    /// Where from; `None`: any repository.
    pub from: Option<RepoName>,
    /// Which blob.
    pub digest: Digest,
    /// Now.
    pub now: Timestamp,
    /// End of the lease it gets.
    pub lease_until: Timestamp,
}

/// Blobs of another registry's store that become members of a repository, where they are.
#[derive(Clone, Debug)]
pub struct BlobAdopt {
    /// Which, and where: key and size in bytes. Without it, a blob that has a row already.
    pub blobs: Vec<(Digest, Option<(Key, u64)>)>,
    /// Whether their objects stay when the blobs go.
    pub read_only: bool,
    /// Now.
    pub now: Timestamp,
    /// End of the leases they get.
    pub lease_until: Timestamp,
}

/// How a blob's membership ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobDeleted {
    /// It ended. The blob may now be garbage.
    Deleted(BlobId),
    /// The repository has no such blob.
    Unknown,
    /// This manifest of the repository names it.
    Referenced(Digest),
}

/// A blob about to be committed.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Its digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub location: BlobLocation,
    /// Now.
    pub now: Timestamp,
    /// End of the lease it gets.
    pub lease_until: Timestamp,
    /// Before when the object of a damaged blob, whose place it takes, is not removed.
    pub replaced_until: Timestamp,
}

/// An upload session's public identifier: 16 bytes, written as a lower-case hyphenated UUID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// From bytes of which six bits are given: version 8, whose meaning is its maker's own (RFC 9562, section 5.8).
    pub fn from_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex = hex::encode(bytes);
        Self(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// The bytes, as [`from_bytes`](Self::from_bytes) left them.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // What was parsed has 32 hexadecimal digits.
        let _ = hex::decode_to_slice(self.hex(), &mut bytes);
        bytes
    }

    /// From a path; `None` when it is not a UUID in its usual form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        fits.then(|| Self(text.to_owned()))
    }

    /// As it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 hexadecimal digits, for object keys.
    pub fn hex(&self) -> String {
        self.0.replace('-', "")
    }
}

/// A session about to be written down, which happens when there is something to remember of it.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Who began it.
    pub principal: Option<String>,
    /// Its first bytes, perhaps none.
    pub tail: Bytes,
    /// Saved hasher behind them.
    pub hash_state: Vec<u8>,
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// It takes bytes.
    Open,
    /// Its object is being completed under this digest.
    Completing(Digest),
    /// It became this blob; kept for a while so that a repeated PUT gets its 201 again.
    Committed(Digest),
    /// It ended without a blob; kept for as long as a session could begin under its name.
    Ended,
}

/// A session.
#[derive(Clone, Debug)]
pub struct UploadRecord {
    /// Its identifier.
    pub id: UploadId,
    /// Key of its object, once it was chosen.
    pub object_key: Option<Key>,
    /// The driver's state at `received` minus the tail.
    pub driver_state: DriverState,
    /// Bytes taken so far, the tail included.
    pub received: u64,
    /// Saved hasher at `received`.
    pub hash_state: Vec<u8>,
    /// Fencing number: whoever took the session last has the highest.
    pub epoch: i64,
    /// Who began it.
    pub principal: Option<String>,
    /// How far it is.
    pub state: UploadState,
    /// The last bytes before `received` that are in no object yet; read only by `upload_take`.
    pub tail: Bytes,
}

/// The right to write to a session, as long as nobody takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadHold {
    /// Which session.
    pub id: UploadId,
    /// The fencing number it was taken under.
    pub epoch: i64,
}

/// A wish to write to a session.
#[derive(Clone, Debug)]
pub struct UploadTake {
    /// Who asks. To anybody but the one who began it, the session is unknown, and stays as it is.
    pub principal: Option<String>,
    /// Where the client wants to go on; `None`: wherever it stands.
    pub offset: Option<u64>,
    /// Which node asks.
    pub owner: String,
    /// New expiry.
    pub expires_at: Timestamp,
    /// Where its object will be, unless that is decided; on record before the first byte goes there.
    pub key: Option<Key>,
    /// What it is when nothing of it is written down yet; `None`: then it is unknown.
    pub begin: Option<NewUpload>,
}

/// The answer to [`UploadTake`].
#[derive(Debug)]
pub enum UploadTaken {
    /// The session is the caller's, `epoch` already raised, the tail read.
    Taken(Box<UploadRecord>),
    /// The same, and it begins with this, the bytes of [`NewUpload`] among it.
    Begun(Box<UploadRecord>),
    /// The session stands elsewhere and was left as it was.
    WrongOffset {
        /// Bytes taken so far.
        received: u64,
    },
    /// It became this blob already.
    Committed(Digest),
    /// There is no such session.
    Unknown,
}

/// A blob whose bytes all came with one request, as the end of a session that holds nothing yet.
#[derive(Clone, Debug)]
pub struct UploadPut {
    /// Who asks. A session that another began stays as it is.
    pub principal: Option<String>,
    /// What the session is when nothing of it is written down yet; `None`: then it is unknown.
    pub begin: Option<NewUpload>,
    /// The blob, without an object.
    pub blob: NewBlob,
    /// How long the session is kept as committed.
    pub keep_until: Timestamp,
}

/// The end of a session without a blob.
#[derive(Clone, Copy, Debug)]
pub struct UploadEnd {
    /// Now.
    pub now: Timestamp,
    /// When its object may go.
    pub dead_until: Timestamp,
    /// How long its name is kept as that of one that ended.
    pub keep_until: Timestamp,
}

/// Progress of a session.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Bytes taken so far, the tail included.
    pub received: u64,
    /// The driver's state.
    pub driver_state: DriverState,
    /// Saved hasher at `received`.
    pub hash_state: Vec<u8>,
    /// First byte of the tail; kept rows before it go.
    pub tail_start: u64,
    /// Bytes to add to the tail: those from `received - tail_new.len()` on. Older ones are kept already.
    pub tail_new: Bytes,
    /// New expiry.
    pub expires_at: Timestamp,
}

/// Another object for a session.
#[derive(Clone, Debug)]
pub struct Rekey {
    /// Its key.
    pub key: Key,
    /// The last bytes that were taken, if they are not kept already.
    pub tail: Bytes,
    /// When the old object may go.
    pub dead_until: Timestamp,
}

/// A manifest about to be stored.
#[derive(Clone, Debug)]
pub struct NewManifest {
    /// Its digest.
    pub digest: Digest,
    /// Media type it is served with.
    pub media_type: String,
    /// Artifact type as referrers show it: `artifactType`, else the config's media type; none for an index without one.
    pub artifact_type: Option<String>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// Its descriptor as the referrers API shows it (JSON); only with a subject.
    pub referrer: Option<String>,
    /// Its bytes.
    pub payload: Bytes,
    /// Blobs it names, in order.
    pub blobs: Vec<BlobEdge>,
    /// Manifests (or blobs) it lists, in order.
    pub children: Vec<ChildEdge>,
    /// Bytes of the signatures that it carries; only of a signature artifact.
    pub signature_bytes: Option<u64>,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobEdge {
    /// Its digest.
    pub digest: Digest,
    /// The size that the manifest claims.
    pub size: u64,
    /// What it is to the manifest.
    pub role: BlobRole,
    /// Whether the manifest is refused without it (not so for non-distributable layers).
    pub required: bool,
}

/// What a blob is to the manifest that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobRole {
    /// The config.
    Config,
    /// A layer.
    Layer,
    /// A child of an index that is a blob, not a manifest.
    Child,
}

/// A manifest that an index lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildEdge {
    /// Its digest.
    pub digest: Digest,
    /// The size that the index claims.
    pub size: u64,
    /// The `platform` member as JSON.
    pub platform: Option<String>,
}

/// A condition on what stands now where something is to be written (RFC 9110, section 13.1): on what a reference points to, or
/// on what else is known by a `T`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition<T = Digest> {
    /// None.
    #[default]
    None,
    /// `If-Match`: it is one of these.
    AnyOf(Vec<T>),
    /// `If-Match: *`: it exists.
    Exists,
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// `If-None-Match`: it is none of these.
    NoneOf(Vec<T>),
}

impl<T: PartialEq> Precondition<T> {
    /// Whether it holds where `current` stands.
    pub fn holds(&self, current: Option<&T>) -> bool {
        match self {
            Self::None => true,
            Self::AnyOf(named) => current.is_some_and(|current| named.contains(current)),
            Self::Exists => current.is_some(),
            Self::Absent => current.is_none(),
            Self::NoneOf(named) => current.is_none_or(|current| !named.contains(current)),
        }
    }
}

/// A manifest PUT as one transaction.
#[derive(Debug)]
pub struct ManifestPut<'a> {
    /// Where; made when it is not there.
    pub repo: &'a RepoName,
    /// What.
    pub manifest: NewManifest,
    /// Tags to set, all or none.
    pub tags: &'a [Tag],
    /// Whether blobs and children may be missing.
    pub sparse: bool,
    /// Tags that cannot move.
    pub immutable: &'a ImmutableTags,
    /// What must hold for `condition_on`.
    pub precondition: Precondition,
    /// The reference of the request.
    pub condition_on: &'a Reference,
    /// What must still be so for it to get its tags.
    pub guard: Option<TrustGuard>,
    /// Now.
    pub now: Timestamp,
    /// Who does it.
    pub by: &'a Actor,
}

/// How a manifest PUT ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestStored {
    /// It is stored and every tag points to it.
    Stored,
    /// Nothing was stored: the repository has none of these.
    Missing(Vec<Digest>),
    /// Nothing was stored: this tag cannot move.
    Immutable(Tag),
    /// Nothing was stored: the condition does not hold.
    PreconditionFailed,
    /// Nothing was stored: signatures or policies changed since the manifest was judged.
    TrustMoved,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Row id.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
    /// Media type it is served with.
    pub media_type: String,
    /// Its bytes.
    pub payload: Bytes,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was last asked for, as far as that was written down.
    pub pulled_at: Option<Timestamp>,
    /// Whether it is a signature artifact by its form.
    pub is_signature: bool,
    /// Where its repository stood when it was read.
    pub standing: Standing,
    /// Since when its bytes are known to be wrong.
    pub damaged_at: Option<Timestamp>,
}

/// A manifest DELETE as one transaction.
#[derive(Debug)]
pub struct ManifestDelete<'a> {
    /// Where.
    pub repo: &'a RepoName,
    /// Which.
    pub digest: &'a Digest,
    /// Tags that cannot be deleted.
    pub immutable: &'a ImmutableTags,
    /// End leases set by HEAD, and all leases set before this moment, on the blobs it names.
    pub end_leases_before: Option<Timestamp>,
    /// When referrers of a subject that is gone may go.
    pub referrers_until: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Who does it.
    pub by: &'a Actor,
}

/// How a DELETE ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestDeleted {
    /// It is gone, and its tags. These are the blobs it named.
    Deleted(Vec<BlobId>),
    /// There is no such manifest.
    Unknown,
    /// This index lists it.
    Referenced(Digest),
    /// This tag of it cannot be deleted.
    Immutable(Tag),
}

/// How a tag's DELETE ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagDeleted {
    /// It is gone; the manifest stays.
    Deleted,
    /// There is no such tag.
    Unknown,
    /// It cannot be deleted.
    Immutable,
}

/// A referrer as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerRecord {
    /// Its digest.
    pub digest: Digest,
    /// Its artifact type.
    pub artifact_type: Option<String>,
    /// Its descriptor (JSON).
    pub descriptor: String,
}

/// What became of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryDeleted {
    /// Manifests that went.
    pub manifests: u64,
    /// Tags that went.
    pub tags: u64,
    /// Blobs whose membership ended.
    pub blobs: Vec<BlobId>,
}

/// One thing that `fsck` found in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant (`I3`, `I4`) it breaks.
    pub invariant: &'static str,
    /// What and where.
    pub text: String,
}

/// Numbers for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Objects waiting to be removed.
    pub deletions: u64,
    /// Their bytes.
    pub deletion_bytes: u64,
    /// Upload sessions that are open.
    pub uploads: u64,
    /// Blobs that wait for collection.
    pub garbage: u64,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Blobs whose bytes are known to be wrong or missing.
    pub damaged_blobs: u64,
    /// Manifests whose bytes are known to be wrong.
    pub damaged_manifests: u64,
}

/// The hash algorithm a saved hasher runs, for status without the hasher.
pub fn algorithm_of(hash_state: &[u8]) -> Option<Algorithm> {
    crate::oci::digest::Hasher::restore(hash_state).map(|hasher| hasher.algorithm())
}
