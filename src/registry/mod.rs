//! The rules of a registry: what may be stored, found, moved and deleted. Knows no HTTP and no SQL.

mod blobs;
mod collect;
mod damage;
mod downloads;
pub mod error;
mod fsck;
mod garbage;
pub mod gate;
mod head;
mod intake;
mod manifests;
mod names;
mod presence;
mod pulls;
pub mod referrers;
mod repositories;
mod retain;
pub mod retention;
mod scrub;
mod uploads;
mod usage;
mod writers;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::clock::{Clock, Entropy, Timestamp};
use crate::metadata::MetadataStore;
use crate::metadata::model::{BlobRecord, Precondition, UploadId};
use crate::oci::digest::Digest;
use crate::oci::glob::{ImmutableTags, RepoGlobs};
use crate::oci::name::Tag;
use crate::oci::reference::Reference;
use crate::registry::intake::HASH_BATCH_BYTES_MAX;
use crate::storage::BlobStore;
use crate::storage::share::Share;

use collect::Collector;
use downloads::Downloads;
use gate::{Gate, SweepOptions};
use names::SessionNames;
use presence::Presence;
use pulls::Pulls;
use retention::Retention;
use scrub::Scrubber;
use writers::Writers;

pub use crate::oci::page::{Page, PageRequest};
pub use collect::CollectorStats;
pub use downloads::{ClientDetail, DownloadOptions};
pub use error::RegistryError;
pub use fsck::FsckOptions;
pub use garbage::Candidate;
pub use names::Holder;
pub use scrub::{ScrubOptions, ScrubStats};

/// Shorthand for this layer's results.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// Every limit, units last.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest manifest in bytes; at least 4 MiB (distribution-spec, "Pushing Manifests").
    pub manifest_bytes_max: u64,
    /// Deepest nesting of JSON in a manifest.
    pub manifest_depth_max: usize,
    /// Most descriptors a manifest may name.
    pub manifest_descriptors_max: usize,
    /// Most annotations on one object of a manifest.
    pub manifest_annotations_max: usize,
    /// Largest blob in bytes.
    pub blob_bytes_max: u64,
    /// Largest blob in bytes that is kept in its row.
    pub inline_bytes_max: u64,
    /// Most entries of a page of tags.
    pub tag_page_max: u32,
    /// Most entries of a page of repositories.
    pub catalog_page_max: u32,
    /// Most entries of a page of referrers.
    pub referrer_page_max: u32,
    /// Most bytes of a page of referrers (clients read 4 MiB of an index).
    pub referrer_page_bytes_max: usize,
    /// Most ranges in one request.
    pub ranges_max: usize,
    /// Most upload sessions that may be open at once.
    pub sessions_max: u64,
    /// Free bytes that must stay on the disk.
    pub disk_free_bytes_min: u64,
    /// Longest time without a byte of a request body.
    pub body_idle_max: Duration,
    /// Longest time a request may take in all; late writes of a dead session die before this.
    pub request_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes_max: 4 << 20,
            manifest_depth_max: 64,
            manifest_descriptors_max: 10_000,
            manifest_annotations_max: 100_000,
            blob_bytes_max: 1 << 40,
            inline_bytes_max: 4 << 10,
            tag_page_max: 1_000,
            catalog_page_max: 1_000,
            referrer_page_max: 1_000,
            referrer_page_bytes_max: 3 << 20,
            ranges_max: 1_024,
            sessions_max: 100_000,
            disk_free_bytes_min: 256 << 20,
            body_idle_max: Duration::from_mins(1),
            request_time_max: Duration::from_hours(6),
        }
    }
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Limits.
    pub limits: Limits,
    /// Repositories in which a manifest may name content that is not there.
    pub sparse: RepoGlobs,
    /// Tags that cannot move.
    pub immutable_tags: ImmutableTags,
    /// How long a blob that no manifest names is kept after an upload, a mount, or a HEAD of somebody who may push.
    pub blob_lease: Duration,
    /// The same for a HEAD on a blob that a manifest names.
    pub head_lease: Duration,
    /// How long an upload session lives after its last checkpoint.
    pub upload_ttl: Duration,
    /// How long the object of a dead session is left alone, so that a late write of another node does not outlive it;
    /// zero where one process writes.
    pub dead_session_grace: Duration,
    /// How long an address is good under which a client fetches a blob from the store itself; zero: none is given. An
    /// object outlives its blob by as much.
    pub redirect_ttl: Duration,
    /// What goes by rule.
    pub retention: Retention,
    /// What is written down of downloads.
    pub downloads: DownloadOptions,
    /// How fast and how often everything is read again.
    pub scrub: ScrubOptions,
    /// How fast and how often what satisfied the signature policies is judged again.
    pub verdict_sweep: SweepOptions,
    /// Whether the signature policies come from a file of this node, and not from the database.
    pub policy_file: bool,
    /// Name of this node, as `uploads.owner`.
    pub node: String,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            sparse: RepoGlobs::default(),
            immutable_tags: ImmutableTags::default(),
            blob_lease: Duration::from_hours(24),
            head_lease: Duration::from_mins(15),
            upload_ttl: Duration::from_hours(24),
            dead_session_grace: Duration::ZERO,
            redirect_ttl: Duration::ZERO,
            retention: Retention::default(),
            downloads: DownloadOptions::default(),
            scrub: ScrubOptions::default(),
            verdict_sweep: SweepOptions::default(),
            policy_file: false,
            node: "local".to_owned(),
        }
    }
}

