//! Manifests and tags: stored, found, listed, deleted.

use crate::metadata::model::accounts::Actor;
use crate::metadata::model::{
    BlobEdge, BlobRole, ChildEdge, ManifestDelete, ManifestDeleted, ManifestPut, ManifestRecord, ManifestStored,
    NewManifest, TagDeleted,
};
use crate::oci::descriptor::Descriptor;
use crate::oci::digest::{Algorithm, Digest};
use crate::oci::manifest::{Manifest, ManifestLimits};
use crate::oci::name::{RepoName, Tag};
use crate::oci::reference::Reference;
use crate::registry::error::RETRY_AFTER;
use crate::registry::gate::Ruling;
use crate::registry::{
    Limits, ManifestReceipt, Page, PageRequest, Purge, PutManifest, Registry, RegistryError, Result, StoredManifest,
    cut_page, page_limit,
};
use crate::verify::artifact::is_signature_tag;

/// How long referrers outlive a deleted subject, should it come back.
pub(super) const REFERRER_GRACE: std::time::Duration = std::time::Duration::from_hours(24);

/// How often a manifest is judged for its tags while signatures or policies change under it.
const JUDGED_AGAIN_MAX: u32 = 5;

impl From<ManifestRecord> for StoredManifest {
    fn from(record: ManifestRecord) -> Self {
        let ManifestRecord { digest, media_type, payload, created_at, .. } = record;
        Self { digest, media_type, payload, created_at }
    }
}

