//! Giving space back: sessions expire, memberships and blobs that nobody needs go, and their objects after them.
//!
//! Every step is safe to run on many nodes at once and while pushes run: the database decides in one transaction what is
//! garbage, and an object goes only after its row is gone.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::metadata::model::{BlobId, Deletion, PurgeHold};
use crate::registry::retain::Schedule;
use crate::registry::{Purge, Registry, Result};
use crate::storage::{Key, StorageError};

/// Rows of one step of a sweep.
const BATCH: u32 = 200;

/// Unfinished uploads that are aborted at once.
const ABORTS_AT_ONCE: usize = 8;

/// Longest wait of `?purge=wait`.
const PURGE_WAIT: Duration = Duration::from_secs(30);

/// Pause between two looks of `?purge=wait`.
const PURGE_POLL: Duration = Duration::from_millis(50);

/// Longest pause before an object that could not be removed is tried again.
const RETRY_MAX: Duration = Duration::from_hours(1);

/// What the collector shares inside one process.
#[derive(Debug, Default)]
pub(super) struct Collector {
    garbage: Notify,
    /// One sweep at a time: a second one in the same process could only wait for the first one's rows.
    sweeping: Mutex<()>,
    blobs: AtomicU64,
    bytes: AtomicU64,
    objects: AtomicU64,
    object_bytes: AtomicU64,
    sessions: AtomicU64,
    /// Manifests that retention took, by rule.
    retired: std::sync::Mutex<BTreeMap<Option<usize>, u64>>,
    /// One slice of retention at a time.
    pub(super) retention: Mutex<Schedule>,
    /// Sessions that are open: counted by each sweep, and raised by each one begun since.
    open_sessions: AtomicU64,
}

impl Collector {
    /// Counts a session that is about to begin; `false` when `max` are open already.
    ///
    /// Sessions that ended since the last sweep still count, so this is a bound against floods, not a quota.
    pub(super) fn count_session(&self, max: u64) -> bool {
        self.open_sessions.fetch_add(1, Ordering::Relaxed) < max
    }

    /// Counts a manifest that a retention rule took.
    pub(super) fn count_retired(&self, rule: Option<usize>) {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner).entry(rule).or_default() += 1;
    }

    /// Says that there may be garbage.
    pub(super) fn wake(&self) {
        self.garbage.notify_one();
    }
}

/// What was collected since this process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectorStats {
    /// Blobs whose rows went.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects removed from the store.
    pub objects: u64,
    /// Their bytes, those of unfinished uploads included.
    pub object_bytes: u64,
    /// Sessions that expired.
    pub sessions: u64,
    /// Manifests that retention took, by the number of the rule; `None` is the default for untagged ones.
    pub retired: BTreeMap<Option<usize>, u64>,
}

impl Registry {
    /// One round of expiry, collection and purging; says whether there is more to do at once.
    pub async fn sweep(&self) -> Result<bool> {
        let _turn = self.collector.sweeping.lock().await;
        let now = self.clock.now();
        let full = u64::from(BATCH);
        let sessions = self.metadata.upload_expire(now, self.dead_until(now), BATCH).await?;
        let manifests = self.metadata.manifest_collect(now, BATCH).await?;
        let memberships = self.metadata.membership_collect(now, BATCH).await?;
        // A client may still follow a redirect that it was given before the blob went.
        let blobs = self.metadata.blob_collect(now, now.after(self.options.redirect_ttl), BATCH).await?;
        let objects = self.purge(now).await?;
        let collector = &self.collector;
        collector.open_sessions.store(self.metadata.upload_count().await?, Ordering::Relaxed);
        collector.sessions.fetch_add(sessions, Ordering::Relaxed);
        collector.blobs.fetch_add(blobs.rows, Ordering::Relaxed);
        collector.bytes.fetch_add(blobs.bytes, Ordering::Relaxed);
        collector.objects.fetch_add(objects, Ordering::Relaxed);
        // A step feeds the ones behind it in the same round; only a full batch leaves something for the next round.
        Ok([sessions, manifests.seen, memberships.seen, blobs.seen, objects].iter().any(|seen| *seen >= full))
    }

    /// Resolves when something may have become garbage since the last call. A hint: callers poll as well.
    pub async fn garbage_made(&self) {
        self.collector.garbage.notified().await;
    }

    /// What was collected since this process began.
    pub fn collector_stats(&self) -> CollectorStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let collector = &self.collector;
        CollectorStats {
            blobs: load(&collector.blobs),
            bytes: load(&collector.bytes),
            objects: load(&collector.objects),
            object_bytes: load(&collector.object_bytes),
            sessions: load(&collector.sessions),
            retired: collector.retired.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Numbers of the fact store, for metrics.
    pub async fn store_counts(&self) -> Result<crate::metadata::model::StoreCounts> {
        Ok(self.metadata.counts().await?)
    }

    /// Who keeps objects from being removed now.
    pub async fn purge_holds(&self) -> Result<Vec<PurgeHold>> {
        Ok(self.metadata.purge_holds(self.clock.now()).await?)
    }

    /// Starts collection after a delete, and waits for the bytes of `blobs` when asked to.
    pub(super) async fn after_delete(&self, blobs: &[BlobId], purge: Purge) -> Result<()> {
        if purge == Purge::Later {
            self.collector.wake();
            return Ok(());
        }
        let keys = self.metadata.blob_keys(blobs).await?;
        let deadline = Instant::now() + PURGE_WAIT;
        loop {
            let more = self.sweep().await?;
            if !self.metadata.purge_pending(blobs, &keys, self.clock.now()).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.collector.wake();
                return Ok(());
            }
            if !more {
                tokio::time::sleep(PURGE_POLL).await;
            }
        }
    }

    /// Removes one batch of objects from the store; says how many went.
    async fn purge(&self, now: Timestamp) -> Result<u64> {
        let deletions = self.metadata.deletion_claim(now, BATCH).await?;
        let (aborts, deletes): (Vec<_>, Vec<_>) = deletions.into_iter().partition(|d| d.driver_state.is_some());
        let aborting = futures_util::stream::iter(aborts.into_iter().map(async |deletion| {
            let ended = self.storage.abort(&deletion.key, deletion.driver_state.as_ref()).await;
            (deletion, ended)
        }));
        let mut ended: Vec<(Deletion, std::result::Result<(), StorageError>)> =
            aborting.buffer_unordered(ABORTS_AT_ONCE).collect().await;
        let keys: Vec<Key> = deletes.iter().map(|deletion| deletion.key.clone()).collect();
        ended.extend(deletes.into_iter().zip(self.storage.delete_many(&keys).await));
        let (mut done, mut bytes) = (Vec::new(), 0);
        for (deletion, result) in ended {
            match result {
                Ok(()) => {
                    bytes += deletion.size;
                    done.push(deletion.key);
                }
                Err(error) => self.retry_later(&deletion, &error, now).await?,
            }
        }
        if !done.is_empty() {
            self.metadata.deletion_done(&done).await?;
        }
        self.collector.object_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(done.len() as u64)
    }

    async fn retry_later(&self, deletion: &Deletion, error: &StorageError, now: Timestamp) -> Result<()> {
        let pause = Duration::from_secs(1 << deletion.attempts.min(12)).min(RETRY_MAX);
        tracing::warn!(blob.key = %deletion.key, attempts = deletion.attempts, %error, "an object could not be removed");
        Ok(self.metadata.deletion_retry(&deletion.key, now.after(pause)).await?)
    }
}
