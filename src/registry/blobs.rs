//! Blobs: found, read, mounted, deleted.

use std::ops::Range;
use std::time::Duration;

use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobDeleted, BlobLocation, BlobMount, BlobRecord, HeadLease};
use crate::oci::digest::Digest;
use crate::oci::name::RepoName;
use crate::registry::error::RETRY_AFTER;
use crate::registry::gate::Ruling;
use crate::registry::presence::Others;
use crate::registry::{OpenBlob, Purge, Registry, RegistryError, Result};
use crate::storage::{BlobRead, Key, ReadSource, StorageError};

/// How long an address may be good at most under which something is fetched that a policy may refuse tomorrow.
const GATED_REDIRECT_TTL: Duration = Duration::from_mins(1);

impl Registry {
    /// A blob for HEAD. A caller who may push will not upload what it was told exists, so it gets a lease.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`], also for a damaged blob when the caller may push: pushing heals it.
    pub async fn stat_blob(&self, repo: &RepoName, digest: &Digest, may_push: bool) -> Result<BlobRecord> {
        if !may_push {
            return self.open_blob(repo, digest).await.map(|blob| blob.record);
        }
        let now = self.clock.now();
        let lease = HeadLease {
            now,
            unreferenced_until: now.after(self.options.blob_lease),
            referenced_until: now.after(self.options.head_lease),
        };
        let found = self.metadata.blob_lease(repo, digest, lease).await?;
        found.ok_or_else(|| RegistryError::BlobUnknown(digest.clone()))
    }

    /// A blob for GET.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`]; [`RegistryError::BlobDamaged`] when its bytes are known to be wrong.
    pub async fn open_blob(&self, repo: &RepoName, digest: &Digest) -> Result<OpenBlob> {
        match self.metadata.blob_find(repo, digest).await? {
            None => Err(RegistryError::BlobUnknown(digest.clone())),
            Some(record) if record.damaged_at.is_some() => Err(RegistryError::BlobDamaged(digest.clone())),
            Some(record) => Ok(OpenBlob { record }),
        }
    }

    /// Bytes of an opened blob: `range` (end exclusive, within the blob), or all of it.
    ///
    /// # Errors
    /// [`RegistryError::BlobDamaged`] when the object is missing or short, which marks the blob; [`RegistryError::Busy`]
    /// when everything else is missing too, which marks nothing;
    /// [`RegistryError::BlobUnknown`] when the blob was collected since it was opened.
    pub async fn read_blob(&self, repo: &RepoName, blob: &OpenBlob, range: Option<Range<u64>>) -> Result<BlobRead> {
        let record = &blob.record;
        match self.read_location(record, range.clone()).await {
            Err(StorageError::NotFound { .. } | StorageError::Corrupt { .. }) => {}
            other => return Ok(other?),
        }
        // Either the blob went, or was healed under another key, while it was opened; or its bytes are gone.
        let again = self.open_blob(repo, &record.digest).await?;
        let mut read = self.read_location(&again.record, range.clone()).await;
        if matches!(read, Err(StorageError::NotFound { .. })) {
            self.require_store(&again.record).await?;
            // It may have come back since it did not have them.
            read = self.read_location(&again.record, range).await;
        }
        match read {
            Err(StorageError::NotFound { .. } | StorageError::Corrupt { .. }) => {
                self.damage_blob(&again.record, "a pull found its object missing or short", &Actor::default()).await?;
                Err(RegistryError::BlobDamaged(record.digest.clone()))
            }
            other => Ok(other?),
        }
    }

    /// Refuses to believe that a blob is lost when everything is.
    async fn require_store(&self, lost: &BlobRecord) -> Result<()> {
        if self.others_there(lost).await? != Others::Away {
            return Ok(());
        }
        let digest = &lost.digest;
        tracing::error!(
            blob.digest = %digest,
            "a blob has no object, nor has any other that was looked for: is the store mounted, and the right one?"
        );
        Err(RegistryError::Busy { retry_after: RETRY_AFTER })
    }

    /// An address from which the client may fetch an opened blob itself; `None`: its bytes come from here.
    ///
    /// # Errors
    /// Those of the store, which needs its credentials to make the address.
    pub async fn redirect_blob(&self, blob: &OpenBlob, ruling: &Ruling) -> Result<Option<String>> {
        let ttl = self.options.redirect_ttl;
        let ttl = if ruling.is_on() { ttl.min(GATED_REDIRECT_TTL) } else { ttl };
        match &blob.record.location {
            BlobLocation::Object(key) if !ttl.is_zero() => Ok(self.storage.presign(key, ttl).await?),
            _ => Ok(None),
        }
    }

    /// Makes a blob of another repository (`None`: of any) a member of `to`. `false`: it cannot be; upload it.
    pub async fn mount_blob(&self, to: &RepoName, from: Option<&RepoName>, digest: &Digest) -> Result<bool> {
        self.check_room().await?;
        let now = self.clock.now();
        let mount = BlobMount {
            to: to.clone(),
            from: from.cloned(),
            digest: digest.clone(),
            now,
            lease_until: now.after(self.options.blob_lease),
        };
        Ok(self.metadata.blob_mount(&mount).await?.is_some())
    }

    /// Ends a blob's membership in a repository.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`]; [`RegistryError::Referenced`] while a manifest of the repository names it.
    pub async fn delete_blob(&self, repo: &RepoName, digest: &Digest, purge: Purge, by: &Actor) -> Result<()> {
        match self.metadata.blob_delete(repo, digest, self.clock.now(), by).await? {
            BlobDeleted::Unknown => Err(RegistryError::BlobUnknown(digest.clone())),
            BlobDeleted::Referenced(by) => Err(RegistryError::Referenced { what: digest.clone(), by }),
            BlobDeleted::Deleted(id) => self.after_delete(&[id], purge).await,
        }
    }

    async fn read_location(
        &self,
        record: &BlobRecord,
        range: Option<Range<u64>>,
    ) -> std::result::Result<BlobRead, StorageError> {
        match &record.location {
            BlobLocation::Inline(bytes) => {
                let size = bytes.len() as u64;
                let range = range.unwrap_or(0..size);
                let (from, to) = (clamp(range.start, bytes.len()), clamp(range.end, bytes.len()));
                let piece = bytes.slice(from.min(to)..to);
                let stream = futures_util::stream::once(std::future::ready(Ok(piece)));
                Ok(BlobRead { size, source: ReadSource::Stream(Box::pin(stream)) })
            }
            BlobLocation::Object(key) => self.read_object(key, record.size, range).await,
        }
    }

    async fn read_object(
        &self,
        key: &Key,
        size: u64,
        range: Option<Range<u64>>,
    ) -> std::result::Result<BlobRead, StorageError> {
        let read = self.storage.read(key, range).await?;
        if read.size == size {
            return Ok(read);
        }
        let reason = format!("it has {} bytes instead of {size}", read.size);
        Err(StorageError::Corrupt { key: key.to_string(), reason })
    }
}

fn clamp(offset: u64, len: usize) -> usize {
    usize::try_from(offset).unwrap_or(len).min(len)
}
