//! Facts: the trait that a database implements.
//!
//! One call is one transaction, follow-up work included. A lookup gives `Option`; a write says what became of it.
//! Methods are named noun first. Time is passed in.
//!
//! `sql` has the statements in both dialects, `logic` the transactions, written once; a driver only opens a database and
//! runs them.

pub mod accounts;
pub mod audit;
pub mod certificates;
pub mod dump;
pub mod error;
pub mod layers;
pub mod limits;
mod logic;
pub mod model;
pub mod postgres;
pub mod publishers;
pub mod redis;
mod rows;
mod schema;
pub mod sql;
pub mod sqlite;
pub mod webhooks;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::oci::digest::Digest;
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::storage::{DriverState, Key};

use dump::{Instance, LoadOptions, Rows};
pub use error::MetadataError;
use model::accounts::Actor;
use model::downloads::{Download, DownloadRecord};
use model::scrub::{BlobDamage, ManifestBytes, ManifestDamage, ScrubPass, ScrubTake};
use model::trust::{NamingManifest, PolicyEntry, PolicyPut, PolicyRecord, ReachedManifest, SignatureRecord, Standing};
use model::verdicts::{
    VerdictEntry, VerdictPut, VerdictRecord, VerdictSweep, VerdictSweepKeep, VerdictSweepTake, VerdictTurn,
};
use model::{
    BlobAdopt, BlobDeleted, BlobId, BlobMount, BlobRecord, Checkpoint, Collected, Deletion, Finding, Garbage,
    GarbageCursor, GarbageKind, HeadLease, ManifestDelete, ManifestDeleted, ManifestFacts, ManifestPut, ManifestRecord,
    ManifestRetire, ManifestStored, ManifestsRetired, NewBlob, NewUpload, PurgeHold, ReferrerRecord, Rekey,
    RepositoryDeleted, RepositoryUsage, StoreCounts, TagDeleted, TotalUsage, UploadEnd, UploadHold, UploadId,
    UploadPut, UploadRecord, UploadTake, UploadTaken,
};

/// Shorthand for this layer's results.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// A place for facts.
#[async_trait]
pub trait MetadataStore: fmt::Debug + Send + Sync {
    // --- repositories

    /// Names of repositories with at least one manifest, in byte order, those after `after`, `limit` at most.
    async fn repository_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<RepoName>>;

    /// Ends a repository: tags, manifests, memberships and sessions. `None`: there is none.
    ///
    /// Keys of its sessions go to `object_deletions`, not before `dead_until`.
    async fn repository_delete(
        &self,
        repo: &RepoName,
        now: Timestamp,
        dead_until: Timestamp,
        by: &Actor,
    ) -> Result<Option<RepositoryDeleted>>;

    // --- blobs

    /// A blob of the repository.
    async fn blob_find(&self, repo: &RepoName, digest: &Digest) -> Result<Option<BlobRecord>>;

    /// A blob of the repository, leased because its caller may push and now believes that it exists.
    ///
    /// The lease is written only when less than half of it is left. A damaged blob is `None`.
    async fn blob_lease(&self, repo: &RepoName, digest: &Digest, lease: HeadLease) -> Result<Option<BlobRecord>>;

    /// Makes a blob of one repository a member of another. `None`: the source has no such (sound) blob.
    async fn blob_mount(&self, mount: &BlobMount) -> Result<Option<BlobRecord>>;

    /// Ends a blob's membership and lease, unless a manifest of the repository names it.
    async fn blob_delete(&self, repo: &RepoName, digest: &Digest, now: Timestamp, by: &Actor) -> Result<BlobDeleted>;

    /// Commits a blob that had no session: one whose bytes are in the row.
    async fn blob_put(&self, repo: &RepoName, blob: &NewBlob) -> Result<()>;

    /// Marks a blob's bytes as wrong or missing, if they are still those that were found so, and writes it down. `false`: they
    /// are not, or it was known.
    async fn blob_damage(&self, damage: &BlobDamage) -> Result<bool>;

