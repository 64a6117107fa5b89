//! The trait, method by method: reads go to the pool, writes to the writing task.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::metadata::model::{
    BlobDeleted, BlobId, BlobMount, BlobRecord, Checkpoint, Collected, Deletion, Finding, HeadLease, ManifestDelete,
    ManifestDeleted, ManifestPut, ManifestRecord, ManifestStored, NewBlob, NewUpload, ReferrerRecord,
    RepositoryDeleted, StoreCounts, TagDeleted, UploadHold, UploadId, UploadRecord, UploadTake, UploadTaken,
};
use crate::metadata::sqlite::{SqliteStore, blobs, checks, collect, manifests, repositories, tags, uploads};
use crate::metadata::{MetadataError, MetadataStore, Result};
use crate::oci::digest::Digest;
use crate::oci::glob::ImmutableTags;
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::storage::{DriverState, Key};

/// Sends a write to the task. The names in brackets are cloned, because the write outlives a caller that goes away.
macro_rules! write {
    ($store:ident, [$($owned:ident),*], |$tx:ident| $work:expr) => {{
        $(let $owned = $owned.clone();)*
        $store.writer.call(move |$tx| Box::pin(async move { $work.await })).await
    }};
}

#[async_trait]
impl MetadataStore for SqliteStore {
    async fn repository_list(&self, after: Option<&str>, limit: u32) -> Result<Vec<RepoName>> {
        repositories::list(&self.readers, after, limit).await
    }

    async fn repository_delete(
        &self,
        repo: &RepoName,
        now: Timestamp,
        dead_until: Timestamp,
    ) -> Result<Option<RepositoryDeleted>> {
        write!(self, [repo], |tx| repositories::delete(tx, &repo, now, dead_until))
    }

    async fn blob_find(&self, repo: &RepoName, digest: &Digest) -> Result<Option<BlobRecord>> {
        blobs::find(&self.readers, repo, digest).await
    }

    async fn blob_lease(&self, repo: &RepoName, digest: &Digest, lease: HeadLease) -> Result<Option<BlobRecord>> {
        match blobs::find_leased(&self.readers, repo, digest, lease).await? {
            None => Ok(None),
            Some((row, None)) => BlobRecord::try_from(row.blob).map(Some),
            Some((_, Some(_))) => write!(self, [repo, digest], |tx| blobs::lease(tx, &repo, &digest, lease)),
        }
    }

    async fn blob_mount(&self, mount: &BlobMount) -> Result<Option<BlobRecord>> {
        write!(self, [mount], |tx| blobs::mount(tx, &mount))
    }

    async fn blob_delete(&self, repo: &RepoName, digest: &Digest, now: Timestamp) -> Result<BlobDeleted> {
        write!(self, [repo, digest], |tx| blobs::delete(tx, &repo, &digest, now))
    }

    async fn blob_put(&self, repo: &RepoName, blob: &NewBlob) -> Result<()> {
        write!(self, [repo, blob], |tx| async {
            let repo_id = repositories::ensure(tx, &repo, blob.now).await?;
            blobs::commit(tx, repo_id, &blob).await
        })
    }

    async fn blob_damage(&self, id: BlobId, key: &Key, now: Timestamp) -> Result<()> {
        write!(self, [key], |tx| blobs::damage(tx, id, &key, now))
    }

    async fn upload_create(&self, repo: &RepoName, upload: &NewUpload) -> Result<()> {
        write!(self, [repo, upload], |tx| uploads::create(tx, &repo, &upload))
    }

    async fn upload_find(&self, repo: &RepoName, id: &UploadId, now: Timestamp) -> Result<Option<UploadRecord>> {
        uploads::find(&self.readers, repo, id, now).await
    }

    async fn upload_take(
        &self,
        repo: &RepoName,
        id: &UploadId,
        take: &UploadTake,
        now: Timestamp,
    ) -> Result<UploadTaken> {
        write!(self, [repo, id, take], |tx| uploads::take(tx, &repo, &id, &take, now))
    }

    async fn upload_intend(&self, hold: &UploadHold, key: &Key) -> Result<bool> {
        write!(self, [hold, key], |tx| uploads::intend(tx, &hold, &key))
    }

    async fn upload_checkpoint(&self, hold: &UploadHold, checkpoint: &Checkpoint) -> Result<bool> {
        write!(self, [hold, checkpoint], |tx| uploads::checkpoint(tx, &hold, &checkpoint))
    }

    async fn upload_renew(&self, hold: &UploadHold, expires_at: Timestamp) -> Result<bool> {
        write!(self, [hold], |tx| uploads::renew(tx, &hold, expires_at))
    }

    async fn upload_completing(
        &self,
        hold: &UploadHold,
        digest: &Digest,
        received: u64,
        state: &DriverState,
    ) -> Result<bool> {
        write!(self, [hold, digest, state], |tx| uploads::completing(tx, &hold, &digest, received, &state))
    }

