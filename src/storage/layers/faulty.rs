//! A store that fails when a test says so: before an operation, after it, as if the answer had been lost, or in the middle
//! of its bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

use crate::clock::{Entropy, SeededEntropy};
use crate::faults::Moment;
use crate::storage::layers::Operation;
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, ReadSource,
    StorageError,
};

/// What an operation fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
    /// [`StorageError::Unreadable`]
    Unreadable,
    /// [`StorageError::Other`]
    Other,
    /// It never answers.
    Hang,
    /// A read or an append breaks off in the middle of its bytes ([`StorageError::Unavailable`]), whatever the moment.
    Cut,
    /// The bytes of a read end in the middle as if they were whole, whatever the moment.
    Short,
}

/// The layer. It does no harm until it is told to.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn BlobStore>,
    plan: Mutex<Plan>,
    hung: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    calls: HashMap<Operation, u64>,
    planned: Vec<Planned>,
    random: Option<Random>,
    unreadable: HashMap<Key, Fault>,
    free_bytes: Option<u64>,
}

#[derive(Debug)]
struct Planned {
    operation: Operation,
    call: u64,
    moment: Moment,
    fault: Fault,
}

#[derive(Debug)]
struct Random {
    entropy: SeededEntropy,
    /// Faults in 256 calls.
    rate: u8,
}

impl Faulty {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self { inner, plan: Mutex::default(), hung: Notify::new() }
    }

    /// Makes the `nth` call of an operation from now on (1: the next one) fail.
    pub fn fail(&self, operation: Operation, nth: u64, moment: Moment, fault: Fault) {
        let mut plan = self.plan();
        let call = plan.calls.get(&operation).copied().unwrap_or(0) + nth;
        plan.planned.push(Planned { operation, call, moment, fault });
    }

    /// Forgets every planned fault that has not happened; says how many.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut self.plan().planned).len()
    }

    /// Makes `rate` of 256 calls fail with [`Fault::Unavailable`], half of them after they were done; 0 ends it.
    ///
    /// Which calls fail follows from `seed` and the order of calls.
    pub fn fail_randomly(&self, seed: u64, rate: u8) {
        self.plan().random = (rate > 0).then(|| Random { entropy: SeededEntropy::new(seed), rate });
    }

    /// Makes every read of an object fail; `None` ends it.
    pub fn fail_object(&self, key: &Key, fault: Option<Fault>) {
        let mut plan = self.plan();
        match fault {
            Some(fault) => plan.unreadable.insert(key.clone(), fault),
            None => plan.unreadable.remove(key),
        };
    }

    /// Says from now on that so many bytes are free; `None`: what the store says.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.plan().free_bytes = free;
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.plan().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Resolves when an operation hangs.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Every change is whole before the lock is let go, so a panic elsewhere does not spoil the plan.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let fault = self.plan().next(operation);
        match fault {
            None => work.await,
            Some((Moment::Before, fault)) => Err(self.happen(fault).await),
            Some((Moment::After, fault)) => {
                work.await?;
                Err(self.happen(fault).await)
            }
        }
    }

    async fn happen(&self, fault: Fault) -> StorageError {
        if fault == Fault::Hang {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        fault.error()
    }
}

impl Plan {
    fn next(&mut self, operation: Operation) -> Option<(Moment, Fault)> {
        let calls = self.calls.entry(operation).or_default();
        *calls += 1;
        let due = |planned: &Planned| planned.operation == operation && planned.call == *calls;
        if let Some(at) = self.planned.iter().position(due) {
            let Planned { moment, fault, .. } = self.planned.swap_remove(at);
            return Some((moment, fault));
        }
        let random = self.random.as_ref()?;
        let [dice, coin, ..] = random.entropy.bytes16();
        let moment = if coin.is_multiple_of(2) { Moment::Before } else { Moment::After };
        (dice < random.rate).then_some((moment, Fault::Unavailable))
    }
}

impl Fault {
    fn error(self) -> StorageError {
        let reason = "a test wanted this fault";
        let (key, text) = ("(any)".to_owned(), reason.to_owned());
        match self {
            Self::NotFound => StorageError::NotFound { key },
            Self::UploadLost => StorageError::UploadLost { key, reason: text },
            Self::Denied => StorageError::Denied(reason.into()),
            Self::Full => StorageError::Full(reason.into()),
            Self::Unavailable | Self::Hang | Self::Cut => StorageError::Unavailable(reason.into()),
            Self::Corrupt | Self::Short => StorageError::Corrupt { key, reason: text },
            Self::Unreadable => StorageError::Unreadable(reason.into()),
            Self::Other => StorageError::Other(reason.into()),
        }
    }
}

/// The first half of the bytes of a read, and then an error or an untimely end.
fn halve(read: BlobRead, fault: Fault) -> BlobRead {
    let size = read.size;
    let wanted = match &read.source {
        ReadSource::File { range, .. } => range.end - range.start,
        ReadSource::Stream(_) => size,
    };
    let mut left = usize::try_from(wanted / 2).unwrap_or(usize::MAX);
    let half = read.into_stream(READ_CHUNK_BYTES).map(move |piece| {
        piece.map(|mut piece| {
            let kept = piece.split_to(left.min(piece.len()));
            left -= kept.len();
            kept
        })
    });
    let end = (fault == Fault::Cut).then(|| Err(fault.error()));
    BlobRead { size, source: ReadSource::Stream(half.chain(stream::iter(end)).boxed()) }
}

/// A source that ends after its first piece.
struct FirstPiece<'a> {
    source: &'a mut dyn AppendSource,
    taken: bool,
}

