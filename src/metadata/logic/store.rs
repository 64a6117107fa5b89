//! The trait, method by method: which are reads, which are transactions, and what they run.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::metadata::dump::{Instance, LoadOptions, Rows};
use crate::metadata::logic::{
    Database, blobs, checks, collect, downloads, dump, garbage, manifests, repositories, retention, scrub, tags, trust,
    uploads, verdicts, work,
};
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::downloads::{Download, DownloadRecord};
use crate::metadata::model::scrub::{BlobDamage, ManifestBytes, ManifestDamage, ScrubPass, ScrubTake};
use crate::metadata::model::trust::{
    NamingManifest, PolicyEntry, PolicyPut, PolicyRecord, ReachedManifest, SignatureRecord, Standing,
};
use crate::metadata::model::verdicts::{
    VerdictEntry, VerdictPut, VerdictRecord, VerdictSweep, VerdictSweepKeep, VerdictSweepTake, VerdictTurn,
};
use crate::metadata::model::{
    BlobAdopt, BlobDeleted, BlobId, BlobMount, BlobRecord, Checkpoint, Collected, Deletion, Finding, Garbage,
    GarbageCursor, GarbageKind, HeadLease, ManifestDelete, ManifestDeleted, ManifestFacts, ManifestPut, ManifestRecord,
    ManifestRetire, ManifestStored, ManifestsRetired, NewBlob, NewUpload, PurgeHold, ReferrerRecord, Rekey,
    RepositoryDeleted, RepositoryUsage, StoreCounts, TagDeleted, TotalUsage, UploadEnd, UploadHold, UploadId,
    UploadPut, UploadRecord, UploadTake, UploadTaken,
};
use crate::metadata::{MetadataStore, Result};
use crate::oci::digest::Digest;
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::storage::{DriverState, Key};

#[async_trait]
impl<D: Database> MetadataStore for D {
    async fn repository_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<RepoName>> {
        let after = after.map(str::to_owned);
        work!(self.read, [after], |conn| repositories::list(conn, after.as_deref(), limit))
    }

    async fn repository_delete(
        &self,
        repo: &RepoName,
        now: Timestamp,
        dead_until: Timestamp,
        by: &Actor,
    ) -> Result<Option<RepositoryDeleted>> {
        work!(self.write, [repo, by], |tx| repositories::delete(tx, &repo, now, dead_until, &by))
    }

    async fn blob_find(&self, repo: &RepoName, digest: &Digest) -> Result<Option<BlobRecord>> {
        work!(self.read, [repo, digest], |conn| blobs::find(conn, &repo, &digest))
    }

    async fn blob_lease(&self, repo: &RepoName, digest: &Digest, lease: HeadLease) -> Result<Option<BlobRecord>> {
        match work!(self.read, [repo, digest], |conn| blobs::find_leased(conn, &repo, &digest, lease))? {
            None => Ok(None),
            Some((row, None)) => BlobRecord::try_from(row.blob).map(Some),
            Some((_, Some(_))) => work!(self.write, [repo, digest], |tx| blobs::lease(tx, &repo, &digest, lease)),
        }
    }

    async fn blob_mount(&self, mount: &BlobMount) -> Result<Option<BlobRecord>> {
        work!(self.write, [mount], |tx| blobs::mount(tx, &mount))
    }

    async fn blob_delete(&self, repo: &RepoName, digest: &Digest, now: Timestamp, by: &Actor) -> Result<BlobDeleted> {
        work!(self.write, [repo, digest, by], |tx| blobs::delete(tx, &repo, &digest, now, &by))
    }

    async fn blob_put(&self, repo: &RepoName, blob: &NewBlob) -> Result<()> {
        work!(self.write, [repo, blob], |tx| blobs::put(tx, &repo, &blob))
    }

    async fn blob_damage(&self, damage: &BlobDamage) -> Result<bool> {
        work!(self.write, [damage], |tx| scrub::damage(tx, &damage))
    }

    async fn blob_unmark(&self, id: BlobId, key: &Key, now: Timestamp, by: &Actor) -> Result<bool> {
        work!(self.write, [key, by], |tx| scrub::unmark(tx, id, &key, now, &by))
    }

