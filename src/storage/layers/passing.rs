//! A store that passes a named point before and after each operation, and around each report of an append.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::faults::{Moment, Trap};
use crate::storage::layers::Operation;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, StorageError,
};

/// The names by which a driver's reports stand among the operations.
const CHECKPOINT: &str = "checkpoint";
const STAGE: &str = "stage";

/// The layer.
#[derive(Debug)]
pub struct Passing {
    inner: Arc<dyn BlobStore>,
    trap: Arc<Trap>,
}

impl Passing {
    /// Lets operations of `inner` pass `trap`.
    pub fn new(inner: Arc<dyn BlobStore>, trap: Arc<Trap>) -> Self {
        Self { inner, trap }
    }

    async fn around<T>(&self, operation: Operation, work: impl Future<Output = T> + Send) -> T {
        self.trap.pass("storage", operation.as_str(), Moment::Before);
        let answer = work.await;
        self.trap.pass("storage", operation.as_str(), Moment::After);
        answer
    }
}

/// A source whose reports pass the trap.
struct PassingSource<'a> {
    source: &'a mut dyn AppendSource,
    trap: &'a Trap,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl AppendSource for PassingSource<'_> {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        self.source.next(limit).await
    }

    fn mark(&mut self, offset: u64) {
        self.source.mark(offset);
    }

    async fn checkpoint(&mut self, offset: u64, state: &DriverState) -> Result<(), AppendError> {
        self.trap.pass("storage", CHECKPOINT, Moment::Before);
        let answer = self.source.checkpoint(offset, state).await;
        self.trap.pass("storage", CHECKPOINT, Moment::After);
        answer
    }

    async fn stage(&mut self, stored: u64, state: &DriverState, tail: Bytes) -> Result<bool, AppendError> {
        self.trap.pass("storage", STAGE, Moment::Before);
        let answer = self.source.stage(stored, state, tail).await;
        self.trap.pass("storage", STAGE, Moment::After);
        answer
    }

    async fn staged(&mut self) -> Result<Bytes, AppendError> {
        self.source.staged().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Passing {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        self.around(Operation::Read, self.inner.read(key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        self.around(Operation::Stat, self.inner.stat(key)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.around(Operation::Put, self.inner.put(key, bytes)).await
    }

    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError> {
        self.around(Operation::Begin, self.inner.begin(key)).await
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
        let mut source = PassingSource { source, trap: &self.trap };
        self.around(Operation::Append, self.inner.append(key, state, stored, tail, hint, &mut source)).await
    }

    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        self.around(Operation::Complete, self.inner.complete(key, state, stored, tail)).await
    }

    fn is_whole(&self, state: &DriverState) -> bool {
        self.inner.is_whole(state)
    }

    fn complete_is_repeatable(&self) -> bool {
        self.inner.complete_is_repeatable()
    }

    async fn abort(&self, key: &Key, state: Option<&DriverState>) -> Result<(), StorageError> {
        self.around(Operation::Abort, self.inner.abort(key, state)).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        self.around(Operation::DeleteMany, self.inner.delete_many(keys)).await
    }

    async fn presign(&self, key: &Key, ttl: Duration) -> Result<Option<String>, StorageError> {
        self.around(Operation::Presign, self.inner.presign(key, ttl)).await
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        self.inner.list()
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        self.inner.list_under(folder)
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        self.around(Operation::FreeBytes, self.inner.free_bytes()).await
    }
}
