//! Checking the store against the facts: invariants I1 to I4, beside a running server if need be.
//!
//! It lists the store first, asks the database second and looks at objects third, and looks at every finding twice, so that
//! what a running server does meanwhile is not mistaken for damage.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt};

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord};
use crate::oci::digest::{Algorithm, Digest, Hasher};
use crate::registry::damage::{inline_fault, manifest_fault};
use crate::registry::{Registry, Result};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{Key, ObjectInfo, StorageError};

/// Blobs or keys handled at a time.
const BATCH: u32 = 500;

/// Manifests read at a time; each may have megabytes.
const MANIFESTS: u32 = 8;

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsckOptions {
    /// Read every blob's bytes and compare the digest.
    pub rehash: bool,
    /// First put objects that no row knows back on the map, by reading and hashing them.
    pub rebuild: bool,
}

impl Registry {
    /// Checks I1 to I4 and gives each finding to `report` as one line; says how many there were.
    ///
    /// A blob or manifest found missing or damaged is marked, so that the next push of it heals it. One that is marked and
    /// turns out to be whole, when every byte is read, is served again.
    pub async fn fsck(&self, options: FsckOptions, report: &mut (dyn FnMut(String) + Send)) -> Result<u64> {
        if options.rebuild {
            self.rebuild().await?;
        }
        let mut findings = 0;
        let mut count = |line: String| {
            findings += 1;
            report(line);
        };
        self.check_objects(&mut count).await?;
        let by = Actor::command_line();
        self.check_blobs(options.rehash, None, &by, &mut count).await?;
        if options.rehash {
            self.check_manifests(&by, &mut count).await?;
        }
        for finding in self.metadata.reference_check().await? {
            count(format!("{}: {}", finding.invariant, finding.text));
        }
        Ok(findings)
    }

    /// Re-reads the blobs committed since `since`: what a store without strict durability may have lost in an unclean stop.
    /// Says how many were damaged; they are marked.
    pub async fn rehash_recent(&self, since: Timestamp) -> Result<u64> {
        let mut damaged = 0;
        let mut count = |_line: String| damaged += 1;
        self.check_blobs(true, Some(since), &Actor::job("start"), &mut count).await?;
        Ok(damaged)
    }

    /// The digest of an object's bytes, `size` of them.
    pub(super) async fn hash_object(&self, key: &Key, size: u64, algorithm: Algorithm) -> Result<Digest> {
        Ok(self.read_and_hash(key, size, algorithm).await?)
    }

    /// I2: every object is known to uploads, blobs or `object_deletions`.
    async fn check_objects(&self, report: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let mut suspects = Vec::new();
        self.for_each_unknown(async |object| {
            suspects.push(object);
            Ok(())
        })
        .await?;
        // The second look: it may have been collected, or committed, since it was listed. What is gone from the store goes
        // from the facts after that, so the facts are asked first.
        let mut unknown = Vec::new();
        for object in suspects {
            if self.metadata.key_known(std::slice::from_ref(&object.key)).await?.first() == Some(&false) {
                unknown.push(object);
            }
        }
        let some = unknown.iter().any(|object| object.size.is_none());
        let uploads = if some { self.unfinished_uploads().await? } else { HashSet::new() };
        for ObjectInfo { key, size } in unknown {
            if size.is_none() && uploads.contains(&key) {
                report(format!("I2: the unfinished upload of {key} is known to nobody"));
            } else if size.is_some() && self.storage.stat(&key).await.is_ok() {
                report(format!("I2: object {key} is known to nobody"));
            }
        }
        Ok(())
    }

    /// The keys of unfinished multipart uploads.
    async fn unfinished_uploads(&self) -> Result<HashSet<Key>> {
        let unfinished = async |object: ObjectInfo| Ok(object.size.is_none().then_some(object.key));
        Ok(self.storage.list().try_filter_map(unfinished).try_collect().await?)
    }

    /// I1: every blob has its bytes, with the right size and digest.
    async fn check_blobs(
        &self,
        rehash: bool,
        since: Option<Timestamp>,
        by: &Actor,
        report: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        let mut after = BlobId(i64::MIN);
        loop {
            let blobs = self.metadata.blob_scan(after, BATCH).await?;
            let Some(last) = blobs.last() else { return Ok(()) };
            after = last.id;
            for blob in blobs.iter().filter(|blob| since.is_none_or(|since| blob.created_at >= since)) {
                let Some(first) = self.blob_fault(blob, rehash).await? else {
                    self.check_mark(blob, rehash, by, report).await?;
                    continue;
                };
                let Some(again) = self.metadata.blob_scan(BlobId(blob.id.0 - 1), 1).await?.pop() else { continue };
                if again.id != blob.id {
                    continue;
                }
                if again.location != blob.location && self.blob_fault(&again, rehash).await?.is_none() {
                    continue;
                }
                self.damage_blob(&again, &first, by).await?;
                report(format!("I1: blob {} {first}", blob.digest));
            }
        }
    }

