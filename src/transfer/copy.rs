//! `store copy`: everything that one registry has, put into another database and another store.
//!
//! Bytes first, blob by blob, while the source may be served; each is proven, and recorded at the target when it is
//! whole, so that a run that was interrupted does not move it twice. Then all facts at once: one snapshot of the source
//! replaces what the target knows in one transaction. What came to the source after its bytes were looked through is
//! marked damaged at the target until the next run fetches it; a run while nobody writes to the source is exact.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::StreamExt as _;

use super::objects::{self, Crew, Moved};
use super::{Amount, BATCH, Result, Stores, TransferError, Watch, backup};
use crate::metadata::MetadataError;
use crate::metadata::dump::{Batch, Cell, LoadOptions};
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord};
use crate::oci::digest::Digest;
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{Key, StorageError};

/// Most times that the source's blobs are looked through for what came meanwhile.
const PASSES_MAX: usize = 3;

/// How long a blob is kept at the target that no fact names yet: until the copy is whole, whenever that is.
const KEEP: Duration = Duration::from_hours(24 * 365 * 100);

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Both keep their bytes in the same place, so that only facts are copied.
    pub same_storage: bool,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Blobs moved by this run.
    pub moved: Amount,
    /// Blobs that an earlier run had moved.
    pub kept: u64,
    /// Blobs whose bytes are wrong or missing at the source; marked damaged at the target.
    pub damaged: u64,
    /// Blobs that came to the source during the run; marked damaged at the target until the next run.
    pub late: u64,
    /// Upload sessions that are open at the source and were not copied.
    pub sessions: u64,
}

/// Copies everything.
///
/// # Errors
/// [`TransferError::Refused`] when the target is neither empty nor an unserved copy of the same source.
pub async fn copy(from: &Stores, to: &Stores, options: CopyOptions, watch: &Arc<dyn Watch>) -> Result<CopyReport> {
    let copier = Arc::new(Copier { from: from.clone(), to: to.clone(), watch: Arc::clone(watch) });
    copier.check_target(options).await?;
    let mut report = CopyReport { sessions: from.metadata.upload_count().await?, ..CopyReport::default() };
    let mut bad = Bad::new();
    if !options.same_storage {
        watch.stage("copying blobs", copier.amount().await?);
        for number in 0..PASSES_MAX {
            let pass = copier.pass(&mut bad).await?;
            report.moved.add(pass.moved);
            if number == 0 {
                report.kept = pass.kept.blobs;
                watch.moved(pass.kept);
            }
            if pass.moved.blobs == 0 {
                break;
            }
        }
    }
    let (lacking, faults) = copier.facts(options).await?;
    report.damaged = faults;
    for digest in lacking {
        match bad.get(&digest) {
            Some(why) => {
                watch.finding(format!("blob {digest} is damaged: {why}"));
                report.damaged += 1;
            }
            None => report.late += 1,
        }
    }
    Ok(report)
}

/// Blobs that cannot be had, and why.
type Bad = BTreeMap<Digest, String>;

/// What one look through the source's blobs did.
#[derive(Debug, Default)]
struct Pass {
    moved: Amount,
    kept: Amount,
}

/// What became of one blob.
#[derive(Debug)]
enum Fate {
    Moved(u64),
    /// It is not at the source any more, or elsewhere there.
    Gone,
    Damaged(Digest, String),
}

#[derive(Debug)]
struct Copier {
    from: Stores,
    to: Stores,
    watch: Arc<dyn Watch>,
}