    /// Takes the mark from a blob whose bytes at `key` turned out to be right, if they are still there. `false`: they are not,
    /// or there was no mark.
    async fn blob_unmark(&self, id: BlobId, key: &Key, now: Timestamp, by: &Actor) -> Result<bool>;

    // --- uploads

    /// A session as it stands, without its tail.
    async fn upload_find(&self, repo: &RepoName, id: &UploadId, now: Timestamp) -> Result<Option<UploadRecord>>;

    /// Takes a session from whoever has it, or begins it, with its repository where that is not there; left as it was
    /// when the offset is wrong.
    async fn upload_take(
        &self,
        repo: &RepoName,
        id: &UploadId,
        take: &UploadTake,
        now: Timestamp,
    ) -> Result<UploadTaken>;

    /// Records the key before the first byte goes there. `false`: the session is not the caller's any more.
    async fn upload_intend(&self, hold: &UploadHold, key: &Key) -> Result<bool>;

    /// Gives a session another key, under which nothing is stored yet, and more kept bytes; the old one goes to
    /// `object_deletions`. `false`: the session is not the caller's any more.
    async fn upload_rekey(&self, hold: &UploadHold, rekey: &Rekey) -> Result<bool>;

    /// Records progress. `false`: the session is not the caller's any more, nothing was recorded.
    async fn upload_checkpoint(&self, hold: &UploadHold, checkpoint: &Checkpoint) -> Result<bool>;

    /// The bytes that are kept for a session. `None`: it is not the caller's any more.
    async fn upload_tail(&self, hold: &UploadHold) -> Result<Option<Bytes>>;

    /// Whether the session is still the caller's; pushes its expiry.
    async fn upload_renew(&self, hold: &UploadHold, expires_at: Timestamp) -> Result<bool>;

    /// Records that the object is about to be completed. `false`: not the caller's any more.
    async fn upload_completing(
        &self,
        hold: &UploadHold,
        digest: &Digest,
        received: u64,
        state: &DriverState,
    ) -> Result<bool>;

    /// Turns a session into a blob of its repository. `false`: not the caller's any more.
    ///
    /// When the digest is there already and sound, the session's own object goes to `object_deletions`; when it is
    /// damaged, ours takes its place and the old key goes. The session is kept as committed until `keep_until`.
    async fn upload_commit(&self, hold: &UploadHold, blob: &NewBlob, keep_until: Timestamp) -> Result<bool>;

    /// Turns a session that holds nothing yet into a blob, in one step. `false`: it is not so, and nothing was done.
    async fn upload_put(&self, repo: &RepoName, id: &UploadId, put: &UploadPut) -> Result<bool>;

    /// Ends a session that is the caller's (a wrong digest); its key goes to `object_deletions`.
    async fn upload_drop(&self, hold: &UploadHold, end: UploadEnd) -> Result<bool>;

    /// Ends a session, whoever has it, or one of which nothing is written down yet. `false`: there is none.
    async fn upload_cancel(
        &self,
        repo: &RepoName,
        id: &UploadId,
        begin: Option<&NewUpload>,
        end: UploadEnd,
    ) -> Result<bool>;