#[async_trait]
impl AppendSource for FirstPiece<'_> {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        if std::mem::replace(&mut self.taken, true) { None } else { self.source.next(limit).await }
    }

    fn mark(&mut self, offset: u64) {
        self.source.mark(offset);
    }

    async fn checkpoint(&mut self, offset: u64, state: &DriverState) -> Result<(), AppendError> {
        self.source.checkpoint(offset, state).await
    }

    async fn stage(&mut self, stored: u64, state: &DriverState, tail: Bytes) -> Result<bool, AppendError> {
        self.source.stage(stored, state, tail).await
    }

    async fn staged(&mut self) -> Result<Bytes, AppendError> {
        self.source.staged().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Faulty {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        let fault = {
            let mut plan = self.plan();
            let lasting = plan.unreadable.get(key).map(|fault| (Moment::Before, *fault));
            plan.next(Operation::Read).or(lasting)
        };
        match fault {
            Some((_, fault @ (Fault::Cut | Fault::Short))) => Ok(halve(self.inner.read(key, range).await?, fault)),
            None => self.inner.read(key, range).await,
            Some((Moment::Before, fault)) => Err(self.happen(fault).await),
            Some((Moment::After, fault)) => {
                self.inner.read(key, range).await?;
                Err(self.happen(fault).await)
            }
        }
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        self.run(Operation::Stat, self.inner.stat(key)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.run(Operation::Put, self.inner.put(key, bytes)).await
    }

    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError> {
        self.run(Operation::Begin, self.inner.begin(key)).await
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
        let fault = self.plan().next(Operation::Append);
        match fault {
            None => self.inner.append(key, state, stored, tail, hint, source).await,
            Some((_, Fault::Cut)) => {
                let mut first = FirstPiece { source, taken: false };
                self.inner.append(key, state, stored, tail, hint, &mut first).await?;
                Err(Fault::Cut.error().into())
            }
            Some((Moment::Before, fault)) => Err(self.happen(fault).await.into()),
            Some((Moment::After, fault)) => {
                self.inner.append(key, state, stored, tail, hint, source).await?;
                Err(self.happen(fault).await.into())
            }
        }
    }

    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        self.run(Operation::Complete, self.inner.complete(key, state, stored, tail)).await
    }

    fn is_whole(&self, state: &DriverState) -> bool {
        self.inner.is_whole(state)
    }

    fn complete_is_repeatable(&self) -> bool {
        self.inner.complete_is_repeatable()
    }

    async fn abort(&self, key: &Key, state: Option<&DriverState>) -> Result<(), StorageError> {
        self.run(Operation::Abort, self.inner.abort(key, state)).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        let fault = self.plan().next(Operation::DeleteMany);
        let answers = match fault {
            Some((Moment::Before, _)) => Vec::new(),
            _ => self.inner.delete_many(keys).await,
        };
        match fault {
            None => answers,
            Some((_, Fault::Hang)) => vec![Err(self.happen(Fault::Hang).await)],
            Some((_, fault)) => keys.iter().map(|_| Err(fault.error())).collect(),
        }
    }

    async fn presign(&self, key: &Key, ttl: Duration) -> Result<Option<String>, StorageError> {
        self.run(Operation::Presign, self.inner.presign(key, ttl)).await
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        let fault = self.plan().next(Operation::List);
        match fault {
            None => self.inner.list(),
            Some((Moment::Before, fault)) => stream::iter([Err(fault.error())]).boxed(),
            Some((Moment::After, fault)) => self.inner.list().chain(stream::iter([Err(fault.error())])).boxed(),
        }
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        let fault = self.plan().next(Operation::List);
        match fault {
            None => self.inner.list_under(folder),
            Some((Moment::Before, fault)) => stream::iter([Err(fault.error())]).boxed(),
            Some((Moment::After, fault)) => {
                self.inner.list_under(folder).chain(stream::iter([Err(fault.error())])).boxed()
            }
        }
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        let free = self.run(Operation::FreeBytes, self.inner.free_bytes()).await?;
        Ok(self.plan().free_bytes.or(free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;

    fn store() -> Faulty {
        Faulty::new(Arc::new(MemoryStore::new()))
    }

    #[tokio::test]
    async fn the_planned_call_fails_before_or_after_it_is_done() {
        let (store, key) = (store(), Key::opaque("00"));
        store.fail(Operation::Put, 2, Moment::Before, Fault::Full);
        store.fail(Operation::Put, 3, Moment::After, Fault::Unavailable);
        store.put(&key, "1".into()).await.expect("not planned");
        let full = store.put(&key, "22".into()).await;
        assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
        assert_eq!(store.stat(&key).await.expect("stat"), 1, "nothing was done");
        let lost = store.put(&key, "333".into()).await;
        assert!(matches!(lost, Err(StorageError::Unavailable(_))), "{lost:?}");
        assert_eq!(store.stat(&key).await.expect("stat"), 3, "only the answer was lost");
        assert_eq!((store.calls(Operation::Put), store.calls(Operation::Stat)), (3, 2));
    }

    #[tokio::test]
    async fn random_faults_follow_from_the_seed() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let store = store();
            store.fail_randomly(7, 64);
            let mut failed = Vec::new();
            for call in 0..200 {
                if store.free_bytes().await.is_err() {
                    failed.push(call);
                }
            }
            runs.push(failed);
        }
        assert_eq!(runs[0], runs[1]);
        assert!((20..80).contains(&runs[0].len()), "about a quarter of 200: {}", runs[0].len());
    }
}