    async fn upload_find(&self, repo: &RepoName, id: &UploadId, now: Timestamp) -> Result<Option<UploadRecord>> {
        work!(self.read, [repo, id], |conn| uploads::find(conn, &repo, &id, now))
    }

    async fn upload_take(
        &self,
        repo: &RepoName,
        id: &UploadId,
        take: &UploadTake,
        now: Timestamp,
    ) -> Result<UploadTaken> {
        if take.key.is_some() {
            // An object must never be where no record of it is.
            return work!(self.write, [repo, id, take], |tx| uploads::take(tx, &repo, &id, &take, now));
        }
        work!(self.write_progress, [repo, id, take], |tx| uploads::take(tx, &repo, &id, &take, now))
    }

    async fn upload_intend(&self, hold: &UploadHold, key: &Key) -> Result<bool> {
        work!(self.write, [hold, key], |tx| uploads::intend(tx, &hold, &key))
    }

    async fn upload_rekey(&self, hold: &UploadHold, rekey: &Rekey) -> Result<bool> {
        work!(self.write, [hold, rekey], |tx| uploads::rekey(tx, &hold, &rekey))
    }

    async fn upload_checkpoint(&self, hold: &UploadHold, checkpoint: &Checkpoint) -> Result<bool> {
        work!(self.write_progress, [hold, checkpoint], |tx| uploads::checkpoint(tx, &hold, &checkpoint))
    }

    async fn upload_tail(&self, hold: &UploadHold) -> Result<Option<Bytes>> {
        work!(self.read, [hold], |conn| uploads::held_tail(conn, &hold))
    }

    async fn upload_renew(&self, hold: &UploadHold, expires_at: Timestamp) -> Result<bool> {
        work!(self.write_progress, [hold], |tx| uploads::renew(tx, &hold, expires_at))
    }

    async fn upload_completing(
        &self,
        hold: &UploadHold,
        digest: &Digest,
        received: u64,
        state: &DriverState,
    ) -> Result<bool> {
        work!(self.write, [hold, digest, state], |tx| uploads::completing(tx, &hold, &digest, received, &state))
    }

    async fn upload_commit(&self, hold: &UploadHold, blob: &NewBlob, keep_until: Timestamp) -> Result<bool> {
        work!(self.write, [hold, blob], |tx| uploads::commit(tx, &hold, &blob, keep_until))
    }

    async fn upload_put(&self, repo: &RepoName, id: &UploadId, put: &UploadPut) -> Result<bool> {
        work!(self.write, [repo, id, put], |tx| uploads::put(tx, &repo, &id, &put))
    }

    async fn upload_drop(&self, hold: &UploadHold, end: UploadEnd) -> Result<bool> {
        work!(self.write, [hold], |tx| uploads::drop_held(tx, &hold, end))
    }

    async fn upload_cancel(
        &self,
        repo: &RepoName,
        id: &UploadId,
        begin: Option<&NewUpload>,
        end: UploadEnd,
    ) -> Result<bool> {
        let begin = begin.cloned();
        work!(self.write, [repo, id, begin], |tx| uploads::cancel(tx, &repo, &id, begin.as_ref(), end))
    }

