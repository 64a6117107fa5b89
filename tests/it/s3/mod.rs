//! The S3 driver under the registry's rules: calls, memory, many nodes, faults.

mod faults;
mod flows;
mod gateway;
mod memory;
mod nodes;
pub(crate) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bonded::clock::{ManualClock, SeededEntropy, Timestamp};
use bonded::metadata::MetadataStore;
use bonded::metadata::layers::Faulty;
use bonded::metadata::sqlite::{SqliteOptions, SqliteStore};
use bonded::oci::digest::{Algorithm, Digest, Hasher};
use bonded::oci::name::RepoName;
use bonded::registry::{BodyError, FsckOptions, PushBody, Registry, RegistryOptions};
use bonded::storage::s3::{S3Options, S3Store};
use bonded::storage::{BlobStore, ObjectInfo};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

pub(crate) use gateway::Gateway;

/// Nodes that share one database and one bucket.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Registry>>,
    pub(crate) stores: Vec<Arc<S3Store>>,
    pub(crate) clock: Arc<ManualClock>,
    /// Makes calls of the database fail.
    pub(crate) metadata_faults: Arc<Faulty>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// One node for each of the options.
    pub(crate) async fn start(options: impl IntoIterator<Item = S3Options>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options_of_database = SqliteOptions::new(folder.path().join("bonded.db"));
        let database = SqliteStore::open(&options_of_database).await.expect("a database");
        let metadata_faults = Arc::new(Faulty::new(Arc::new(database)));
        let metadata: Arc<dyn MetadataStore> = metadata_faults.clone();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let (mut nodes, mut stores) = (Vec::new(), Vec::new());
        for (seed, options) in (1..).zip(options) {
            let store = Arc::new(S3Store::open(options).await.expect("a store"));
            let entropy = Arc::new(SeededEntropy::new(seed));
            let rules = RegistryOptions { node: format!("node-{seed}"), ..RegistryOptions::default() };
            nodes.push(Arc::new(Registry::new(metadata.clone(), store.clone(), clock.clone(), entropy, rules)));
            stores.push(store);
        }
        Self { nodes, stores, clock, metadata_faults, _folder: folder }
    }

    pub(crate) fn node(&self) -> &Arc<Registry> {
        &self.nodes[0]
    }

    /// A blob's bytes, as a node reads them.
    pub(crate) async fn read(&self, node: usize, digest: &Digest) -> Bytes {
        let registry = &self.nodes[node];
        let blob = registry.open_blob(&repo(), digest).await.expect("there");
        let stream = registry.read_blob(&repo(), &blob, None).await.expect("readable").into_stream(1 << 20);
        stream.try_collect::<Vec<Bytes>>().await.expect("read").concat().into()
    }

    /// What is in the bucket under the prefix.
    pub(crate) async fn objects(&self) -> Vec<ObjectInfo> {
        self.stores[0].list().try_collect().await.expect("listed")
    }

    /// Every session is long over and swept.
    pub(crate) async fn settle(&self) {
        self.clock.advance(std::time::Duration::from_hours(100));
        while self.node().sweep().await.expect("swept") {}
    }

    /// No fact without bytes, and no bytes that nobody knows.
    pub(crate) async fn assert_sound(&self) {
        let mut lines = Vec::new();
        let options = FsckOptions { rehash: true, rebuild: false };
        self.node().fsck(options, &mut |line| lines.push(line)).await.expect("checked");
        assert_eq!(lines, Vec::<String>::new());
    }
}

pub(crate) fn repo() -> RepoName {
    "a/b".parse().expect("a name")
}

/// `len` bytes that follow from `seed`; made quickly, and no two pieces of 64 KiB are alike.
pub(crate) fn bytes(len: usize, seed: u8) -> Bytes {
    let block: Vec<u8> = (0..64_u32 << 10).map(|at| u8::try_from((at * 31 + at / 257) % 251).expect("small")).collect();
    let mut data = block.repeat(len.div_ceil(block.len()));
    data.truncate(len);
    for (number, piece) in (0_u32..).zip(data.chunks_mut(block.len())) {
        let mark = [number.to_le_bytes(), [seed; 4]].concat();
        let marked = mark.len().min(piece.len());
        piece[..marked].copy_from_slice(&mark[..marked]);
    }
    data.into()
}

pub(crate) fn digest(data: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(data);
    hasher.finish()
}

/// A body of known length, in pieces of 64 KiB.
pub(crate) fn whole(data: &Bytes) -> PushBody {
    PushBody { length: Some(data.len() as u64), ..chunked(data) }
}

/// A body of unknown length, as docker sends it.
pub(crate) fn chunked(data: &Bytes) -> PushBody {
    let pieces: Vec<_> = data.chunks(64 << 10).map(|piece| Ok(data.slice_ref(piece))).collect();
    PushBody { stream: futures_util::stream::iter(pieces).boxed(), length: None, awaits_continue: false }
}

/// A body that goes on as the test feeds it.
pub(crate) struct Feed {
    pieces: mpsc::UnboundedSender<Result<Bytes, BodyError>>,
    waiting: Arc<AtomicUsize>,
}

impl Feed {
    pub(crate) fn new() -> (Self, PushBody) {
        let (pieces, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let stream = futures_util::stream::unfold((receiver, waiting.clone()), |(mut receiver, waiting)| async {
            let piece = receiver.recv().await?;
            waiting.fetch_sub(1, Ordering::SeqCst);
            Some((piece, (receiver, waiting)))
        });
        (Self { pieces, waiting }, PushBody { stream: stream.boxed(), length: None, awaits_continue: false })
    }

    pub(crate) fn give(&self, data: &Bytes) {
        for piece in data.chunks(64 << 10) {
            self.send(Ok(data.slice_ref(piece)));
        }
    }

    pub(crate) fn break_off(&self) {
        self.send(Err(BodyError::Broken));
    }

    /// Whether everything that was given has been read.
    pub(crate) fn is_taken(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    fn send(&self, piece: Result<Bytes, BodyError>) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A writer that was fenced reads no more.
        let _ = self.pieces.send(piece);
    }
}
