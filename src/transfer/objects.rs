//! One object at a time: bytes go to a key, and the object becomes whole only after its digest was proven.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::task::JoinSet;

use super::{Amount, PARALLEL, Result, Watch};
use crate::oci::digest::{Digest, Hasher};
use crate::storage::{AppendError, AppendHint, AppendSource, BlobStore, DriverState, Key, StorageError};

/// Bytes on their way.
pub(super) type ByteStream = BoxStream<'static, std::result::Result<Bytes, StorageError>>;

/// What became of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It is where it must be, with the right bytes.
    Whole,
    /// Its bytes are not what they must be; there is no object.
    Wrong(String),
}

/// Stores the bytes of a digest under `key`, where there is no finished object.
pub(super) async fn store(
    storage: &dyn BlobStore,
    key: &Key,
    (digest, size): (&Digest, u64),
    stream: ByteStream,
    watch: &Arc<dyn Watch>,
) -> Result<Moved> {
    let state = begin(storage, key).await?;
    let hint = AppendHint { remaining: Some(size), closing: true, ..AppendHint::default() };
    let mut proof = Proof::new(stream, digest, size, Arc::clone(watch));
    let appended = match storage.append(key, state.clone(), 0, Bytes::new(), hint, &mut proof).await {
        Ok(appended) => appended,
        Err(AppendError::Storage(error)) => {
            abort(storage, key, &state).await;
            return Err(error.into());
        }
        Err(AppendError::Fenced | AppendError::Unsure) => {
            return Err(StorageError::Other("another writer took the object".into()).into());
        }
    };
    match proof.verdict() {
        Ok(None) => storage.complete(key, appended.state, appended.stored, appended.tail).await?,
        Ok(Some(why)) => {
            storage.abort(key, Some(&appended.state)).await?;
            return Ok(Moved::Wrong(why));
        }
        Err(error) => {
            abort(storage, key, &appended.state).await;
            return Err(error.into());
        }
    }
    watch.moved(Amount::blob());
    Ok(Moved::Whole)
}

/// Begins an upload; what an interrupted run left under the key goes first.
async fn begin(storage: &dyn BlobStore, key: &Key) -> Result<DriverState> {
    if let Ok(state) = storage.begin(key).await {
        return Ok(state);
    }
    storage.abort(key, None).await?;
    Ok(storage.begin(key).await?)
}

/// Removes what an attempt left, as far as the store lets us; the failure that led here says more.
async fn abort(storage: &dyn BlobStore, key: &Key, state: &DriverState) {
    if let Err(error) = storage.abort(key, Some(state)).await {
        tracing::warn!(%error, blob.key = %key, "an unfinished object stays behind");
    }
}

/// The digest of a stream and its length.
pub(super) async fn hash(mut stream: ByteStream, digest: &Digest) -> std::result::Result<(Digest, u64), StorageError> {
    let (mut hasher, mut length) = (Hasher::new(digest.algorithm()), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        hasher.update(&piece);
        length += piece.len() as u64;
    }
    Ok((hasher.finish(), length))
}

/// Hashes what passes.
pub(super) struct Proof {
    stream: ByteStream,
    rest: Bytes,
    hasher: Hasher,
    taken: u64,
    digest: Digest,
    size: u64,
    failed: Option<StorageError>,
    watch: Arc<dyn Watch>,
}

impl Proof {
    fn new(stream: ByteStream, digest: &Digest, size: u64, watch: Arc<dyn Watch>) -> Self {
        let hasher = Hasher::new(digest.algorithm());
        Self { stream, rest: Bytes::new(), hasher, taken: 0, digest: digest.clone(), size, failed: None, watch }
    }

    /// What is wrong with the bytes that passed.
    ///
    /// # Errors
    /// A failure of the store they come from, which says nothing about them.
    fn verdict(self) -> std::result::Result<Option<String>, StorageError> {
        match self.failed {
            Some(error @ (StorageError::NotFound { .. } | StorageError::Corrupt { .. })) => {
                return Ok(Some(format!("cannot be read whole: {error}")));
            }
            Some(error) => return Err(error),
            None => {}
        }
        if self.taken != self.size {
            return Ok(Some(format!("has {} bytes instead of {}", self.taken, self.size)));
        }
        let actual = self.hasher.finish();
        Ok((actual != self.digest).then(|| format!("has the bytes of {actual}")))
    }
}

#[async_trait]
impl AppendSource for Proof {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        while self.rest.is_empty() {
            // One byte too many is enough to know that it is the wrong object.
            if self.taken > self.size {
                return None;
            }
            match self.stream.next().await? {
                Ok(piece) => self.rest = piece,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
        let piece = self.rest.split_to(limit.min(self.rest.len()));
        self.hasher.update(&piece);
        self.taken += piece.len() as u64;
        self.watch.moved(Amount::bytes(piece.len() as u64));
        Some(piece)
    }

    fn mark(&mut self, _offset: u64) {}

    async fn checkpoint(&mut self, _offset: u64, _state: &DriverState) -> std::result::Result<(), AppendError> {
        Ok(())
    }

    async fn stage(
        &mut self,
        _stored: u64,
        _state: &DriverState,
        _tail: Bytes,
    ) -> std::result::Result<bool, AppendError> {
        Ok(false)
    }

    async fn staged(&mut self) -> std::result::Result<Bytes, AppendError> {
        // Nothing was kept, so no driver asks.
        Ok(Bytes::new())
    }
}

/// Tasks of which a few run at the same time. After the first failure no further one begins, and it is given only when
/// those that run have ended: what they write cannot come between a later run and what that one looks at.
#[derive(Debug)]
pub(super) struct Crew<T> {
    tasks: JoinSet<Result<T>>,
}

impl<T: Send + 'static> Crew<T> {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new() }
    }

    /// Starts a task, and first waits for one that ends when enough are running.
    pub(super) async fn start(&mut self, task: impl Future<Output = Result<T>> + Send + 'static) -> Result<Option<T>> {
        let ended = if self.tasks.len() < PARALLEL { None } else { self.next().await? };
        self.tasks.spawn(task);
        Ok(ended)
    }

    /// The next task that ends; `None` when there is none left.
    pub(super) async fn next(&mut self) -> Result<Option<T>> {
        match self.tasks.join_next().await {
            None => Ok(None),
            Some(Ok(Ok(ended))) => Ok(Some(ended)),
            Some(failed) => {
                while self.tasks.join_next().await.is_some() {}
                failed?.map(Some)
            }
        }
    }
}
