//! Reading everything again, at a set rate, so that damage is found before a client finds it.
//!
//! - A pass goes over the blobs and then the manifests, in the order of their rows. How far it is stands in the database: a
//!   restart goes on there, and one node at a time reads for all.
//! - A call of [`Registry::scrub`] reads as much as the time since the last one allows, large objects in pieces. Nothing here
//!   waits.
//! - Whatever is found wrong with an object is looked at twice, the second time from a row that was read anew, and is marked
//!   only where the blob still has its bytes there. A store that does not answer, or has nothing that is known, is no damage.
//! - An object that cannot be read while others can does not hold a pass up for ever. After some tries, minutes apart in the
//!   end, what the medium does not give is damage; what fails otherwise is stepped over, and said.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::metadata::model::accounts::Actor;
use crate::metadata::model::scrub::{ManifestBytes, ScrubPass, ScrubStage, ScrubTake};
use crate::metadata::model::{BlobId, BlobLocation, BlobRecord};
use crate::oci::digest::{Digest, Hasher};
use crate::registry::damage::{inline_fault, manifest_fault};
use crate::registry::presence::Others;
use crate::registry::{Registry, RegistryError, Result};
use crate::storage::read::READ_CHUNK_BYTES;
use crate::storage::{Key, StorageError};
use crate::telemetry::chain;

/// For how long a node that reads keeps others from it; longer than any call takes.
const LEASE: Duration = Duration::from_secs(30);

/// Pause between two looks at whether a pass is due, or free.
const LOOK: Duration = Duration::from_mins(1);

/// Longest time for which reading that did not happen is made up for.
const BURST: Duration = Duration::from_secs(2);

/// Most steps of one call; a step is a row, or a piece of an object.
const STEPS: usize = 1_000;

/// Rows read at a time. A manifest may have megabytes.
const PAGE_BLOBS: u32 = 100;
const PAGE_MANIFESTS: u32 = 8;

/// How often an object is tried that cannot be read. The pause between two tries doubles with each.
const TRIES: u32 = 8;

/// How fast and how often everything is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes in a second; 0: none ever.
    pub rate: u64,
    /// A pass begins this long after the last one began, or once that has ended.
    pub every: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { rate: 8 << 20, every: Duration::from_hours(30 * 24) }
    }
}

/// What was read again since this process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStats {
    /// Blobs and manifests.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs and manifests that were found damaged, by whatever found them.
    pub found: u64,
    /// Blobs that could not be read, and were stepped over.
    pub unread: u64,
}

/// What a process knows of its passes.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    state: Mutex<State>,
    objects: AtomicU64,
    bytes: AtomicU64,
    found: AtomicU64,
    unread: AtomicU64,
    /// The object that could not be read the last time, and how often; it outlives a turn.
    stumbled: std::sync::Mutex<Option<(BlobId, u32)>>,
}

#[derive(Debug, Default)]
struct State {
    /// The pass, while this node is at it.
    turn: Option<Turn>,
    /// When to look again whether there is one.
    look_at: Timestamp,
}

/// This node's turn at a pass.
#[derive(Debug)]
struct Turn {
    pass: ScrubPass,
    held_until: Timestamp,
    /// Bytes that may be read now; below zero when more were read than that.
    budget: i64,
    filled_at: Timestamp,
    /// Rows that come next.
    ahead: VecDeque<Row>,
    /// The object of the first of them, as far as it is read.
    open: Option<Open>,
}

#[derive(Clone, Debug)]
enum Row {
    Blob(BlobRecord),
    Manifest(ManifestBytes),
}

/// An object being read.
#[derive(Debug)]
struct Open {
    blob: BlobRecord,
    key: Key,
    offset: u64,
    hasher: Hasher,
    /// It was found wrong once.
    again: bool,
}

/// What is wrong with an object.
enum Fault {
    Missing,
    Wrong(String),
}

/// Nothing that is known is in the store.
#[derive(Debug, thiserror::Error)]
#[error(
    "blob {0} has no object, and no other that was looked for is in the store; is it the right one? Nothing is marked as damaged"
)]
struct StrangeStore(Digest);

impl Scrubber {
    /// Counts a blob or manifest that was found damaged.
    pub(super) fn count_found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a try that failed; says how many there were in a row.
    fn stumble(&self, id: BlobId) -> u32 {
        let mut stumbled = self.stumbled.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stumbled.filter(|(other, _)| *other == id).map_or(0, |(_, tries)| tries);
        let tries = before.saturating_add(1);
        *stumbled = Some((id, tries));
        tries
    }