    async fn upload_commit(&self, hold: &UploadHold, blob: &NewBlob, keep_until: Timestamp) -> Result<bool> {
        write!(self, [hold, blob], |tx| uploads::commit(tx, &hold, &blob, keep_until))
    }

    async fn upload_drop(&self, hold: &UploadHold, dead_until: Timestamp) -> Result<bool> {
        write!(self, [hold], |tx| uploads::drop_held(tx, &hold, dead_until))
    }

    async fn upload_cancel(
        &self,
        repo: &RepoName,
        id: &UploadId,
        now: Timestamp,
        dead_until: Timestamp,
    ) -> Result<bool> {
        write!(self, [repo, id], |tx| uploads::cancel(tx, &repo, &id, now, dead_until))
    }

    async fn upload_expire(&self, now: Timestamp, dead_until: Timestamp, limit: u32) -> Result<u64> {
        write!(self, [], |tx| uploads::expire(tx, now, dead_until, limit))
    }

    async fn manifest_put(&self, put: &ManifestPut<'_>) -> Result<ManifestStored> {
        let put = manifests::Put::from(put);
        write!(self, [], |tx| manifests::put(tx, &put))
    }

    async fn manifest_find(&self, repo: &RepoName, reference: &Reference) -> Result<Option<ManifestRecord>> {
        manifests::find(&self.readers, repo, reference).await
    }

    async fn manifest_delete(&self, delete: &ManifestDelete<'_>) -> Result<ManifestDeleted> {
        let delete = manifests::Delete::from(delete);
        write!(self, [], |tx| manifests::delete(tx, &delete))
    }

    async fn tag_delete(
        &self,
        repo: &RepoName,
        tag: &Tag,
        immutable: &ImmutableTags,
        now: Timestamp,
    ) -> Result<TagDeleted> {
        let protected = immutable.covers(repo, tag);
        write!(self, [repo, tag], |tx| tags::delete(tx, &repo, &tag, protected, now))
    }

    async fn tag_list(&self, repo: &RepoName, after: Option<&str>, limit: u32) -> Result<Option<Vec<Tag>>> {
        tags::list(&self.readers, repo, after, limit).await
    }

    async fn referrer_list(
        &self,
        repo: &RepoName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ReferrerRecord>> {
        manifests::referrers(&self.readers, repo, subject, artifact_type, after, limit).await
    }

    async fn manifest_collect(&self, now: Timestamp, limit: u32) -> Result<Collected> {
        write!(self, [], |tx| collect::manifests(tx, now, limit))
    }

    async fn membership_collect(&self, now: Timestamp, limit: u32) -> Result<Collected> {
        write!(self, [], |tx| collect::memberships(tx, now, limit))
    }

    async fn blob_collect(&self, now: Timestamp, limit: u32) -> Result<Collected> {
        write!(self, [], |tx| collect::blobs(tx, now, limit))
    }

    async fn deletion_claim(&self, now: Timestamp, limit: u32) -> Result<Vec<Deletion>> {
        write!(self, [], |tx| collect::claim(tx, now, limit))
    }

    async fn deletion_done(&self, keys: &[Key]) -> Result<()> {
        let keys = keys.to_vec();
        write!(self, [], |tx| collect::done(tx, &keys))
    }

    async fn deletion_retry(&self, key: &Key, not_before: Timestamp) -> Result<()> {
        write!(self, [key], |tx| collect::retry(tx, &key, not_before))
    }

    async fn purge_pending(&self, blobs: &[BlobId], keys: &[Key], now: Timestamp) -> Result<bool> {
        collect::pending(&self.readers, blobs, keys, now).await
    }

    async fn blob_scan(&self, after: BlobId, limit: u32) -> Result<Vec<BlobRecord>> {
        checks::scan(&self.readers, after, limit).await
    }

    async fn blob_keys(&self, blobs: &[BlobId]) -> Result<Vec<Key>> {
        checks::blob_keys(&self.readers, blobs).await
    }

    async fn key_known(&self, keys: &[Key]) -> Result<Vec<bool>> {
        checks::known(&self.readers, keys).await
    }

    async fn reference_check(&self) -> Result<Vec<Finding>> {
        checks::references(&self.readers).await
    }

    async fn blob_restore(
        &self,
        digest: &Digest,
        size: u64,
        key: &Key,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<()> {
        write!(self, [digest, key], |tx| checks::restore(tx, &digest, size, &key, now, keep_until))
    }

    async fn counts(&self) -> Result<StoreCounts> {
        checks::counts(&self.readers).await
    }

    async fn ping(&self) -> Result<()> {
        if self.writer.died().is_cancelled() {
            return Err(MetadataError::Unavailable("the writing task ended".to_owned()));
        }
        checks::ping(&self.readers).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}
