//! The registry's rules over real stores, without HTTP: sessions, leases, collection, checks.

mod collect;
mod faults;
mod fsck;
mod retention;
mod scrub;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use bonded::clock::{ManualClock, SeededEntropy, Timestamp};
use bonded::metadata::MetadataStore;
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::oci::digest::{Algorithm, Digest};
use bonded::oci::name::RepoName;
use bonded::registry::{BodyError, PushBody, PutManifest, Registry, RegistryOptions};
use bonded::storage::memory::MemoryStore;
use bonded::storage::{BlobStore, ObjectInfo};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::fixtures::NOBODY;

/// A registry over a database of its own and a store in memory, at a time that moves only when told to.
pub(crate) struct Fixture {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) clock: Arc<ManualClock>,
    options: RegistryOptions,
    database: Database,
}

/// Where the facts are; they go with the value.
pub(crate) enum Database {
    Sqlite(tempfile::TempDir),
    Postgres(crate::postgres::Database),
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(crate::postgres::Database::migrated())
    }

    async fn open(&self) -> Arc<dyn MetadataStore> {
        match self {
            Self::Sqlite(folder) => {
                let options = SqliteOptions::new(folder.path().join("bonded.db"));
                Arc::new(SqliteStore::open(&options).await.expect("a database"))
            }
            Self::Postgres(database) => Arc::new(database.open().await),
        }
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    pub(crate) async fn over(store: Arc<dyn BlobStore>) -> Self {
        Self::with(store, |_| {}).await
    }

    pub(crate) async fn with(store: Arc<dyn BlobStore>, change: impl FnOnce(&mut RegistryOptions)) -> Self {
        Self::on(Database::sqlite(), store, change).await
    }

    pub(crate) async fn on(
        database: Database,
        store: Arc<dyn BlobStore>,
        change: impl FnOnce(&mut RegistryOptions),
    ) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let mut options = RegistryOptions::default();
        options.limits.disk_free_bytes_min = 0;
        change(&mut options);
        let registry = open(&database, &store, &clock, &options).await;
        Self { registry, store, clock, options, database }
    }

    /// Another node over the same stores.
    pub(crate) async fn another(&self) -> Arc<Registry> {
        open(&self.database, &self.store, &self.clock, &self.options).await
    }

    /// Another node with a name of its own.
    pub(crate) async fn another_node(&self, node: &str) -> Arc<Registry> {
        let options = RegistryOptions { node: node.to_owned(), ..self.options.clone() };
        open(&self.database, &self.store, &self.clock, &options).await
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push(&self, repo: &RepoName, data: &Bytes) -> Digest {
        let digest = digest(data);
        self.registry.push_blob(repo, &digest, whole(data)).await.expect("pushed");
        digest
    }

    /// Pushes an image of one layer, tagged.
    pub(crate) async fn push_image(&self, repo: &RepoName, tag: &str, layer: &Bytes) -> Digest {
        let config = Bytes::from_static(b"{}");
        let (config_digest, layer_digest) = (self.push(repo, &config).await, self.push(repo, layer).await);
        let payload = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.to_string(), "size": 2},
            "layers": [{"mediaType": "application/octet-stream", "digest": layer_digest.to_string(), "size": layer.len()}],
            "annotations": {"tag": tag},
        });
        let put = PutManifest {
            reference: tag.parse().expect("a tag"),
            tags: Vec::new(),
            content_type: None,
            payload: Bytes::from(payload.to_string()),
            precondition: bonded::metadata::model::Precondition::None,
        };
        self.registry.put_manifest(repo, put, &NOBODY).await.expect("stored").digest
    }

    /// Sweeps until nothing is left to do.
    pub(crate) async fn sweep(&self) {
        while self.registry.sweep().await.expect("swept") {}
    }

    /// What the store holds.
    pub(crate) async fn objects(&self) -> Vec<ObjectInfo> {
        self.store.list().map(|object| object.expect("listed")).collect().await
    }

    /// A blob's bytes.
    pub(crate) async fn read(&self, repo: &RepoName, digest: &Digest) -> Vec<u8> {
        let blob = self.registry.open_blob(repo, digest).await.expect("there");
        let mut stream = self.registry.read_blob(repo, &blob, None).await.expect("readable").into_stream(64 << 10);
        let mut data = Vec::new();
        while let Some(piece) = stream.next().await {
            data.extend_from_slice(&piece.expect("read"));
        }
        data
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }
}

async fn open(
    database: &Database,
    store: &Arc<dyn BlobStore>,
    clock: &Arc<ManualClock>,
    options: &RegistryOptions,
) -> Arc<Registry> {
    let entropy = Arc::new(SeededEntropy::new(7));
    Arc::new(Registry::new(database.open().await, store.clone(), clock.clone(), entropy, options.clone()))
}

pub(crate) fn repo(name: &str) -> RepoName {
    name.parse().expect("a repository name")
}

pub(crate) fn digest(data: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, data)
}

/// `len` bytes that follow from a seed.
pub(crate) fn bytes(seed: u8, len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from((i * 31 + i / 257 + usize::from(seed)) % 251).expect("below 251")).collect()
}

/// A body that arrives whole, in pieces of 64 KiB.
pub(crate) fn whole(data: &Bytes) -> PushBody {
    let pieces: Vec<_> = data.chunks(64 << 10).map(|piece| Ok(data.slice_ref(piece))).collect();
    PushBody {
        stream: futures_util::stream::iter(pieces).boxed(),
        length: Some(data.len() as u64),
        awaits_continue: false,
    }
}

/// A body that breaks off behind `data`.
pub(crate) fn broken(data: &Bytes) -> PushBody {
    let end = futures_util::stream::once(std::future::ready(Err(BodyError::Broken)));
    PushBody { stream: whole(data).stream.chain(end).boxed(), length: None, awaits_continue: false }
}

/// A body that stalls behind `data` and never ends.
pub(crate) fn stalled(data: &Bytes) -> PushBody {
    PushBody {
        stream: whole(data).stream.chain(futures_util::stream::pending()).boxed(),
        length: None,
        awaits_continue: false,
    }
}
