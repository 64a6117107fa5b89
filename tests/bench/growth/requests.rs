//! What requests ask of the store, and what a scrape does.

use anyhow::{Context as _, Result, ensure};
use bonded::metadata::MetadataStore;
use bonded::metadata::model::accounts::Actor;
use bonded::metadata::model::{
    BlobEdge, BlobLocation, BlobMount, BlobRole, HeadLease, ManifestDelete, ManifestDeleted, ManifestPut,
    ManifestStored, NewBlob, NewManifest, Precondition, UploadHold, UploadTake,
};
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::glob::ImmutableTags;
use bonded::oci::name::{RepoName, Tag};
use bonded::oci::reference::Reference;
use bonded::storage::Key;
use bytes::Bytes;
use conformance::random::Random;

use crate::backlog::{inline_blob, new_upload, next_upload};
use crate::curve::Curve;
use crate::facts::{
    IMAGE, LATER, NOW, RARE_TYPE, Shape, blob_digest, blob_of, large, manifest_digest, small, tag_name,
};

/// Entries of a page.
const PAGE: u32 = 100;

/// Operations that change nothing, each on rows chosen at random.
pub(crate) async fn reads(store: &dyn MetadataStore, shape: Shape, repeat: u64, curve: &mut Curve) -> Result<()> {
    let random = Random::new(shape.manifests);
    let large = large();
    for _ in 0..repeat {
        let (repo, tag) = shape.in_small_repository(random.next());
        let found = curve.time("manifest by tag", store.manifest_find(&repo, &Reference::Tag(tag))).await?;
        found.context("a manifest by its tag")?;
        let manifest = random.below(shape.tagged);
        let tag = Reference::Tag(tag_name(manifest));
        let found = curve.time("manifest by tag, large repository", store.manifest_find(&large, &tag)).await?;
        found.context("a manifest by its tag")?;
        let digest = Reference::Digest(manifest_digest(manifest));
        let found = curve.time("manifest by digest", store.manifest_find(&large, &digest)).await?;
        found.context("a manifest by its digest")?;
        let blob = blob_of(manifest, random.below(10));
        curve.time("blob GET", store.blob_find(&large, &blob)).await?.context("a blob")?;
        let unknown = blob_digest(u64::MAX - manifest);
        let found = curve.time("blob GET, unknown", store.blob_find(&large, &unknown)).await?;
        ensure!(found.is_none(), "no such blob");
    }
    pages(store, shape, repeat, &random, curve).await?;
    for _ in 0..repeat.min(20) {
        curve.time("metrics: counts", store.counts()).await?;
        curve.time("readiness: ping", store.ping()).await?;
    }
    Ok(())
}

async fn pages(store: &dyn MetadataStore, shape: Shape, repeat: u64, random: &Random, curve: &mut Curve) -> Result<()> {
    let (large, subject) = (large(), manifest_digest(0));
    for _ in 0..repeat {
        curve.time("tags, first page", store.tag_list(&large, None, PAGE)).await?.context("tags")?;
        let after = tag_name(random.below(shape.tagged));
        let tags = store.tag_list(&large, Some(after.as_str()), PAGE);
        curve.time("tags, a page in the middle", tags).await?.context("tags")?;
        curve.time("catalog, first page", store.repository_list(None, PAGE)).await?;
        let after = small(random.below(shape.small_repositories()));
        curve.time("catalog, a page in the middle", store.repository_list(Some(after.as_str()), PAGE)).await?;
        let listed = store.referrer_list(&large, &subject, None, None, PAGE);
        let listed = curve.time("referrers, first page", listed).await?;
        ensure!(listed.len() as u64 == shape.referrers.min(PAGE.into()), "a page of referrers");
        let after = manifest_digest(shape.tagged + random.below(shape.referrers)).to_string();
        let listed = store.referrer_list(&large, &subject, None, Some(&after), PAGE);
        curve.time("referrers, a page in the middle", listed).await?;
        let listed = store.referrer_list(&large, &subject, Some(RARE_TYPE), None, PAGE);
        let listed = curve.time("referrers of a rare type", listed).await?;
        ensure!(listed.len() == 1, "the one referrer of its type");
        let none = manifest_digest(1);
        curve.time("referrers, none", store.referrer_list(&large, &none, None, None, PAGE)).await?;
        let facts = store.manifest_facts(&large, None, PAGE);
        curve.time("retention: facts of a page", facts).await?;
    }
    Ok(())
}