impl Registry {
    /// A manifest by tag or digest, whatever the gate says of it: for the registry's own work. Who gives it to somebody asks
    /// [`pull_manifest`](Self::pull_manifest).
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`]; [`RegistryError::ManifestDamaged`] when its bytes are known to be wrong.
    pub async fn find_manifest(&self, repo: &RepoName, reference: &Reference) -> Result<StoredManifest> {
        let record = self.manifest_record(repo, reference).await?;
        self.pulls.note(&record, self.clock.now());
        Ok(record.into())
    }

    pub(super) async fn manifest_record(&self, repo: &RepoName, reference: &Reference) -> Result<ManifestRecord> {
        let found = self.metadata.manifest_find(repo, reference).await?;
        let record = found.ok_or_else(|| RegistryError::ManifestUnknown(reference.clone()))?;
        if record.damaged_at.is_some() {
            return Err(RegistryError::ManifestDamaged(reference.clone()));
        }
        Ok(record)
    }

    /// Stores a manifest under its digest and moves tags to it, all in one transaction (end-7).
    ///
    /// # Errors
    /// [`RegistryError::ManifestInvalid`], [`RegistryError::ManifestTooLarge`], [`RegistryError::DigestMismatch`],
    /// [`RegistryError::ContentMissing`], [`RegistryError::TagImmutable`], [`RegistryError::PreconditionFailed`],
    /// [`RegistryError::DiskFull`].
    pub async fn put_manifest(&self, repo: &RepoName, put: PutManifest, by: &Actor) -> Result<ManifestReceipt> {
        self.check_room().await?;
        let limits = &self.options.limits;
        if put.payload.len() as u64 > limits.manifest_bytes_max {
            return Err(RegistryError::ManifestTooLarge { max: limits.manifest_bytes_max });
        }
        let digest = match &put.reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &put.payload),
            Reference::Digest(declared) => {
                let actual = Digest::of(declared.algorithm(), &put.payload);
                if actual != *declared {
                    return Err(RegistryError::DigestMismatch { declared: declared.clone(), actual });
                }
                actual
            }
        };
        let manifest = Manifest::parse(&put.payload, put.content_type.as_deref(), &manifest_limits(limits))
            .map_err(|error| RegistryError::ManifestInvalid(error.to_string()))?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest.clone());
        let mut tags = put.tags;
        if let Reference::Tag(tag) = &put.reference {
            tags.push(tag.clone());
        }
        let mut manifest = new_manifest(&manifest, digest.clone(), put.payload);
        let carried = self.carried(repo, &tags, &manifest).await?;
        manifest.signature_bytes = carried.as_ref().map(|carried| carried.bytes);
        let mut put = ManifestPut {
            repo,
            manifest,
            tags: &tags,
            sparse: self.options.sparse.matches(repo),
            immutable: &self.options.immutable_tags,
            precondition: put.precondition,
            condition_on: &put.reference,
            guard: None,
            now: self.clock.now(),
            by,
        };
        let ruling = self.store_manifest(&mut put).await?;
        if let Some(about) = carried.and_then(|carried| carried.subject) {
            self.note_signatures(repo, &digest, &about).await;
        }
        Ok(ManifestReceipt { digest, subject, tags, ruling })
    }

    /// Stores it when the gate lets it have its tags; starts over when what it was judged by has changed meanwhile.
    async fn store_manifest(&self, put: &mut ManifestPut<'_>) -> Result<Ruling> {
        // Under the tags of signatures they are found; under any other, one would take the place of an image.
        let carries = put.manifest.signature_bytes.is_some();
        let tags: Vec<Tag> = put.tags.iter().filter(|tag| !(carries && is_signature_tag(tag))).cloned().collect();
        for _ in 0..JUDGED_AGAIN_MAX {
            let (guard, ruling) = self.admit_tags(put.repo, &tags, &put.manifest.digest).await?;
            put.guard = guard;
            return match self.metadata.manifest_put(put).await? {
                ManifestStored::Stored => Ok(ruling),
                ManifestStored::Missing(digests) => Err(RegistryError::ContentMissing(digests)),
                ManifestStored::Immutable(tag) => Err(RegistryError::TagImmutable(tag)),
                ManifestStored::PreconditionFailed => Err(RegistryError::PreconditionFailed(put.condition_on.clone())),
                ManifestStored::TrustMoved => {
                    self.follow_policies().await?;
                    continue;
                }
            };
        }
        Err(RegistryError::Busy { retry_after: RETRY_AFTER })
    }

    /// Deletes what a reference names (end-9): a tag and nothing else, or a manifest and every tag on it.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`], [`RegistryError::TagImmutable`]; [`RegistryError::Referenced`] while an index
    /// lists the manifest.
    pub async fn delete_manifest(
        &self,
        repo: &RepoName,
        reference: &Reference,
        purge: Purge,
        by: &Actor,
    ) -> Result<()> {
        let now = self.clock.now();
        let immutable = &self.options.immutable_tags;
        let unknown = || RegistryError::ManifestUnknown(reference.clone());
        match reference {
            Reference::Tag(tag) => match self.metadata.tag_delete(repo, tag, immutable, now, by).await? {
                TagDeleted::Deleted => Ok(()),
                TagDeleted::Unknown => Err(unknown()),
                TagDeleted::Immutable => Err(RegistryError::TagImmutable(tag.clone())),
            },
            Reference::Digest(digest) => {
                let delete = ManifestDelete {
                    repo,
                    digest,
                    immutable,
                    end_leases_before: (purge == Purge::Wait).then_some(now),
                    referrers_until: now.after(REFERRER_GRACE),
                    now,
                    by,
                };
                match self.metadata.manifest_delete(&delete).await? {
                    ManifestDeleted::Deleted(blobs) => self.after_delete(&blobs, purge).await,
                    ManifestDeleted::Unknown => Err(unknown()),
                    ManifestDeleted::Referenced(by) => Err(RegistryError::Referenced { what: digest.clone(), by }),
                    ManifestDeleted::Immutable(tag) => Err(RegistryError::TagImmutable(tag)),
                }
            }
        }
    }

    /// Tags of a repository in byte order (end-8).
    ///
    /// # Errors
    /// [`RegistryError::RepositoryUnknown`] for a repository without manifests.
    pub async fn list_tags(&self, repo: &RepoName, page: &PageRequest) -> Result<Page<Tag>> {
        let limit = page_limit(page, self.options.limits.tag_page_max);
        let tags = self.metadata.tag_list(repo, page.last.as_deref(), limit.saturating_add(1)).await?;
        let tags = tags.ok_or(RegistryError::RepositoryUnknown)?;
        if limit == 0 {
            // "n=0" asks for an empty list, and it must not come with a Link.
            return Ok(Page { entries: Vec::new(), next: None });
        }
        Ok(cut_page(tags, limit, Tag::to_string))
    }
}

pub(super) fn manifest_limits(limits: &Limits) -> ManifestLimits {
    ManifestLimits {
        depth_max: limits.manifest_depth_max,
        descriptors_max: limits.manifest_descriptors_max,
        annotations_max: limits.manifest_annotations_max,
    }
}

fn new_manifest(manifest: &Manifest, digest: Digest, payload: bytes::Bytes) -> NewManifest {
    let size = payload.len() as u64;
    let edge = |role| {
        move |descriptor: &Descriptor| BlobEdge {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            role,
            required: descriptor.is_distributable(),
        }
    };
    let config = manifest.config.iter().map(edge(BlobRole::Config));
    let layers = manifest.layers.iter().map(edge(BlobRole::Layer));
    let child = |descriptor: &Descriptor| ChildEdge {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        platform: descriptor.platform.clone(),
    };
    NewManifest {
        media_type: manifest.media_type.clone(),
        artifact_type: manifest.artifact_type.clone(),
        subject: manifest.subject.as_ref().map(|subject| subject.digest.clone()),
        referrer: manifest.subject.as_ref().map(|_| manifest.referrer_descriptor(&digest, size)),
        blobs: config.chain(layers).collect(),
        children: manifest.manifests.iter().map(child).collect(),
        signature_bytes: None,
        digest,
        payload,
    }
}