    /// Nothing wrong was found with a blob. If it is marked all the same, perhaps because the store was away, and its bytes
    /// were read, it is unmarked; else they may be wrong.
    async fn check_mark(
        &self,
        blob: &BlobRecord,
        rehash: bool,
        by: &Actor,
        report: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        if blob.damaged_at.is_none() {
            return Ok(());
        }
        match &blob.location {
            BlobLocation::Object(key) if rehash => {
                if self.metadata.blob_unmark(blob.id, key, self.clock.now(), by).await? {
                    tracing::info!(blob.digest = %blob.digest, blob.key = %key, "a blob is not damaged any more");
                }
            }
            _ => report(format!("I1: blob {} is marked as damaged", blob.digest)),
        }
        Ok(())
    }

    /// I1 of manifests: their rows have the right bytes.
    async fn check_manifests(&self, by: &Actor, report: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let manifests = self.metadata.manifest_scan(after, MANIFESTS).await?;
            let Some(last) = manifests.last() else { return Ok(()) };
            after = last.id;
            for manifest in &manifests {
                let Some(fault) = manifest_fault(manifest) else { continue };
                self.damage_manifest(manifest, &fault, by).await?;
                report(format!("I1: manifest {} {fault}", manifest.digest));
            }
        }
    }

    /// What is wrong with a blob's bytes.
    async fn blob_fault(&self, blob: &BlobRecord, rehash: bool) -> Result<Option<String>> {
        let key = match &blob.location {
            BlobLocation::Inline(bytes) => return Ok(inline_fault(blob, bytes)),
            BlobLocation::Object(key) => key,
        };
        let found = match self.storage.stat(key).await {
            Err(StorageError::NotFound { .. }) => return Ok(Some(format!("has no object {key}"))),
            other => other?,
        };
        if found != blob.size {
            return Ok(Some(format!("has {found} bytes in {key} instead of {}", blob.size)));
        }
        if !rehash {
            return Ok(None);
        }
        match self.read_and_hash(key, blob.size, blob.digest.algorithm()).await {
            Ok(actual) if actual == blob.digest => Ok(None),
            Ok(actual) => Ok(Some(format!("has the bytes of {actual} in {key}"))),
            Err(StorageError::NotFound { .. } | StorageError::Corrupt { .. }) => {
                Ok(Some(format!("cannot be read whole from {key}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts every object that no row knows back on the map, under the digest that its bytes have.
    async fn rebuild(&self) -> Result<()> {
        let mut objects = Vec::new();
        self.for_each_unknown(async |object| {
            objects.push(object);
            Ok(())
        })
        .await?;
        for ObjectInfo { key, size } in objects {
            let Some(size) = size else { continue };
            let algorithm =
                if key.as_str().starts_with("blobs/sha512/") { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = self.hash_object(&key, size, algorithm).await?;
            let now = self.clock.now();
            tracing::info!(blob.digest = %digest, blob.key = %key, "object put back on the map");
            self.metadata.blob_restore(&digest, size, &key, now, now.after(self.options.blob_lease)).await?;
        }
        Ok(())
    }

    async fn for_each_unknown(&self, mut visit: impl AsyncFnMut(ObjectInfo) -> Result<()>) -> Result<()> {
        let mut listing = self.storage.list().chunks(BATCH as usize);
        while let Some(chunk) = listing.next().await {
            let objects = chunk.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
            let keys: Vec<Key> = objects.iter().map(|object| object.key.clone()).collect();
            let known = self.metadata.key_known(&keys).await?;
            for (object, _) in objects.into_iter().zip(known).filter(|(_, known)| !known) {
                visit(object).await?;
            }
        }
        Ok(())
    }

    async fn read_and_hash(
        &self,
        key: &Key,
        size: u64,
        algorithm: Algorithm,
    ) -> std::result::Result<Digest, StorageError> {
        let mut stream = self.storage.read(key, Some(0..size)).await?.into_stream(READ_CHUNK_BYTES);
        let (mut hasher, mut read) = (Hasher::new(algorithm), 0);
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            read += piece.len() as u64;
            hasher.update(&piece);
        }
        if read != size {
            let reason = format!("{read} of its {size} bytes could be read");
            return Err(StorageError::Corrupt { key: key.to_string(), reason });
        }
        Ok(hasher.finish())
    }
}