    fn goes_on(&self) {
        *self.stumbled.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Turn {
    fn new(pass: ScrubPass, now: Timestamp) -> Self {
        Self { pass, held_until: now.after(LEASE), budget: 0, filled_at: now, ahead: VecDeque::new(), open: None }
    }

    /// What the time since the last call allows is added to what may be read.
    fn fill(&mut self, now: Timestamp, rate: u64) {
        let allowed = |span: Duration| {
            let bytes = u128::from(rate) * span.as_micros() / 1_000_000;
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        let since = self.filled_at.until(now).min(BURST);
        self.budget = self.budget.saturating_add(allowed(since)).min(allowed(BURST));
        self.filled_at = now;
    }

    fn spend(&mut self, bytes: u64) {
        self.budget = self.budget.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.pass.bytes = self.pass.bytes.saturating_add(bytes);
    }

    /// The first row is behind the pass.
    fn step_over(&mut self) {
        self.open = None;
        match self.ahead.pop_front() {
            Some(Row::Blob(blob)) => self.pass.after = blob.id.0,
            Some(Row::Manifest(manifest)) => self.pass.after = manifest.id,
            None => {}
        }
    }
}

impl Open {
    /// `None`: the bytes are in the row.
    fn new(blob: BlobRecord, again: bool) -> Option<Self> {
        let BlobLocation::Object(key) = &blob.location else { return None };
        let (key, hasher) = (key.clone(), Hasher::new(blob.digest.algorithm()));
        Some(Self { blob, key, offset: 0, hasher, again })
    }

    /// What comes next, `budget` bytes at most and one at least.
    fn piece(&self, budget: i64) -> Range<u64> {
        let most = u64::try_from(budget).unwrap_or(1).max(1);
        self.offset..self.blob.size.min(self.offset.saturating_add(most))
    }
}

impl Registry {
    /// Reads what the time since the last call allows, if a pass is under way here or due.
    ///
    /// # Errors
    /// Those of the stores; and when a blob has no object and nothing else shows that the store is the right one. The next
    /// call tries again.
    pub async fn scrub(&self) -> Result<()> {
        let rate = self.options.scrub.rate;
        if rate == 0 {
            return Ok(());
        }
        let mut state = self.scrubber.state.lock().await;
        let now = self.clock.now();
        let turn = match state.turn.take() {
            Some(turn) => self.hold(turn, now).await?,
            None => self.begin(&mut state, now).await?,
        };
        let Some(mut turn) = turn else { return Ok(()) };
        turn.fill(now, rate);
        match self.slice(&mut turn).await {
            Ok(true) => self.end_pass(turn).await,
            Ok(false) => {
                state.turn = Some(turn);
                Ok(())
            }
            Err(error) => {
                // What was read of an object and hashed is still true.
                state.turn = Some(turn);
                Err(error)
            }
        }
    }

    /// What was read again since this process began.
    pub fn scrub_stats(&self) -> ScrubStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Scrubber { objects, bytes, found, unread, .. } = &self.scrubber;
        ScrubStats { objects: load(objects), bytes: load(bytes), found: load(found), unread: load(unread) }
    }

    /// Takes the pass that is under way, or due, if no other node is at it.
    async fn begin(&self, state: &mut State, now: Timestamp) -> Result<Option<Turn>> {
        // A clock that was set back must not put it off for long.
        if now < state.look_at && now.until(state.look_at) <= LOOK {
            return Ok(None);
        }
        state.look_at = now.after(LOOK);
        let due = now.before(self.options.scrub.every);
        let take = ScrubTake { node: self.options.node.clone(), now, until: now.after(LEASE), due };
        Ok(self.metadata.scrub_take(&take).await?.map(|pass| Turn::new(pass, now)))
    }

    /// Writes down how far the pass is, now and then. `None`: another node has taken it, and goes on from there.
    async fn hold(&self, mut turn: Turn, now: Timestamp) -> Result<Option<Turn>> {
        if now.until(turn.held_until) > LEASE / 2 {
            return Ok(Some(turn));
        }
        let until = now.after(LEASE);
        let ours = self.metadata.scrub_keep(&self.options.node, &turn.pass, until).await?;
        turn.held_until = until;
        Ok(ours.then_some(turn))
    }

    async fn end_pass(&self, mut turn: Turn) -> Result<()> {
        let now = self.clock.now();
        turn.pass.finished_at = Some(now);
        let ScrubPass { objects, bytes, damaged, began_at, .. } = turn.pass;
        if self.metadata.scrub_keep(&self.options.node, &turn.pass, now).await? && objects > 0 {
            let seconds = began_at.until(now).as_secs();
            tracing::info!(objects, bytes, damaged, seconds, "everything that was stored has been read again");
        }
        Ok(())
    }

    /// Says whether the pass has ended.
    async fn slice(&self, turn: &mut Turn) -> Result<bool> {
        for _ in 0..STEPS {
            if turn.budget <= 0 {
                break;
            }
            if turn.ahead.is_empty() && !self.look_ahead(turn).await? {
                return Ok(true);
            }
            match (turn.ahead.front().cloned(), turn.open.take()) {
                (Some(_), Some(open)) => self.read_on(turn, open).await?,
                (Some(row), None) => self.read_row(turn, row).await?,
                (None, _) => {}
            }
        }
        Ok(false)
    }

    /// Reads the next rows, which may be none at the end of a stage. `false`: that was the last one.
    async fn look_ahead(&self, turn: &mut Turn) -> Result<bool> {
        let after = turn.pass.after;
        match turn.pass.stage {
            ScrubStage::Blobs => {
                let blobs = self.metadata.blob_scan(BlobId(after), PAGE_BLOBS).await?;
                turn.ahead.extend(blobs.into_iter().map(Row::Blob));
                if turn.ahead.is_empty() {
                    (turn.pass.stage, turn.pass.after) = (ScrubStage::Manifests, i64::MIN);
                }
                Ok(true)
            }
            ScrubStage::Manifests => {
                let manifests = self.metadata.manifest_scan(after, PAGE_MANIFESTS).await?;
                turn.ahead.extend(manifests.into_iter().map(Row::Manifest));
                Ok(!turn.ahead.is_empty())
            }
        }
    }

    /// What came since the pass began was hashed on its way in, and what is marked stays so until it comes again.
    async fn read_row(&self, turn: &mut Turn, row: Row) -> Result<()> {
        let began_at = turn.pass.began_at;
        match row {
            Row::Blob(blob) if blob.created_at >= began_at || blob.damaged_at.is_some() => turn.step_over(),
            Row::Manifest(manifest) if manifest.created_at >= began_at || manifest.damaged_at.is_some() => {
                turn.step_over();
            }
            Row::Blob(blob) => match &blob.location {
                BlobLocation::Inline(bytes) => {
                    let marked = match inline_fault(&blob, bytes) {
                        Some(fault) => self.damage_blob(&blob, &fault, &by()).await?,
                        None => false,
                    };
                    self.count(turn, bytes.len() as u64, marked);
                }
                BlobLocation::Object(_) => turn.open = Open::new(blob, false),
            },
            Row::Manifest(manifest) => {
                let marked = match manifest_fault(&manifest) {
                    Some(fault) => self.damage_manifest(&manifest, &fault, &by()).await?,
                    None => false,
                };
                self.count(turn, manifest.payload.len() as u64, marked);
            }
        }
        Ok(())
    }

    /// Reads the next piece of an object.
    async fn read_on(&self, turn: &mut Turn, mut open: Open) -> Result<()> {
        let range = open.piece(turn.budget);
        let (hasher, size) = (open.hasher.clone(), open.blob.size);
        match self.hash_piece(&open.key, size, range.clone(), hasher).await {
            Ok(hasher) => {
                self.spend(turn, range.end - range.start);
                (open.hasher, open.offset) = (hasher, range.end);
            }
            Err(StorageError::NotFound { .. }) => return self.look_again(turn, open, Fault::Missing).await,
            Err(StorageError::Corrupt { reason, .. }) => {
                return self.look_again(turn, open, Fault::Wrong(format!("cannot be read whole: {reason}"))).await;
            }
            Err(error) => return self.stumble(turn, open, error).await,
        }
        if open.offset < size {
            turn.open = Some(open);
            return Ok(());
        }
        // Not before: whoever begins anew reads the first pieces well each time, and fails behind them.
        self.scrubber.goes_on();
        let actual = open.hasher.clone().finish();
        if actual == open.blob.digest {
            self.count(turn, 0, false);
            return Ok(());
        }
        self.look_again(turn, open, Fault::Wrong(format!("has the bytes of {actual}"))).await
    }

    /// An object was found wrong: the first time it is read anew, the second time it is marked. A blob that was collected,
    /// marked or healed meanwhile is left alone.
    async fn look_again(&self, turn: &mut Turn, open: Open, fault: Fault) -> Result<()> {
        let id = open.blob.id;
        let row = self.metadata.blob_scan(BlobId(id.0 - 1), 1).await?.pop();
        let same = |row: &BlobRecord| row.id == id && row.location == open.blob.location && row.damaged_at.is_none();
        let Some(row) = row.filter(same) else {
            turn.step_over();
            return Ok(());
        };
        if !open.again {
            turn.open = Open::new(row, true);
            return Ok(());
        }
        let reason = match fault {
            Fault::Missing => {
                self.prove_store(&row).await?;
                format!("has no object {}", open.key)
            }
            Fault::Wrong(what) => format!("{what} in {}", open.key),
        };
        let marked = self.damage_blob(&row, &reason, &by()).await?;
        self.count(turn, 0, marked);
        Ok(())
    }

    /// Refuses to believe that a blob is lost when everything is: it is more likely the wrong bucket, or a folder that is
    /// not mounted.
    async fn prove_store(&self, lost: &BlobRecord) -> Result<()> {
        match self.others_there(lost).await? {
            Others::There | Others::Unknown => Ok(()),
            Others::Away => Err(RegistryError::Internal(Box::new(StrangeStore(lost.digest.clone())))),
        }
    }

    /// An object cannot be read. If that is so again and again, and only of this one, the pass goes on without it.
    async fn stumble(&self, turn: &mut Turn, open: Open, error: StorageError) -> Result<()> {
        let blob = open.blob.clone();
        // What was read of it and hashed is still true.
        turn.open = Some(open);
        if self.scrubber.stumble(blob.id) < TRIES {
            return Err(error.into());
        }
        let is_medium = matches!(error, StorageError::Unreadable(_));
        match self.others_read(&blob).await? {
            Others::There => {}
            Others::Unknown if is_medium => {}
            Others::Away | Others::Unknown => return Err(error.into()),
        }
        self.scrubber.goes_on();
        if is_medium {
            let marked = self.damage_blob(&blob, &format!("cannot be read: {}", chain(&error)), &by()).await?;
            self.count(turn, 0, marked);
            return Ok(());
        }
        tracing::error!(
            blob.digest = %blob.digest, error = chain(&error), tries = TRIES,
            "a blob cannot be read again, and others can; it is left to the next pass"
        );
        self.scrubber.unread.fetch_add(1, Ordering::Relaxed);
        turn.step_over();
        Ok(())
    }

    /// Goes on with a hash over a piece of an object that should be `size` bytes long.
    async fn hash_piece(
        &self,
        key: &Key,
        size: u64,
        range: Range<u64>,
        mut hasher: Hasher,
    ) -> std::result::Result<Hasher, StorageError> {
        let corrupt = |reason: String| StorageError::Corrupt { key: key.to_string(), reason };
        let (length, found, mut read) = if range.is_empty() {
            (0, self.storage.stat(key).await?, None)
        } else {
            let length = range.end - range.start;
            let read = self.storage.read(key, Some(range)).await?;
            (length, read.size, Some(read.into_stream(READ_CHUNK_BYTES)))
        };
        if found != size {
            return Err(corrupt(format!("it has {found} bytes instead of {size}")));
        }
        let mut taken = 0;
        while let Some(stream) = &mut read
            && let Some(piece) = stream.next().await
        {
            let piece = piece?;
            taken += piece.len() as u64;
            hasher.update(&piece);
            // What is in memory already comes without a pause, and others want to get on.
            tokio::task::yield_now().await;
        }
        if taken == length { Ok(hasher) } else { Err(corrupt(format!("{taken} of {length} bytes could be read"))) }
    }

    fn spend(&self, turn: &mut Turn, bytes: u64) {
        turn.spend(bytes);
        self.scrubber.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The first row was read; `bytes` of it are not counted yet.
    fn count(&self, turn: &mut Turn, bytes: u64, marked: bool) {
        self.spend(turn, bytes);
        turn.pass.objects = turn.pass.objects.saturating_add(1);
        turn.pass.damaged = turn.pass.damaged.saturating_add(u64::from(marked));
        self.scrubber.objects.fetch_add(1, Ordering::Relaxed);
        turn.step_over();
    }
}

/// Who finds what a pass finds.
fn by() -> Actor {
    Actor::job("scrub")
}