    async fn upload_expire(&self, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64> {
        work!(self.write, [], |tx| uploads::expire(tx, now, dead_until, limit))
    }

    async fn manifest_put(&self, put: &ManifestPut<'_>) -> Result<ManifestStored> {
        let put = Arc::new(manifests::Put::from(put));
        work!(self.write, [put], |tx| manifests::put(tx, &put))
    }

    async fn manifest_find(&self, repo: &RepoName, reference: &Reference) -> Result<Option<ManifestRecord>> {
        work!(self.read, [repo, reference], |conn| manifests::find(conn, &repo, &reference))
    }

    async fn manifest_delete(&self, delete: &ManifestDelete<'_>) -> Result<ManifestDeleted> {
        let delete = Arc::new(manifests::Delete::from(delete));
        work!(self.write, [delete], |tx| manifests::delete(tx, &delete))
    }

    async fn tag_delete(
        &self,
        repo: &RepoName,
        tag: &Tag,
        immutable: &ImmutableTags,
        now: Timestamp,
        by: &Actor,
    ) -> Result<TagDeleted> {
        let protected = immutable.covers(repo, tag);
        work!(self.write, [repo, tag, by], |tx| tags::delete(tx, &repo, &tag, protected, now, &by))
    }

    async fn tag_list(&self, repo: &RepoName, after: Option<&str>, limit: u32) -> Result<Option<Vec<Tag>>> {
        let after = after.map(str::to_owned);
        work!(self.read, [repo, after], |conn| tags::list(conn, &repo, after.as_deref(), limit))
    }

    async fn referrer_list(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ReferrerRecord>> {
        let (artifact_type, after) = (artifact_type.map(str::to_owned), after.map(str::to_owned));
        work!(self.read, [repo, subject, artifact_type, after], |conn| {
            manifests::referrers(conn, &repo, &subject, artifact_type.as_deref(), after.as_deref(), limit)
        })
    }

    async fn referrers_text(
        &self,
        repo: &RepoName,
        subject: &Digest,
        unless: &Tag,
        limit: u32,
    ) -> Result<Option<String>> {
        work!(self.read, [repo, subject, unless], |conn| {
            manifests::referrers_text(conn, &repo, &subject, &unless, limit)
        })
    }

    async fn trust_standing(&self, repo: &RepoName) -> Result<Option<Standing>> {
        work!(self.read, [repo], |conn| trust::standing(conn, &repo))
    }

    async fn signature_list(
        &self,
        repository: i64,
        subject: &Digest,
        tags: &[Tag],
        limit: u32,
    ) -> Result<Vec<SignatureRecord>> {
        work!(self.read, [subject, tags], |conn| trust::signatures(conn, repository, &subject, &tags, limit))
    }

    async fn signature_known(
        &self,
        repository: i64,
        subject: &Digest,
        tags: &[Tag],
        known: &[Digest],
    ) -> Result<Vec<SignatureRecord>> {
        work!(self.read, [subject, tags, known], |conn| {
            trust::known_signatures(conn, repository, &subject, &tags, &known)
        })
    }

    async fn manifest_parents(&self, repository: i64, digest: &Digest, limit: u32) -> Result<Vec<Digest>> {
        work!(self.read, [digest], |conn| trust::parents(conn, repository, &digest, limit))
    }

    async fn manifests_naming(&self, repository: i64, blob: &Digest, limit: u32) -> Result<Vec<NamingManifest>> {
        work!(self.read, [blob], |conn| trust::naming(conn, repository, &blob, limit))
    }

    async fn manifest_reached(
        &self,
        repository: i64,
        after: Option<&Digest>,
        limit: u32,
    ) -> Result<Vec<ReachedManifest>> {
        let after = after.cloned();
        work!(self.read, [after], |conn| trust::reached(conn, repository, after.as_ref(), limit))
    }

    async fn verdict_find(&self, repository: i64, digest: &Digest) -> Result<Option<VerdictRecord>> {
        work!(self.read, [digest], |conn| verdicts::find(conn, repository, &digest))
    }

    async fn verdict_put(&self, verdict: &VerdictPut) -> Result<Option<VerdictTurn>> {
        work!(self.write, [verdict], |tx| verdicts::put(tx, &verdict))
    }

    async fn verdict_scan(&self, after: Option<&(i64, Digest)>, limit: u32) -> Result<Vec<VerdictEntry>> {
        let after = after.cloned();
        work!(self.read, [after], |conn| verdicts::scan(conn, after.as_ref(), limit))
    }

    async fn verdict_sweep(&self) -> Result<VerdictSweep> {
        work!(self.read, [], |conn| verdicts::sweep(conn))
    }

    async fn verdict_sweep_take(&self, take: &VerdictSweepTake) -> Result<bool> {
        work!(self.write, [take], |tx| verdicts::take(tx, &take))
    }

    async fn verdict_sweep_keep(&self, keep: &VerdictSweepKeep) -> Result<bool> {
        work!(self.write, [keep], |tx| verdicts::keep(tx, &keep))
    }

    async fn policy_find(&self) -> Result<Option<PolicyRecord>> {
        work!(self.read, [], |conn| trust::policy(conn))
    }

    async fn policy_with(&self, number: i64) -> Result<Option<PolicyRecord>> {
        work!(self.read, [], |conn| trust::policy_with(conn, number))
    }

    async fn policy_list(&self, before: i64, limit: u32) -> Result<Vec<PolicyEntry>> {
        work!(self.read, [], |conn| trust::policies(conn, before, limit))
    }

    async fn policy_number(&self) -> Result<i64> {
        work!(self.read, [], |conn| trust::policy_id(conn))
    }

    async fn policy_put(&self, put: &PolicyPut) -> Result<Option<i64>> {
        work!(self.write, [put], |tx| trust::put_policy(tx, &put))
    }

    async fn manifest_facts(&self, repo: &RepoName, after: Option<&Digest>, limit: u32) -> Result<Vec<ManifestFacts>> {
        let after = after.cloned();
        work!(self.read, [repo, after], |conn| retention::page(conn, &repo, after.as_ref(), limit))
    }

    async fn manifest_retire(&self, retire: &ManifestRetire<'_>) -> Result<ManifestsRetired> {
        let retire = Arc::new(retention::Retire::from(retire));
        work!(self.write, [retire], |tx| retention::retire(tx, &retire))
    }

    async fn manifest_pulled(&self, pulls: &[(i64, Timestamp)], stale: Timestamp) -> Result<()> {
        work!(self.write, [pulls], |tx| retention::pulled(tx, &pulls, stale))
    }

    async fn manifest_bytes_alone(&self, repo: &RepoName, manifests: &[i64]) -> Result<u64> {
        work!(self.read, [repo, manifests], |conn| retention::bytes_alone(conn, &repo, &manifests))
    }

    async fn download_add(&self, downloads: &[(Download, u64)]) -> Result<()> {
        work!(self.write, [downloads], |tx| downloads::add(tx, &downloads))
    }

    async fn download_list(&self, repo: &RepoName, before: i64, limit: u32) -> Result<Vec<DownloadRecord>> {
        work!(self.read, [repo], |conn| downloads::list(conn, &repo, before, limit))
    }

    async fn download_forget(&self, before: Timestamp, limit: u32) -> Result<u64> {
        work!(self.write, [], |tx| downloads::forget(tx, before, limit))
    }

    async fn manifest_collect(&self, now: Timestamp, limit: u32) -> Result<Collected> {
        work!(self.write, [], |tx| collect::manifests(tx, now, limit))
    }

    async fn membership_collect(&self, now: Timestamp, limit: u32) -> Result<Collected> {
        work!(self.write, [], |tx| collect::memberships(tx, now, limit))
    }

    async fn blob_collect(&self, now: Timestamp, doomed_until: Timestamp, limit: u32) -> Result<Collected> {
        work!(self.write, [], |tx| collect::blobs(tx, now, doomed_until, limit))
    }

    async fn deletion_claim(&self, now: Timestamp, limit: u32) -> Result<Vec<Deletion>> {
        work!(self.write, [], |tx| collect::claim(tx, now, limit))
    }

    async fn purge_hold(&self, name: &str, until: Timestamp) -> Result<()> {
        work!(self.write, [name], |tx| collect::hold(tx, &name, until))
    }

    async fn purge_release(&self, name: &str) -> Result<()> {
        work!(self.write, [name], |tx| collect::release(tx, &name))
    }

    async fn purge_holds(&self, now: Timestamp) -> Result<Vec<PurgeHold>> {
        work!(self.read, [], |conn| collect::holds(conn, now))
    }

    async fn garbage_list(
        &self,
        kind: GarbageKind,
        now: Timestamp,
        after: &GarbageCursor,
        limit: u32,
    ) -> Result<Vec<Garbage>> {
        work!(self.read, [after], |conn| garbage::list(conn, kind, now, &after, limit))
    }

    async fn repository_ids(&self, after: Option<&str>, limit: u32) -> Result<Vec<(RepoName, i64)>> {
        let after = after.map(str::to_owned);
        work!(self.read, [after], |conn| garbage::repositories(conn, after.as_deref(), limit))
    }

    async fn repository_usage(&self, repositories: &[i64]) -> Result<Vec<RepositoryUsage>> {
        work!(self.read, [repositories], |conn| garbage::usage(conn, &repositories))
    }

    async fn total_usage(&self, repositories: Option<&[i64]>) -> Result<TotalUsage> {
        let repositories = repositories.map(<[i64]>::to_vec);
        work!(self.read, [repositories], |conn| garbage::total(conn, repositories.as_deref()))
    }

    async fn deletion_done(&self, keys: &[Key]) -> Result<()> {
        work!(self.write, [keys], |tx| collect::done(tx, &keys))
    }

    async fn deletion_retry(&self, key: &Key, not_before: Timestamp) -> Result<()> {
        work!(self.write, [key], |tx| collect::retry(tx, &key, not_before))
    }

    async fn purge_pending(&self, blobs: &[BlobId], keys: &[Key], now: Timestamp) -> Result<bool> {
        work!(self.read, [blobs, keys], |conn| collect::pending(conn, &blobs, &keys, now))
    }

    async fn blob_scan(&self, after: BlobId, limit: u32) -> Result<Vec<BlobRecord>> {
        work!(self.read, [], |conn| checks::scan(conn, after, limit))
    }

    async fn manifest_scan(&self, after: i64, limit: u32) -> Result<Vec<ManifestBytes>> {
        work!(self.read, [], |conn| scrub::manifests(conn, after, limit))
    }

    async fn manifest_damage(&self, damage: &ManifestDamage) -> Result<bool> {
        work!(self.write, [damage], |tx| scrub::damage_manifest(tx, &damage))
    }

    async fn scrub_take(&self, take: &ScrubTake) -> Result<Option<ScrubPass>> {
        if !work!(self.read, [take], |conn| scrub::is_due(conn, &take))? {
            return Ok(None);
        }
        work!(self.write, [take], |tx| scrub::take(tx, &take))
    }

    async fn scrub_keep(&self, node: &str, pass: &ScrubPass, until: Timestamp) -> Result<bool> {
        work!(self.write_progress, [node, pass], |tx| scrub::keep(tx, &node, &pass, until))
    }

    async fn blob_keys(&self, blobs: &[BlobId]) -> Result<Vec<Key>> {
        work!(self.read, [blobs], |conn| checks::blob_keys(conn, &blobs))
    }

    async fn key_known(&self, keys: &[Key]) -> Result<Vec<bool>> {
        work!(self.read, [keys], |conn| checks::known(conn, &keys))
    }

    async fn reference_check(&self) -> Result<Vec<Finding>> {
        work!(self.read, [], |conn| checks::references(conn))
    }

    async fn blob_restore(
        &self,
        digest: &Digest,
        size: u64,
        key: &Key,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<()> {
        work!(self.write, [digest, key], |tx| checks::restore(tx, &digest, size, &key, now, keep_until))
    }

    async fn session_key(&self) -> Result<[u8; 32]> {
        work!(self.read, [], |conn| dump::session_key(conn))
    }

    async fn instance(&self) -> Result<Instance> {
        work!(self.read, [], |conn| dump::instance(conn))
    }

    async fn copy_begin(&self, of: &str) -> Result<()> {
        work!(self.write, [of], |tx| dump::copy_begin(tx, &of))
    }

    async fn copy_serve(&self, now: Timestamp) -> Result<bool> {
        work!(self.write, [], |tx| dump::copy_serve(tx, now))
    }

    fn dump(&self) -> Rows {
        dump::dump(self.snapshot())
    }

    async fn load(&self, rows: Rows, options: LoadOptions) -> Result<()> {
        let rows = dump::waiting(rows);
        work!(self.write, [rows], |tx| dump::load(tx, rows, options))
    }

    async fn key_sound(&self, keys: &[Key]) -> Result<Vec<bool>> {
        work!(self.read, [keys], |conn| dump::sound(conn, &keys))
    }

    async fn blob_adopt(&self, repo: &RepoName, adopt: &BlobAdopt) -> Result<Vec<Digest>> {
        work!(self.write, [repo, adopt], |tx| blobs::adopt(tx, &repo, &adopt))
    }

    async fn upload_count(&self) -> Result<u64> {
        work!(self.read, [], |conn| checks::uploads(conn))
    }

    async fn counts(&self) -> Result<StoreCounts> {
        work!(self.read, [], |conn| checks::counts(conn))
    }

    async fn ping(&self) -> Result<()> {
        self.check()?;
        work!(self.read, [], |conn| checks::ping(conn))
    }

    async fn close(&self) {
        Database::close(self).await;
    }
}
