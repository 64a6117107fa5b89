//! `backup restore`: the bytes first where the backup has them, then all facts at once, then a check.

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::create::{Object, amount, objects, open_blobs};
use super::part::PartReader;
use super::verify::{lacking, open_blob, verify_facts};
use super::{Index, Part};
use crate::metadata::MetadataError;
use crate::metadata::dump::{LoadOptions, Rows};
use crate::storage::StorageError;
use crate::storage::read::READ_CHUNK_BYTES;
use crate::transfer::objects::{Crew, Moved, hash, store};
use crate::transfer::{Amount, Result, Stores, TransferError, Watch, blocking};

/// How to restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions {
    /// Whether facts that are there may be replaced.
    pub force: bool,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Rows of facts.
    pub rows: u64,
    /// Blobs brought back.
    pub moved: Amount,
    /// Blobs that were there already.
    pub kept: u64,
    /// Blobs whose bytes the backup has not, or not right.
    pub lacking: u64,
    /// Whether the backup has no blobs, so that those of the store are taken.
    pub facts_only: bool,
}

/// Restores a backup. The caller checks the store afterwards, which marks what is missing.
///
/// # Errors
/// [`TransferError::Refused`] when the database is not empty or the backup is broken; nothing was changed then.
pub async fn restore(
    stores: &Stores,
    dir: &Path,
    options: RestoreOptions,
    watch: &Arc<dyn Watch>,
) -> Result<RestoreReport> {
    let at = dir.to_owned();
    let index = blocking(move || Index::read(&at)).await?;
    let faults = verify_facts(dir, &index, watch).await?;
    if !faults.is_empty() {
        for fault in faults {
            watch.finding(fault);
        }
        return Err(TransferError::Refused(format!("{}: the backup is broken; nothing was changed", dir.display())));
    }
    check_target(stores, options).await?;
    let mut report = RestoreReport {
        rows: index.facts.iter().map(|part| part.rows).sum(),
        facts_only: index.blobs.is_none(),
        ..RestoreReport::default()
    };
    if index.blobs.is_some() {
        restore_blobs(stores, dir, &index, watch, &mut report).await?;
    }
    watch.stage("restoring facts", Amount::default());
    let load = LoadOptions { now: stores.clock.now(), doom_unknown: false, ends_copy: false };
    stores.metadata.load(rows(dir, &index.facts), load).await?;
    Ok(report)
}

async fn check_target(stores: &Stores, options: RestoreOptions) -> Result<()> {
    let target = stores.metadata.instance().await?;
    if target.copy_of.is_some() && target.copied_at.is_none() {
        return Err(TransferError::Refused("the database is the target of a copy that was never finished".to_owned()));
    }
    if !target.empty && !options.force {
        let why = "the database is not empty; name an empty one, or replace what it knows with --force";
        return Err(TransferError::Refused(why.to_owned()));
    }
    Ok(())
}

/// All rows of a backup, in order.
fn rows(dir: &Path, parts: &[Part]) -> Rows {
    let dir = dir.to_owned();
    let failed = |error: TransferError| MetadataError::Driver(error.into());
    let parts = stream::iter(parts.to_vec()).then(move |part| {
        let dir = dir.clone();
        blocking(move || PartReader::open(&dir, &part).map(PartReader::into_stream))
    });
    parts.try_flatten().map_err(failed).boxed()
}

/// What became of one blob.
enum Back {
    Moved(u64),
    Kept,
    Lacking,
}

async fn restore_blobs(
    stores: &Stores,
    dir: &Path,
    index: &Index,
    watch: &Arc<dyn Watch>,
    report: &mut RestoreReport,
) -> Result<()> {
    watch.stage("restoring blobs", amount(dir, &index.facts).await?);
    let (lacking, mut crew) = (lacking(index), Crew::new());
    let Some(reader) = open_blobs(dir, &index.facts).await? else { return Ok(()) };
    let mut batches = Box::pin(reader.into_stream());
    while let Some(batch) = batches.next().await {
        for object in objects(&batch?) {
            if lacking.contains(&object.digest) {
                report.take(Some(&Back::Lacking));
                continue;
            }
            let (stores, dir, watch) = (stores.clone(), dir.to_owned(), Arc::clone(watch));
            let back = async move { restore_blob(&stores, &dir, &object, &watch).await };
            report.take(crew.start(back).await?.as_ref());
        }
    }
    while let Some(ended) = crew.next().await? {
        report.take(Some(&ended));
    }
    Ok(())
}

impl RestoreReport {
    fn take(&mut self, ended: Option<&Back>) {
        match ended {
            Some(Back::Moved(bytes)) => self.moved.add(Amount { blobs: 1, bytes: *bytes }),
            Some(Back::Kept) => self.kept += 1,
            Some(Back::Lacking) => self.lacking += 1,
            None => {}
        }
    }
}

async fn restore_blob(stores: &Stores, dir: &Path, object: &Object, watch: &Arc<dyn Watch>) -> Result<Back> {
    let what = (&object.digest, object.size);
    if is_there(stores, object).await? {
        watch.moved(Amount { blobs: 1, bytes: object.size });
        return Ok(Back::Kept);
    }
    let Some(read) = open_blob(dir, object).await? else {
        watch.finding(format!("blob {} is missing in the backup", object.digest));
        return Ok(Back::Lacking);
    };
    match store(stores.storage.as_ref(), &object.key, what, read.into_stream(READ_CHUNK_BYTES), watch).await? {
        Moved::Whole => Ok(Back::Moved(object.size)),
        Moved::Wrong(why) => {
            watch.finding(format!("blob {} is damaged in the backup: {why}", object.digest));
            Ok(Back::Lacking)
        }
    }
}

/// Whether the store has the object with the right bytes; one with wrong bytes is removed.
async fn is_there(stores: &Stores, object: &Object) -> Result<bool> {
    let found = match stores.storage.stat(&object.key).await {
        Err(StorageError::NotFound { .. }) => return Ok(false),
        other => other?,
    };
    if found == object.size {
        let read = stores.storage.read(&object.key, None).await?;
        let (actual, _) = hash(read.into_stream(READ_CHUNK_BYTES), &object.digest).await?;
        if actual == object.digest {
            return Ok(true);
        }
    }
    let removed = stores.storage.delete_many(std::slice::from_ref(&object.key)).await;
    removed.into_iter().collect::<std::result::Result<(), _>>()?;
    Ok(false)
}
