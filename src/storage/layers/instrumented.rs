//! A store that reports how long each operation took and how it ended.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::storage::layers::Operation;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, StorageError,
};

/// Whoever wants to know about operations.
pub trait Observe: fmt::Debug + Send + Sync {
    /// An operation has ended.
    ///
    /// The time of an append includes the wait for the client; that of a read ends when the object is open; a batch of
    /// deletions counts once, with its first failure. A listing is reported when it begins.
    fn observe(&self, operation: Operation, elapsed: Duration, outcome: Outcome);
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Well.
    Ok,
    /// [`StorageError::NotFound`]
    NotFound,
    /// [`StorageError::UploadLost`]
    UploadLost,
    /// [`StorageError::Denied`]
    Denied,
    /// [`StorageError::Full`]
    Full,
    /// [`StorageError::Unavailable`]
    Unavailable,
    /// [`StorageError::Corrupt`]
    Corrupt,
    /// [`StorageError::Other`]
    Other,
    /// [`AppendError::Fenced`]
    Fenced,
}

impl Outcome {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::UploadLost => "upload_lost",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
            Self::Fenced => "fenced",
        }
    }

    fn of<T>(result: &Result<T, StorageError>) -> Self {
        result.as_ref().map_or_else(Self::of_error, |_| Self::Ok)
    }

    fn of_error(error: &StorageError) -> Self {
        match error {
            StorageError::NotFound { .. } => Self::NotFound,
            StorageError::UploadLost { .. } => Self::UploadLost,
            StorageError::Denied(_) => Self::Denied,
            StorageError::Full(_) => Self::Full,
            StorageError::Unavailable(_) => Self::Unavailable,
            StorageError::Corrupt { .. } => Self::Corrupt,
            StorageError::Unreadable(_) | StorageError::Other(_) => Self::Other,
        }
    }
}

/// The layer.
#[derive(Debug)]
pub struct Instrumented {
    inner: Arc<dyn BlobStore>,
    observer: Arc<dyn Observe>,
}

impl Instrumented {
    /// Reports the operations of `inner` to `observer`.
    pub fn new(inner: Arc<dyn BlobStore>, observer: Arc<dyn Observe>) -> Self {
        Self { inner, observer }
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let begun = Instant::now();
        let result = work.await;
        self.observer.observe(operation, begun.elapsed(), Outcome::of(&result));
        result
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Instrumented {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        self.timed(Operation::Read, self.inner.read(key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        self.timed(Operation::Stat, self.inner.stat(key)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.timed(Operation::Put, self.inner.put(key, bytes)).await
    }

    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError> {
        self.timed(Operation::Begin, self.inner.begin(key)).await
    }

    async fn append(
        &self,
        key: &Key,
        state: DriverState,
        stored: u64,
        tail: Bytes,
        hint: AppendHint,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError> {
        let begun = Instant::now();
        let result = self.inner.append(key, state, stored, tail, hint, source).await;
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(AppendError::Fenced | AppendError::Unsure) => Outcome::Fenced,
            Err(AppendError::Storage(error)) => Outcome::of_error(error),
        };
        self.observer.observe(Operation::Append, begun.elapsed(), outcome);
        result
    }

    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        self.timed(Operation::Complete, self.inner.complete(key, state, stored, tail)).await
    }

    fn is_whole(&self, state: &DriverState) -> bool {
        self.inner.is_whole(state)
    }

    fn complete_is_repeatable(&self) -> bool {
        self.inner.complete_is_repeatable()
    }

    async fn abort(&self, key: &Key, state: Option<&DriverState>) -> Result<(), StorageError> {
        self.timed(Operation::Abort, self.inner.abort(key, state)).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        let begun = Instant::now();
        let answers = self.inner.delete_many(keys).await;
        let outcome = answers.iter().map(Outcome::of).find(|outcome| *outcome != Outcome::Ok).unwrap_or(Outcome::Ok);
        self.observer.observe(Operation::DeleteMany, begun.elapsed(), outcome);
        answers
    }

    async fn presign(&self, key: &Key, ttl: Duration) -> Result<Option<String>, StorageError> {
        self.timed(Operation::Presign, self.inner.presign(key, ttl)).await
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        self.observer.observe(Operation::List, Duration::ZERO, Outcome::Ok);
        self.inner.list()
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        self.observer.observe(Operation::List, Duration::ZERO, Outcome::Ok);
        self.inner.list_under(folder)
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        self.timed(Operation::FreeBytes, self.inner.free_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::storage::layers::{Fault, Faulty, Moment};
    use crate::storage::memory::MemoryStore;

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<(Operation, Outcome)>>);

    impl Observe for Seen {
        fn observe(&self, operation: Operation, _elapsed: Duration, outcome: Outcome) {
            self.0.lock().expect("no panic").push((operation, outcome));
        }
    }

    #[tokio::test]
    async fn every_operation_is_reported_once_with_its_outcome() {
        let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new())));
        let seen = Arc::new(Seen::default());
        let store = Instrumented::new(faulty.clone(), seen.clone());
        let key = Key::opaque("00");
        store.put(&key, "bytes".into()).await.expect("put");
        store.stat(&Key::opaque("01")).await.expect_err("missing");
        faulty.fail(Operation::DeleteMany, 1, Moment::After, Fault::Denied);
        assert_eq!(store.delete_many(&[key]).await.len(), 1);
        assert_eq!(
            *seen.0.lock().expect("no panic"),
            [
                (Operation::Put, Outcome::Ok),
                (Operation::Stat, Outcome::NotFound),
                (Operation::DeleteMany, Outcome::Denied)
            ]
        );
    }
}