/// Operations that change something; they leave the registry about as large as it was.
pub(crate) async fn writes(store: &dyn MetadataStore, shape: Shape, repeat: u64, curve: &mut Curve) -> Result<()> {
    let random = Random::new(shape.manifests);
    let large = large();
    let latest: Tag = "latest".parse()?;
    for number in 0..repeat {
        let image = Image::new(&format!("{number}"));
        let tag = [tag_name(shape.manifests + number)];
        curve.time("push of an image (3 blobs, manifest, tag)", image.push(store, &large, &tag)).await?;
        let again = image.put(store, &large, std::slice::from_ref(&latest));
        curve.time("push of the same manifest, tag moved", again).await?;
        let lease = HeadLease { now: NOW, unreferenced_until: LATER, referenced_until: LATER };
        let blob = blob_of(random.below(shape.tagged), 1);
        curve.time("blob HEAD (lease)", store.blob_lease(&large, &blob, lease)).await?.context("a blob")?;
        let mount = mount(blob, "growth/mounted".parse()?, Some(large.clone()));
        curve.time("mount", store.blob_mount(&mount)).await?.context("a mount")?;
        curve.time("upload session (take, commit)", session(store, &large)).await?;
        curve
            .time("tag DELETE", store.tag_delete(&large, &tag[0], &ImmutableTags::default(), NOW, &Actor::default()))
            .await?;
        curve.time("manifest DELETE", image.delete(store, &large)).await?;
    }
    Ok(())
}

fn mount(digest: Digest, to: RepoName, from: Option<RepoName>) -> BlobMount {
    BlobMount { to, from, digest, now: NOW, lease_until: LATER }
}

/// An upload of a few bytes, without its body.
async fn session(store: &dyn MetadataStore, repo: &RepoName) -> Result<()> {
    let id = next_upload();
    let begin = Some(new_upload());
    let take =
        UploadTake { principal: None, offset: None, owner: "node".to_owned(), expires_at: LATER, key: None, begin };
    store.upload_take(repo, &id, &take, NOW).await?;
    ensure!(store.upload_commit(&UploadHold { id, epoch: 1 }, &inline_blob(b"few"), LATER).await?, "a commit");
    Ok(())
}

/// A small image with blobs of its own.
pub(crate) struct Image {
    manifest: NewManifest,
    blobs: Vec<NewBlob>,
}

impl Image {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(name, 3, None)
    }

    /// With so many blobs, and perhaps referring to another.
    pub(crate) fn of(name: &str, blobs: u64, subject: Option<&Self>) -> Self {
        let blobs: Vec<NewBlob> = (0..blobs).map(|blob| new_blob(&format!("{name} {blob}"))).collect();
        let role = |at: usize| if at == 0 { BlobRole::Config } else { BlobRole::Layer };
        let edges = blobs.iter().enumerate().map(|(at, blob)| {
            let digest = blob.digest.clone();
            BlobEdge { digest, size: blob.size, role: role(at), required: true }
        });
        let payload = Bytes::from(format!("manifest {name}"));
        let manifest = NewManifest {
            digest: Digest::of(Algorithm::Sha256, &payload),
            media_type: IMAGE.to_owned(),
            artifact_type: None,
            subject: subject.map(|subject| subject.manifest.digest.clone()),
            referrer: subject.map(|_| "{}".to_owned()),
            payload,
            blobs: edges.collect(),
            children: Vec::new(),
            signature_bytes: None,
        };
        Self { manifest, blobs }
    }

    pub(crate) async fn push(&self, store: &dyn MetadataStore, repo: &RepoName, tags: &[Tag]) -> Result<()> {
        for blob in &self.blobs {
            store.blob_put(repo, blob).await?;
        }
        self.put(store, repo, tags).await
    }

    async fn put(&self, store: &dyn MetadataStore, repo: &RepoName, tags: &[Tag]) -> Result<()> {
        let put = ManifestPut {
            repo,
            manifest: self.manifest.clone(),
            tags,
            sparse: false,
            immutable: &ImmutableTags::default(),
            precondition: Precondition::None,
            condition_on: &Reference::Digest(self.manifest.digest.clone()),
            guard: None,
            now: NOW,
            by: &Actor::default(),
        };
        ensure!(store.manifest_put(&put).await? == ManifestStored::Stored, "a manifest");
        Ok(())
    }

    pub(crate) async fn delete(&self, store: &dyn MetadataStore, repo: &RepoName) -> Result<()> {
        let delete = ManifestDelete {
            repo,
            digest: &self.manifest.digest,
            immutable: &ImmutableTags::default(),
            end_leases_before: None,
            referrers_until: NOW,
            now: NOW,
            by: &Actor::default(),
        };
        let deleted = store.manifest_delete(&delete).await?;
        ensure!(matches!(deleted, ManifestDeleted::Deleted(_)), "the manifest to delete");
        Ok(())
    }
}

fn new_blob(name: &str) -> NewBlob {
    let digest = Digest::of(Algorithm::Sha256, name.as_bytes());
    let location = BlobLocation::Object(Key::opaque(&digest.hex()[..32]));
    NewBlob { digest, size: 100_000, location, now: NOW, lease_until: LATER, replaced_until: NOW }
}