impl Copier {
    /// Insists that nothing can be lost at the target, and marks it as a copy.
    async fn check_target(&self, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.from.metadata.instance().await?, self.to.metadata.instance().await?);
        let refuse = |why: &str| Err(TransferError::Refused(why.to_owned()));
        if source.id == target.id {
            return refuse("source and target are the same database");
        }
        if source.copy_of.is_some() && source.copied_at.is_none() {
            return refuse("the source is itself a copy that was never finished");
        }
        match target.copy_of {
            Some(of) if of != source.id => refuse("the target is a copy of another registry"),
            Some(_) if target.served_at.is_some() => {
                refuse("the target has been served since it was copied; what was pushed to it would be lost")
            }
            Some(_) if options.same_storage => Ok(()),
            Some(_) => self.clear_leftovers().await,
            None if !target.empty => refuse("the target is not empty; name an empty database"),
            None if !options.same_storage && self.to.storage.list().next().await.transpose()?.is_some() => {
                refuse("the target's store is not empty; name an empty folder, bucket or prefix")
            }
            None => Ok(self.to.metadata.copy_begin(&source.id).await?),
        }
    }

    /// Removes what an interrupted run stored and did not record.
    async fn clear_leftovers(&self) -> Result<()> {
        let mut listing = self.to.storage.list().chunks(BATCH as usize);
        while let Some(chunk) = listing.next().await {
            let objects = chunk.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
            let keys: Vec<Key> = objects.iter().map(|object| object.key.clone()).collect();
            let known = self.to.metadata.key_known(&keys).await?;
            for (object, _) in objects.into_iter().zip(known).filter(|(_, known)| !known) {
                self.to.storage.abort(&object.key, None).await?;
            }
        }
        Ok(())
    }

    /// What the source has in objects.
    async fn amount(&self) -> Result<Amount> {
        let (mut amount, mut after) = (Amount::default(), BlobId(i64::MIN));
        loop {
            let blobs = self.from.metadata.blob_scan(after, BATCH).await?;
            let Some(last) = blobs.last() else { return Ok(amount) };
            after = last.id;
            for blob in blobs.iter().filter(|blob| matches!(blob.location, BlobLocation::Object(_))) {
                amount.add(Amount { blobs: 1, bytes: blob.size });
            }
        }
    }

    /// Moves every blob that the target does not have yet; `bad` takes those that cannot be had.
    async fn pass(self: &Arc<Self>, bad: &mut Bad) -> Result<Pass> {
        let (mut pass, mut crew, mut after) = (Pass::default(), Crew::new(), BlobId(i64::MIN));
        bad.clear();
        loop {
            let blobs = self.from.metadata.blob_scan(after, BATCH).await?;
            let Some(last) = blobs.last() else { break };
            after = last.id;
            let objects: Vec<(BlobRecord, Key)> = blobs.into_iter().filter_map(with_key).collect();
            let keys: Vec<Key> = objects.iter().map(|(_, key)| key.clone()).collect();
            let sound = self.to.metadata.key_sound(&keys).await?;
            for ((blob, key), sound) in objects.into_iter().zip(sound) {
                if sound {
                    pass.kept.add(Amount { blobs: 1, bytes: blob.size });
                    continue;
                }
                let copier = Arc::clone(self);
                let ended = crew.start(async move { copier.copy_blob(&blob, &key).await }).await?;
                pass.take(ended, bad);
            }
        }
        while let Some(ended) = crew.next().await? {
            pass.take(Some(ended), bad);
        }
        Ok(pass)
    }

    async fn copy_blob(&self, blob: &BlobRecord, key: &Key) -> Result<Fate> {
        let read = match self.from.storage.read(key, None).await {
            Err(error @ (StorageError::NotFound { .. } | StorageError::Corrupt { .. })) => {
                return self.doubt(blob, error.to_string()).await;
            }
            other => other?,
        };
        let stream = read.into_stream(READ_CHUNK_BYTES);
        let what = (&blob.digest, blob.size);
        match objects::store(self.to.storage.as_ref(), key, what, stream, &self.watch).await? {
            Moved::Wrong(why) => self.doubt(blob, why).await,
            Moved::Whole => {
                let now = self.to.clock.now();
                self.to.metadata.blob_restore(&blob.digest, blob.size, key, now, now.after(KEEP)).await?;
                Ok(Fate::Moved(blob.size))
            }
        }
    }

    /// A blob that could not be read is damaged, unless it was collected or healed meanwhile.
    async fn doubt(&self, blob: &BlobRecord, why: String) -> Result<Fate> {
        let again = self.from.metadata.blob_scan(BlobId(blob.id.0 - 1), 1).await?.pop();
        if again.is_none_or(|again| again.id != blob.id || again.location != blob.location) {
            return Ok(Fate::Gone);
        }
        Ok(Fate::Damaged(blob.digest.clone(), why))
    }

    /// Replaces the target's facts; gives the blobs whose bytes the target lacks, and how many rows hold wrong bytes.
    async fn facts(self: &Arc<Self>, options: CopyOptions) -> Result<(Vec<Digest>, u64)> {
        self.watch.stage("copying facts", Amount::default());
        let (lacking, faults) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (copier, seen, wrong) = (Arc::clone(self), Arc::clone(&lacking), Arc::clone(&faults));
        let rows = self.from.metadata.dump().then(move |batch| {
            let (copier, seen, faults) = (Arc::clone(&copier), Arc::clone(&seen), Arc::clone(&wrong));
            async move {
                let batch = batch?;
                for fault in backup::content_faults(&batch) {
                    copier.watch.finding(format!("{fault}; it is copied as it is"));
                    *lock(&faults) += 1;
                }
                if options.same_storage || batch.table.name != "blobs" {
                    return Ok(batch);
                }
                let (batch, lacking) = copier.settle(batch).await?;
                lock(&seen).extend(lacking);
                Ok(batch)
            }
        });
        let load = LoadOptions { now: self.to.clock.now(), doom_unknown: !options.same_storage, ends_copy: true };
        self.to.metadata.load(rows.boxed(), load).await?;
        let lacking = std::mem::take(&mut *lock(&lacking));
        Ok((lacking, *lock(&faults)))
    }

    /// Rows of `blobs` as they are true at the target: sound where the bytes were proven, damaged where there are none,
    /// and all of them ours.
    async fn settle(&self, mut batch: Batch) -> std::result::Result<(Batch, Vec<Digest>), MetadataError> {
        let columns = ["digest", "object_key", "adopted", "damaged_at"].map(|name| batch.position(name));
        let [Some(digest), Some(key), Some(adopted), Some(damaged)] = columns else { return Ok((batch, Vec::new())) };
        let key_of = |row: &Vec<Cell>| row.get(key).and_then(Cell::as_text).and_then(Key::parse);
        let keys: Vec<Key> = batch.rows.iter().filter_map(key_of).collect();
        let mut sound = self.to.metadata.key_sound(&keys).await?.into_iter();
        let (now, mut lacking) = (Cell::Integer(self.to.clock.now().as_micros()), Vec::new());
        for row in batch.rows.iter_mut().filter(|row| key_of(row).is_some()) {
            let sound = sound.next().unwrap_or(false);
            if !sound {
                lacking.extend(row.get(digest).and_then(Cell::as_text).and_then(|text| text.parse().ok()));
            }
            let was = row.get(damaged).cloned();
            let is = if sound { Cell::Null } else { was.filter(|cell| *cell != Cell::Null).unwrap_or(now.clone()) };
            for (at, cell) in [(adopted, Cell::Integer(0)), (damaged, is)] {
                if let Some(place) = row.get_mut(at) {
                    *place = cell;
                }
            }
        }
        Ok((batch, lacking))
    }
}

impl Pass {
    fn take(&mut self, ended: Option<Fate>, bad: &mut Bad) {
        match ended {
            Some(Fate::Moved(bytes)) => self.moved.add(Amount { blobs: 1, bytes }),
            Some(Fate::Damaged(digest, why)) => {
                bad.insert(digest, why);
            }
            Some(Fate::Gone) | None => {}
        }
    }
}

fn with_key(blob: BlobRecord) -> Option<(BlobRecord, Key)> {
    match &blob.location {
        BlobLocation::Object(key) => {
            let key = key.clone();
            Some((blob, key))
        }
        BlobLocation::Inline(_) => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list of digests is whole whenever the lock is let go.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
