//! Moving in and growing: copies, backups, another registry's storage, and databases that older versions made.

mod backup;
mod command;
mod copy;
mod import;
mod upgrade;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bonded::clock::{ManualClock, SystemEntropy, Timestamp};
use bonded::metadata::MetadataStore;
use bonded::metadata::dump::Cell;
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::name::RepoName;
use bonded::oci::reference::Reference;
use bonded::registry::{FsckOptions, PutManifest, Registry, RegistryError, RegistryOptions};
use bonded::storage::BlobStore;
use bonded::storage::memory::MemoryStore;
use bonded::transfer::{Amount, Stores, Watch};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::fixtures::{self, IMAGE_MANIFEST, ImageBuilder, NOBODY, sha256};
use crate::registry::whole;
use crate::stores::Place;

/// One registry with its own database and its own store.
struct Side {
    stores: Stores,
    registry: Arc<Registry>,
    /// Goes with the value.
    _place: Box<dyn Any + Send + Sync>,
}

impl Side {
    async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::with_parts(100_000))).await
    }

    async fn over(storage: Arc<dyn BlobStore>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::new(folder.path().join("bonded.db")) };
        let metadata = Arc::new(SqliteStore::open(&options).await.expect("a database"));
        Self::on(metadata, storage, Box::new(folder))
    }

    /// With everything in one place.
    async fn at(place: Place) -> Self {
        let opened = place.open().await;
        Self::on(opened.metadata, opened.storage, Box::new(place))
    }

    fn on(metadata: Arc<dyn MetadataStore>, storage: Arc<dyn BlobStore>, place: Box<dyn Any + Send + Sync>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let mut options = RegistryOptions::default();
        options.limits.disk_free_bytes_min = 0;
        let stores = Stores { metadata, storage, clock };
        let Stores { metadata, storage, clock } = stores.clone();
        let registry = Registry::new(metadata, storage, clock, Arc::new(SystemEntropy), options);
        Self { stores, registry: Arc::new(registry), _place: place }
    }

    async fn push(&self, repo: &str, data: &[u8]) -> Digest {
        let (data, digest) = (Bytes::copy_from_slice(data), digest(data));
        self.registry.push_blob(&name(repo), &digest, whole(&data)).await.expect("pushed");
        digest
    }

    async fn put(&self, repo: &str, reference: &str, media_type: &str, payload: &[u8]) -> Digest {
        let put = PutManifest {
            reference: reference.parse().expect("a reference"),
            tags: Vec::new(),
            content_type: Some(media_type.to_owned()),
            payload: Bytes::copy_from_slice(payload),
            precondition: bonded::metadata::model::Precondition::None,
        };
        self.registry.put_manifest(&name(repo), put, &NOBODY).await.expect("stored").digest
    }

    /// Pushes an image under a tag; gives its manifest.
    async fn push_image(&self, repo: &str, tag: &str, image: &ImageBuilder) -> Vec<u8> {
        for blob in image.blobs() {
            self.push(repo, &blob).await;
        }
        let manifest = image.manifest();
        self.put(repo, tag, IMAGE_MANIFEST, &manifest).await;
        manifest
    }

    /// Some of everything: large and small blobs, an index, a referrer, a deleted repository, a blob on lease, a session.
    async fn fill(&self) {
        let large = ImageBuilder::new().layer(&fixtures::bytes(250_000, 1)).layer(&fixtures::bytes(120_000, 2));
        let manifest = self.push_image("team/app", "v1", &large).await;
        self.push_image("team/app", "v2", &ImageBuilder::new().layer(b"small")).await;
        let index = fixtures::index(std::slice::from_ref(&manifest));
        self.put("team/app", "all", fixtures::IMAGE_INDEX, &index).await;
        let signature = ImageBuilder::new().layer(b"signature").subject(IMAGE_MANIFEST, &manifest);
        self.push_image("team/app", "signature", &signature).await;
        self.push_image("other", "latest", &large).await;
        self.push_image("gone", "latest", &ImageBuilder::new().layer(&fixtures::bytes(50_000, 3))).await;
        self.registry.delete_repository(&name("gone"), bonded::registry::Purge::Later, &NOBODY).await.expect("deleted");
        self.push("team/app", &fixtures::bytes(30_000, 4)).await;
        let session = self.registry.start_upload(&name("team/app"), Algorithm::Sha256).await.expect("a session");
        let few = whole(&fixtures::bytes(10, 5).into());
        self.registry.append_upload(&name("team/app"), &session.id, None, few).await.expect("a few bytes");
        self.sweep().await;
    }

    async fn sweep(&self) {
        while self.registry.sweep().await.expect("swept") {}
    }

    async fn findings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let options = FsckOptions { rehash: true, rebuild: false };
        self.registry.fsck(options, &mut |line| lines.push(line)).await.expect("checked");
        lines
    }

    /// All facts.
    async fn facts(&self) -> BTreeMap<&'static str, Vec<Vec<Cell>>> {
        let mut facts: BTreeMap<&'static str, Vec<Vec<Cell>>> = BTreeMap::new();
        let mut rows = self.stores.metadata.dump();
        while let Some(batch) = rows.next().await {
            let batch = batch.expect("rows");
            facts.entry(batch.table.name).or_default().extend(batch.rows);
        }
        facts
    }

    /// Keys of all objects.
    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.stores.storage.list().map(|object| object.expect("listed").key.to_string()).collect().await;
        keys.sort();
        keys
    }

    async fn pull(&self, repo: &str, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let blob = self.registry.open_blob(&name(repo), digest).await?;
        let mut stream = self.registry.read_blob(&name(repo), &blob, None).await?.into_stream(64 << 10);
        let mut data = Vec::new();
        while let Some(piece) = stream.next().await {
            data.extend_from_slice(&piece.expect("read"));
        }
        Ok(data)
    }

    async fn manifest(&self, repo: &str, reference: &str) -> Option<Vec<u8>> {
        let reference: Reference = reference.parse().expect("a reference");
        self.registry.find_manifest(&name(repo), &reference).await.ok().map(|found| found.payload.to_vec())
    }
}

fn name(repo: &str) -> RepoName {
    repo.parse().expect("a repository name")
}

fn digest(data: &[u8]) -> Digest {
    sha256(data).parse().expect("a digest")
}

/// Remembers what it was told, and does something when a stage begins.
struct Seen {
    findings: Mutex<Vec<String>>,
    at_stage: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("findings", &self.findings).finish_non_exhaustive()
    }
}

impl Seen {
    fn new() -> Arc<Self> {
        Self::at_stage(|_| {})
    }

    fn at_stage(act: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { findings: Mutex::default(), at_stage: Box::new(act) })
    }

    fn findings(&self) -> Vec<String> {
        self.findings.lock().expect("no panic").clone()
    }

    /// As what a transfer wants.
    fn watch(self: &Arc<Self>) -> Arc<dyn Watch> {
        Arc::<Self>::clone(self)
    }
}

impl Watch for Seen {
    fn stage(&self, what: &str, _amount: Amount) {
        (self.at_stage)(what);
    }

    fn moved(&self, _amount: Amount) {}

    fn finding(&self, line: String) {
        self.findings.lock().expect("no panic").push(line);
    }
}
