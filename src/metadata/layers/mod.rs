//! Stores around a store: one that fails on demand, and one that passes the points of [`crate::faults`].
//!
//! The methods of [`MetadataStore`](crate::metadata::MetadataStore) are listed once, in `decorate!`; a method that is missing there does not compile. A
//! layer has a field `inner` and a method `around(name, call)`, which every call goes through.

mod faulty;
mod passing;

pub use faulty::{Fault, Faulty};
pub use passing::Passing;

/// Implements the trait for a layer: `decorate!(Layer)`.
///
/// [`MetadataStore`]: crate::metadata::MetadataStore
macro_rules! decorate {
    ($layer:ty) => {
        $crate::metadata::layers::decorate! { $layer;
            repository_list(after: Option<&str>, limit: u32) -> Vec<RepoName>;
            repository_delete(
                repo: &RepoName, now: Timestamp, dead_until: Timestamp, by: &Actor
            ) -> Option<RepositoryDeleted>;
            blob_find(repo: &RepoName, digest: &Digest) -> Option<BlobRecord>;
            blob_lease(repo: &RepoName, digest: &Digest, lease: HeadLease) -> Option<BlobRecord>;
            blob_mount(mount: &BlobMount) -> Option<BlobRecord>;
            blob_delete(repo: &RepoName, digest: &Digest, now: Timestamp, by: &Actor) -> BlobDeleted;
            blob_put(repo: &RepoName, blob: &NewBlob) -> ();
            blob_damage(damage: &BlobDamage) -> bool;
            blob_unmark(id: BlobId, key: &Key, now: Timestamp, by: &Actor) -> bool;
            upload_find(repo: &RepoName, id: &UploadId, now: Timestamp) -> Option<UploadRecord>;
            upload_take(repo: &RepoName, id: &UploadId, take: &UploadTake, now: Timestamp) -> UploadTaken;
            upload_intend(hold: &UploadHold, key: &Key) -> bool;
            upload_rekey(hold: &UploadHold, rekey: &Rekey) -> bool;
            upload_checkpoint(hold: &UploadHold, checkpoint: &Checkpoint) -> bool;
            upload_tail(hold: &UploadHold) -> Option<Bytes>;
            upload_renew(hold: &UploadHold, expires_at: Timestamp) -> bool;
            upload_completing(hold: &UploadHold, digest: &Digest, received: u64, state: &DriverState) -> bool;
            upload_commit(hold: &UploadHold, blob: &NewBlob, keep_until: Timestamp) -> bool;
            upload_put(repo: &RepoName, id: &UploadId, put: &UploadPut) -> bool;
            upload_drop(hold: &UploadHold, end: UploadEnd) -> bool;
            upload_cancel(repo: &RepoName, id: &UploadId, begin: Option<&NewUpload>, end: UploadEnd) -> bool;
            upload_expire(now: Timestamp, dead_until: Timestamp, limit: u32) -> u64;
            upload_count() -> u64;
            manifest_put(put: &ManifestPut<'_>) -> ManifestStored;
            manifest_find(repo: &RepoName, reference: &Reference) -> Option<ManifestRecord>;
            manifest_delete(delete: &ManifestDelete<'_>) -> ManifestDeleted;
            tag_delete(
                repo: &RepoName, tag: &Tag, immutable: &ImmutableTags, now: Timestamp, by: &Actor
            ) -> TagDeleted;
            tag_list(repo: &RepoName, after: Option<&str>, limit: u32) -> Option<Vec<Tag>>;
            referrer_list(
                repo: &RepoName, subject: &Digest, artifact_type: Option<&str>, after: Option<&str>, limit: u32
            ) -> Vec<ReferrerRecord>;
            referrers_text(repo: &RepoName, subject: &Digest, unless: &Tag, limit: u32) -> Option<String>;
            trust_standing(repo: &RepoName) -> Option<Standing>;
            signature_list(repository: i64, subject: &Digest, tags: &[Tag], limit: u32) -> Vec<SignatureRecord>;
            signature_known(
                repository: i64, subject: &Digest, tags: &[Tag], known: &[Digest]
            ) -> Vec<SignatureRecord>;
            manifest_parents(repository: i64, digest: &Digest, limit: u32) -> Vec<Digest>;
            manifests_naming(repository: i64, blob: &Digest, limit: u32) -> Vec<NamingManifest>;
            manifest_reached(repository: i64, after: Option<&Digest>, limit: u32) -> Vec<ReachedManifest>;
            verdict_find(repository: i64, digest: &Digest) -> Option<VerdictRecord>;
            verdict_put(verdict: &VerdictPut) -> Option<VerdictTurn>;
            verdict_scan(after: Option<&(i64, Digest)>, limit: u32) -> Vec<VerdictEntry>;
            verdict_sweep() -> VerdictSweep;
            verdict_sweep_take(take: &VerdictSweepTake) -> bool;
            verdict_sweep_keep(keep: &VerdictSweepKeep) -> bool;
            policy_find() -> Option<PolicyRecord>;
            policy_with(number: i64) -> Option<PolicyRecord>;
            policy_list(before: i64, limit: u32) -> Vec<PolicyEntry>;
            policy_number() -> i64;
            policy_put(put: &PolicyPut) -> Option<i64>;
            manifest_facts(repo: &RepoName, after: Option<&Digest>, limit: u32) -> Vec<ManifestFacts>;
            manifest_retire(retire: &ManifestRetire<'_>) -> ManifestsRetired;
            manifest_pulled(pulls: &[(i64, Timestamp)], stale: Timestamp) -> ();
            manifest_bytes_alone(repo: &RepoName, manifests: &[i64]) -> u64;
            download_add(downloads: &[(Download, u64)]) -> ();
            download_list(repo: &RepoName, before: i64, limit: u32) -> Vec<DownloadRecord>;
            download_forget(before: Timestamp, limit: u32) -> u64;
            manifest_collect(now: Timestamp, limit: u32) -> Collected;
            membership_collect(now: Timestamp, limit: u32) -> Collected;
            blob_collect(now: Timestamp, doomed_until: Timestamp, limit: u32) -> Collected;
            deletion_claim(now: Timestamp, limit: u32) -> Vec<Deletion>;
            deletion_done(keys: &[Key]) -> ();
            deletion_retry(key: &Key, not_before: Timestamp) -> ();
            purge_pending(blobs: &[BlobId], keys: &[Key], now: Timestamp) -> bool;
            purge_hold(name: &str, until: Timestamp) -> ();
            purge_release(name: &str) -> ();
            purge_holds(now: Timestamp) -> Vec<PurgeHold>;
            garbage_list(kind: GarbageKind, now: Timestamp, after: &GarbageCursor, limit: u32) -> Vec<Garbage>;
            repository_ids(after: Option<&str>, limit: u32) -> Vec<(RepoName, i64)>;
            repository_usage(repositories: &[i64]) -> Vec<RepositoryUsage>;
            total_usage(repositories: Option<&[i64]>) -> TotalUsage;
            session_key() -> [u8; 32];
            instance() -> Instance;
            copy_begin(of: &str) -> ();
            copy_serve(now: Timestamp) -> bool;
            load(rows: Rows, options: LoadOptions) -> ();
            key_sound(keys: &[Key]) -> Vec<bool>;
            blob_adopt(repo: &RepoName, adopt: &BlobAdopt) -> Vec<Digest>;
            blob_scan(after: BlobId, limit: u32) -> Vec<BlobRecord>;
            manifest_scan(after: i64, limit: u32) -> Vec<ManifestBytes>;
            manifest_damage(damage: &ManifestDamage) -> bool;
            scrub_take(take: &ScrubTake) -> Option<ScrubPass>;
            scrub_keep(node: &str, pass: &ScrubPass, until: Timestamp) -> bool;
            blob_keys(blobs: &[BlobId]) -> Vec<Key>;
            key_known(keys: &[Key]) -> Vec<bool>;
            reference_check() -> Vec<Finding>;
            blob_restore(digest: &Digest, size: u64, key: &Key, now: Timestamp, keep_until: Timestamp) -> ();
            counts() -> StoreCounts;
            ping() -> ();
        }
    };
    ($layer:ty; $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        const _: () = {
            use bytes::Bytes;

            use $crate::clock::Timestamp;
            use $crate::metadata::dump::{Instance, LoadOptions, Rows};
            use $crate::metadata::model::accounts::Actor;
            use $crate::metadata::model::downloads::{Download, DownloadRecord};
            use $crate::metadata::model::scrub::{
                BlobDamage, ManifestBytes, ManifestDamage, ScrubPass, ScrubTake,
            };
            use $crate::metadata::model::trust::{
                NamingManifest, PolicyEntry, PolicyPut, PolicyRecord, ReachedManifest, SignatureRecord, Standing,
            };
            use $crate::metadata::model::verdicts::{
                VerdictEntry, VerdictPut, VerdictRecord, VerdictSweep, VerdictSweepKeep, VerdictSweepTake,
                VerdictTurn,
            };
            use $crate::metadata::model::*;
            use $crate::metadata::{MetadataStore, Result};
            use $crate::oci::digest::Digest;
            use $crate::oci::glob::ImmutableTags;
            use $crate::oci::name::{RepoName, Tag};
            use $crate::oci::reference::Reference;
            use $crate::storage::{DriverState, Key};

            #[deny(clippy::missing_trait_methods)]
            #[async_trait::async_trait]
            impl MetadataStore for $layer {
                $(async fn $method(&self, $($argument: $type),*) -> Result<$answer> {
                    self.around(stringify!($method), self.inner.$method($($argument),*)).await
                })*

                fn dump(&self) -> Rows {
                    self.inner.dump()
                }

                async fn close(&self) {
                    self.inner.close().await;
                }
            }
        };
    };
}

use decorate;