    /// Ends sessions past their expiry, `limit` at most; says how many.
    async fn upload_expire(&self, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64>;

    /// Sessions that are open.
    async fn upload_count(&self) -> Result<u64>;

    // --- manifests and tags

    /// Stores a manifest and moves tags.
    async fn manifest_put(&self, put: &ManifestPut<'_>) -> Result<ManifestStored>;

    /// A manifest of the repository.
    async fn manifest_find(&self, repo: &RepoName, reference: &Reference) -> Result<Option<ManifestRecord>>;

    /// Deletes a manifest and its tags.
    async fn manifest_delete(&self, delete: &ManifestDelete<'_>) -> Result<ManifestDeleted>;

    /// Deletes a tag, and nothing else.
    async fn tag_delete(
        &self,
        repo: &RepoName,
        tag: &Tag,
        immutable: &ImmutableTags,
        now: Timestamp,
        by: &Actor,
    ) -> Result<TagDeleted>;

    /// Tags after `after` in byte order, `limit` at most. `None`: the repository has no manifest.
    async fn tag_list(&self, repo: &RepoName, after: Option<&str>, limit: u32) -> Result<Option<Vec<Tag>>>;

    /// Referrers of a digest in digest order, those after `after`, `limit` at most.
    async fn referrer_list(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ReferrerRecord>>;

    /// The descriptors (JSON) of all referrers of a digest in digest order, with commas between them. `None`: there are more
    /// than `limit`, or the repository has a tag `unless`, and they have to be looked at one by one.
    async fn referrers_text(
        &self,
        repo: &RepoName,
        subject: &Digest,
        unless: &Tag,
        limit: u32,
    ) -> Result<Option<String>>;

    // --- trust

    /// Where a repository stands. `None`: there is none.
    async fn trust_standing(&self, repo: &RepoName) -> Result<Option<Standing>>;

    /// Signature artifacts of a repository (row id) about a digest: those under `tags`, then referrers, of which `limit` at
    /// most, those with fewest bytes first.
    async fn signature_list(
        &self,
        repository: i64,
        subject: &Digest,
        tags: &[Tag],
        limit: u32,
    ) -> Result<Vec<SignatureRecord>>;

    /// Those of `known` that still are signature artifacts about a digest.
    async fn signature_known(
        &self,
        repository: i64,
        subject: &Digest,
        tags: &[Tag],
        known: &[Digest],
    ) -> Result<Vec<SignatureRecord>>;

    /// Indexes of a repository (row id) that list a manifest, those that passed last time first, `limit` at most.
    async fn manifest_parents(&self, repository: i64, digest: &Digest, limit: u32) -> Result<Vec<Digest>>;

    /// Manifests of a repository (row id) that name a blob, `limit` at most: signature artifacts that have it as a layer,
    /// then what is none, those first that passed last time and then the newest, then the other signature artifacts.
    async fn manifests_naming(&self, repository: i64, blob: &Digest, limit: u32) -> Result<Vec<NamingManifest>>;

    /// Manifests of a repository (row id) behind `after` in digest order, `limit` at most, and whether a tag leads to each.
    async fn manifest_reached(
        &self,
        repository: i64,
        after: Option<&Digest>,
        limit: u32,
    ) -> Result<Vec<ReachedManifest>>;

    /// What was found out last about a digest in a repository (row id).
    async fn verdict_find(&self, repository: i64, digest: &Digest) -> Result<Option<VerdictRecord>>;

    /// Writes down what was found out, and tells in the same transaction when something that passed does not any more: an
    /// event of the record, for webhooks too. Says whether that was so, or the reverse.
    ///
    /// What was found out by older policies or signatures than there are now ends no pass, and no failure. A refusal that
    /// is not certain leaves a pass as it is.
    async fn verdict_put(&self, verdict: &VerdictPut) -> Result<Option<VerdictTurn>>;

    /// What was found out last, in the order of repository (row id) and digest, after a place, `limit` at most.
    async fn verdict_scan(&self, after: Option<&(i64, Digest)>, limit: u32) -> Result<Vec<VerdictEntry>>;

    /// The walk over what passed that is under way, or the last one.
    async fn verdict_sweep(&self) -> Result<VerdictSweep>;

    /// Begins a walk, unless another node is at one or has begun one meanwhile.
    async fn verdict_sweep_take(&self, take: &VerdictSweepTake) -> Result<bool>;

    /// Keeps others from a walk until a moment, or ends it. `false`: another one has begun.
    async fn verdict_sweep_keep(&self, keep: &VerdictSweepKeep) -> Result<bool>;

    /// The policy document that holds. `None`: there was never one.
    async fn policy_find(&self) -> Result<Option<PolicyRecord>>;

    /// The policy document with a number. `None`: there was none.
    async fn policy_with(&self, number: i64) -> Result<Option<PolicyRecord>>;

    /// Policy documents with a number below `before`, the newest first, `limit` at most.
    async fn policy_list(&self, before: i64, limit: u32) -> Result<Vec<PolicyEntry>>;

    /// The number of the one that holds; 0: there was never one.
    async fn policy_number(&self) -> Result<i64>;

    /// Puts a document in the place of another one; gives its number. `None`: another one holds than was said.
    async fn policy_put(&self, put: &PolicyPut) -> Result<Option<i64>>;

    // --- retention

    /// Manifests of a repository with a digest above `after`, in digest order, `limit` at most.
    async fn manifest_facts(&self, repo: &RepoName, after: Option<&Digest>, limit: u32) -> Result<Vec<ManifestFacts>>;

    /// Deletes manifests and their tags, as [`manifest_delete`](Self::manifest_delete) does, where the facts are still
    /// the same.
    async fn manifest_retire(&self, retire: &ManifestRetire<'_>) -> Result<ManifestsRetired>;

    /// Writes down when manifests (by row id) were asked for, where the moment that stands there is before `stale`.
    async fn manifest_pulled(&self, pulls: &[(i64, Timestamp)], stale: Timestamp) -> Result<()>;

    /// Bytes of the blobs that these manifests (row ids) of a repository name, and nothing else anywhere.
    async fn manifest_bytes_alone(&self, repo: &RepoName, manifests: &[i64]) -> Result<u64>;

    // --- downloads

    /// Counts downloads, each with its number.
    async fn download_add(&self, downloads: &[(Download, u64)]) -> Result<()>;

    /// Downloads from a repository with a row id below `before`, the newest row first, `limit` at most.
    async fn download_list(&self, repo: &RepoName, before: i64, limit: u32) -> Result<Vec<DownloadRecord>>;

    /// Forgets downloads of hours that began before a moment, `limit` at most; says how many.
    async fn download_forget(&self, before: Timestamp, limit: u32) -> Result<u64>;

    // --- collection

    /// Deletes manifests past their `gc_after`: referrers whose subject is gone.
    async fn manifest_collect(&self, now: Timestamp, limit: u32) -> Result<Collected>;

    /// Ends memberships past their `gc_after` that no manifest names and no lease holds.
    async fn membership_collect(&self, now: Timestamp, limit: u32) -> Result<Collected>;

    /// Dooms blobs past their `gc_after` that no repository has: their keys go to `object_deletions`, not before
    /// `doomed_until`.
    async fn blob_collect(&self, now: Timestamp, doomed_until: Timestamp, limit: u32) -> Result<Collected>;

    /// Objects to remove now, `limit` at most; none while a hold lasts. They stay listed until [`deletion_done`](Self::deletion_done).
    async fn deletion_claim(&self, now: Timestamp, limit: u32) -> Result<Vec<Deletion>>;

    /// The objects are gone.
    async fn deletion_done(&self, keys: &[Key]) -> Result<()>;

    /// An object could not be removed; try again then.
    async fn deletion_retry(&self, key: &Key, not_before: Timestamp) -> Result<()>;

    /// Whether any of these blobs is garbage that still takes room: its row past `gc_after` and free to go, or its key
    /// (one of `keys`) listed for deletion.
    async fn purge_pending(&self, blobs: &[BlobId], keys: &[Key], now: Timestamp) -> Result<bool>;

    /// Keeps every object from being removed until then, under this name; a second call moves the moment.
    ///
    /// Rows go all the same: what was referred to before the hold is still in the store while it lasts.
    async fn purge_hold(&self, name: &str, until: Timestamp) -> Result<()>;

    /// Ends a hold; fine when there is none.
    async fn purge_release(&self, name: &str) -> Result<()>;

    /// Holds that last, those first that end first, a hundred of them at most.
    async fn purge_holds(&self, now: Timestamp) -> Result<Vec<PurgeHold>>;

    /// Garbage of a kind behind a cursor, in the cursor's order, `limit` at most.
    async fn garbage_list(
        &self,
        kind: GarbageKind,
        now: Timestamp,
        after: &GarbageCursor,
        limit: u32,
    ) -> Result<Vec<Garbage>>;

    // --- usage

    /// Names and row ids of all repositories behind `after`, in byte order, `limit` at most.
    async fn repository_ids(&self, after: Option<&str>, limit: u32) -> Result<Vec<(RepoName, i64)>>;

    /// What repositories (by row id) take, in byte order of their names.
    async fn repository_usage(&self, repositories: &[i64]) -> Result<Vec<RepositoryUsage>>;

    /// What repositories (by row id; `None`: all of them) take together.
    async fn total_usage(&self, repositories: Option<&[i64]>) -> Result<TotalUsage>;

    // --- checks

    /// Blobs with an id above `after`, in id order, `limit` at most.
    async fn blob_scan(&self, after: BlobId, limit: u32) -> Result<Vec<BlobRecord>>;

    /// Manifests with a row id above `after`, in id order, `limit` at most.
    async fn manifest_scan(&self, after: i64, limit: u32) -> Result<Vec<ManifestBytes>>;

    /// Marks a manifest's bytes as wrong, if they are still those that were found so, and writes it down. `false`: they are
    /// not, or it was known. The next push of it heals it.
    async fn manifest_damage(&self, damage: &ManifestDamage) -> Result<bool>;

    /// The pass over all bytes that this node may go on with: one that is under way, or a new one if it is due. `None`: none,
    /// or another node is at it.
    async fn scrub_take(&self, take: &ScrubTake) -> Result<Option<ScrubPass>>;

    /// Writes down how far a pass is, and keeps others from it until then. `false`: another node has taken it.
    async fn scrub_keep(&self, node: &str, pass: &ScrubPass, until: Timestamp) -> Result<bool>;

    /// Keys of the objects of these blobs.
    async fn blob_keys(&self, blobs: &[BlobId]) -> Result<Vec<Key>>;

    /// For each key, whether uploads, blobs or `object_deletions` know it.
    async fn key_known(&self, keys: &[Key]) -> Result<Vec<bool>>;

    /// Dangling references, of which foreign keys promise that there are none.
    async fn reference_check(&self) -> Result<Vec<Finding>>;

    /// Puts a blob found in the store back on the map: a new row, or a new key for one whose object is missing.
    async fn blob_restore(
        &self,
        digest: &Digest,
        size: u64,
        key: &Key,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<()>;

    /// The secret of this database that proves the names of upload sessions.
    async fn session_key(&self) -> Result<[u8; 32]>;

    // --- copies and backups

    /// Which database this is, and whether it is another one's copy.
    async fn instance(&self) -> Result<Instance>;

    /// Marks this database, which must be no copy yet, as a copy of another instance.
    async fn copy_begin(&self, of: &str) -> Result<()>;

    /// Marks a copy as served, so that no later copy undoes what is pushed to it. `false`: it is not whole and must not be.
    async fn copy_serve(&self, now: Timestamp) -> Result<bool>;

    /// All facts as of one moment. The moment is that of the first batch.
    fn dump(&self) -> Rows;

    /// Puts facts in the place of all that is there, in one transaction; sessions end.
    ///
    /// # Errors
    /// [`MetadataError::RowsAffected`] when it should end a copy and there is none, or one that was served.
    async fn load(&self, rows: Rows, options: LoadOptions) -> Result<()>;

    /// For each key, whether it is that of a blob whose bytes are not known to be damaged.
    async fn key_sound(&self, keys: &[Key]) -> Result<Vec<bool>>;

    /// Makes blobs that are in the store already members of a repository. Those that have no row and come without an
    /// object are given back.
    async fn blob_adopt(&self, repo: &RepoName, adopt: &BlobAdopt) -> Result<Vec<Digest>>;

    /// Numbers for `/metrics`.
    async fn counts(&self) -> Result<StoreCounts>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Finishes the writes that wait and closes the database.
    async fn close(&self);
}