/// The body of a push, as it arrives.
pub struct PushBody {
    /// Pieces; an error means that the client broke off or was too slow.
    pub stream: BoxStream<'static, std::result::Result<Bytes, BodyError>>,
    /// Its length, when the client said so.
    pub length: Option<u64>,
    /// Whether the client sends nothing before somebody reads (RFC 9110, section 10.1.1).
    pub awaits_continue: bool,
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection or the framing broke.
    #[error("the request body broke off")]
    Broken,
    /// No byte came for too long.
    #[error("the request body did not arrive in time")]
    Timeout,
}

/// `Content-Range` of a chunk: `start-end`, end inclusive, as the client wrote it (distribution-spec, "Pushing a blob in
/// chunks").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

/// Whether a DELETE waits for the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purge {
    /// Collection follows when it follows.
    #[default]
    Later,
    /// `?purge=wait`: leases set by HEAD end, and the answer waits for the bytes, at most 30 s.
    Wait,
}

/// How far an upload session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// The session.
    pub id: UploadId,
    /// Bytes taken so far.
    pub received: u64,
}

/// A manifest to be stored.
#[derive(Debug)]
pub struct PutManifest {
    /// Tag or digest in the path.
    pub reference: Reference,
    /// `tag` parameters (only with a digest in the path).
    pub tags: Vec<Tag>,
    /// `Content-Type` without parameters, when the client sent one.
    pub content_type: Option<String>,
    /// The bytes.
    pub payload: Bytes,
    /// `If-Match`, `If-None-Match`.
    pub precondition: Precondition,
}

/// A stored manifest, as the answer to its PUT needs it.
#[derive(Clone, Debug)]
pub struct ManifestReceipt {
    /// Its digest.
    pub digest: Digest,
    /// Its subject, for `OCI-Subject`.
    pub subject: Option<Digest>,
    /// Tags that were set, for `OCI-Tag`.
    pub tags: Vec<Tag>,
    /// What the gate said of its tags.
    pub ruling: gate::Ruling,
}

/// A manifest, as its GET needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// `Content-Type`.
    pub media_type: String,
    /// Its bytes.
    pub payload: Bytes,
    /// For `Last-Modified`.
    pub created_at: Timestamp,
}

/// A blob whose existence was established, ready to be read.
#[derive(Clone, Debug)]
pub struct OpenBlob {
    /// What it is.
    pub record: BlobRecord,
}

/// The registry: one value, shared by every front end and job.
#[derive(Debug)]
pub struct Registry {
    metadata: Arc<dyn MetadataStore>,
    storage: Arc<dyn BlobStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: RegistryOptions,
    writers: Writers,
    collector: Collector,
    pulls: Pulls,
    downloads: Downloads,
    gate: Gate,
    scrubber: Scrubber,
    presence: Presence,
    /// Made when the first one is needed, from a key that the database has.
    session_names: OnceLock<SessionNames>,
    /// Until when there is room without asking again, in microseconds since 1970.
    room_until: AtomicI64,
    hash_batches: Share,
}

/// How long an answer that there is ample room does.
const ROOM_BELIEVED: Duration = Duration::from_secs(1);

/// Above what must stay free: more than a disk takes in that time.
const ROOM_AMPLE: u64 = 4 << 30;

impl Registry {
    /// A registry over a fact store and a byte store.
    pub fn new(
        metadata: Arc<dyn MetadataStore>,
        storage: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: RegistryOptions,
    ) -> Self {
        let (writers, collector, pulls) = (Writers::default(), Collector::default(), Pulls::default());
        let (session_names, room_until) = (OnceLock::new(), AtomicI64::new(i64::MIN));
        let hash_batches = Share::up_to(HASH_BATCH_BYTES_MAX);
        Self {
            metadata,
            storage,
            clock,
            entropy,
            options,
            writers,
            collector,
            pulls,
            downloads: Downloads::default(),
            gate: Gate::default(),
            scrubber: Scrubber::default(),
            presence: Presence::default(),
            session_names,
            room_until,
            hash_batches,
        }
    }

    /// The present moment, as everything here is judged by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// How long a blob that no manifest names is kept after it came.
    pub fn blob_lease(&self) -> Duration {
        self.options.blob_lease
    }

    /// Whether database and storage answer, with the reason when not; for readiness.
    ///
    /// # Errors
    /// A sentence for the operator; it names no repository.
    pub async fn check_ready(&self) -> std::result::Result<(), String> {
        self.metadata.ping().await.map_err(|error| error.to_string())?;
        self.storage.free_bytes().await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Refuses to take anything in while the disk has less room than `disk_free_bytes_min`.
    ///
    /// Each push comes here several times, and the question is a call on another thread. Where there is ample room, one
    /// answer does for a second.
    async fn check_room(&self) -> Result<()> {
        let now = self.clock.now();
        let believed_until = Timestamp::from_micros(self.room_until.load(Ordering::Relaxed));
        // A clock that was set back must not make an old answer stand for long.
        if now < believed_until && now.until(believed_until) <= ROOM_BELIEVED {
            return Ok(());
        }
        let min = self.options.limits.disk_free_bytes_min;
        match self.storage.free_bytes().await? {
            Some(free) if free < min => return Err(RegistryError::DiskFull { free, min }),
            Some(free) if free - min < ROOM_AMPLE => {}
            _ => self.room_until.store(now.after(ROOM_BELIEVED).as_micros(), Ordering::Relaxed),
        }
        Ok(())
    }
}

/// How many entries of a page to give, `max` at most.
fn page_limit(page: &PageRequest, max: u32) -> u32 {
    page.n.unwrap_or(max).min(max)
}

/// A page of `limit` entries, cut from a list of which one more was asked for.
fn cut_page<T>(mut entries: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let next = if entries.len() > limit { entries.get(limit.saturating_sub(1)).map(cursor) } else { None };
    entries.truncate(limit);
    Page { entries, next }
}
