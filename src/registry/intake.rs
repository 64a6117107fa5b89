//! A push body on its way to the store: counted, limited, hashed beside the transfer, and checkpointed.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::metadata::MetadataStore;
use crate::metadata::model::{Checkpoint, UploadHold};
use crate::oci::digest::Hasher;
use crate::registry::head::OpenedBody;
use crate::registry::{BodyError, Registry, RegistryError, Result};
use crate::storage::share::Seat;
use crate::storage::{AppendError, AppendSource, DriverState};

/// Most bytes that are hashed in one go on a thread of their own.
pub(super) const HASH_BATCH_BYTES_MAX: usize = 256 << 10;

/// Below this a hash costs less than handing it to another thread.
const HASH_INLINE_BYTES: usize = 32 << 10;

/// How often the room on the disk is looked at while a body runs, in bytes.
const ROOM_CHECK_BYTES: u64 = 64 << 20;

/// What checkpoints of a body mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// PATCH: what was stored counts, even if the body breaks off.
    Kept,
    /// PUT: the body counts as a whole or not at all; a checkpoint only asks whether the session is still ours.
    AllOrNothing,
}

/// A push body as a source for a storage driver.
pub(super) struct Intake<'a> {
    registry: &'a Registry,
    hold: UploadHold,
    progress: Progress,
    stop: CancellationToken,
    /// What was read of the body already.
    head: VecDeque<std::result::Result<Bytes, BodyError>>,
    body: BoxStream<'static, std::result::Result<Bytes, BodyError>>,
    /// The rest of a piece that was longer than the driver wanted.
    rest: Bytes,
    hash: HashPipe,
    offset: u64,
    /// How far the session stands in the database, and the hash state there.
    kept: (u64, Vec<u8>),
    room_checked: u64,
    fault: Option<Fault>,
}

/// Why the body ended before its end.
#[derive(Debug)]
enum Fault {
    Body(BodyError),
    Fenced,
    Refused(RegistryError),
}

impl<'a> Intake<'a> {
    /// A source that continues a session at byte `offset`, where `hasher` stands.
    pub(super) fn new(
        registry: &'a Registry,
        hold: UploadHold,
        progress: Progress,
        stop: CancellationToken,
        body: OpenedBody,
        at: (u64, Hasher),
    ) -> Self {
        let (offset, hasher) = at;
        let kept = (offset, hasher.save());
        Self {
            registry,
            hold,
            progress,
            stop,
            head: body.head,
            body: body.stream,
            rest: Bytes::new(),
            hash: HashPipe::new(hasher, registry.hash_batches.enter()),
            offset,
            kept,
            room_checked: offset,
            fault: None,
        }
    }

    /// Every byte before this one was taken.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of a tail from `stored` on that the session does not keep already.
    pub(super) fn not_kept(&self, stored: u64, tail: &Bytes) -> Bytes {
        let from = self.kept.0.saturating_sub(stored);
        tail.slice(usize::try_from(from).unwrap_or(tail.len()).min(tail.len())..)
    }

    /// The hasher at [`offset`](Self::offset).
    pub(super) async fn hasher(&mut self) -> Result<&Hasher> {
        self.hash.settle().await
    }

    /// Takes pieces until more than `limit` bytes are there or the body has ended.
    pub(super) async fn head(&mut self, limit: u64) -> Vec<Bytes> {
        let mut head = Vec::new();
        let mut len = 0;
        while len <= limit {
            let Some(piece) = self.next(usize::MAX).await else { break };
            len += piece.len() as u64;
            head.push(piece);
        }
        head
    }

    /// The error that ended the body, if one did.
    ///
    /// # Errors
    /// [`RegistryError::BodyBroken`], [`RegistryError::BodyTimeout`], [`RegistryError::UploadRange`] when a newer writer
    /// took the session, [`RegistryError::BlobTooLarge`], [`RegistryError::DiskFull`].
    pub(super) fn outcome(&mut self) -> Result<()> {
        match self.fault.take() {
            None => Ok(()),
            Some(Fault::Body(BodyError::Broken)) => Err(RegistryError::BodyBroken),
            Some(Fault::Body(BodyError::Timeout)) => Err(RegistryError::BodyTimeout),
            Some(Fault::Fenced) => Err(RegistryError::UploadRange { received: self.offset }),
            Some(Fault::Refused(error)) => Err(error),
        }
    }

    /// Whether a newer writer took the session.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self.fault, Some(Fault::Fenced))
    }

    async fn pull(&mut self) -> Option<Bytes> {
        let stop = self.stop.clone();
        loop {
            let piece = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.fault = Some(Fault::Fenced);
                    return None;
                }
                piece = next_piece(&mut self.head, &mut self.body) => piece?,
            };
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Some(piece),
                Err(error) => {
                    self.fault = Some(Fault::Body(error));
                    return None;
                }
            }
        }
    }

    /// Waits for everything that a piece needs, before it is taken.
    async fn prepare(&mut self) -> Result<()> {
        self.hash.make_room().await?;
        if self.offset - self.room_checked >= ROOM_CHECK_BYTES {
            self.registry.check_room().await?;
            self.room_checked = self.offset;
        }
        Ok(())
    }

    /// Records how far the session is: `tail_new` ends at the byte that `kept` names, and a hash state belongs to it.
    async fn keep(
        &mut self,
        kept: (u64, Vec<u8>),
        tail_start: u64,
        state: &DriverState,
        tail_new: Bytes,
    ) -> std::result::Result<(), AppendError> {
        let checkpoint = Checkpoint {
            received: kept.0,
            driver_state: state.clone(),
            hash_state: kept.1.clone(),
            tail_start,
            tail_new,
            expires_at: self.expires_at(),
        };
        let ours = self.metadata().upload_checkpoint(&self.hold, &checkpoint).await;
        self.require_ours(ours)?;
        self.kept = kept;
        Ok(())
    }

    /// Asks whether the session is still ours.
    async fn renew(&mut self) -> std::result::Result<(), AppendError> {
        let ours = self.metadata().upload_renew(&self.hold, self.expires_at()).await;
        self.require_ours(ours)
    }

    fn require_ours(&mut self, ours: crate::metadata::Result<bool>) -> std::result::Result<(), AppendError> {
        match ours {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.fail(Fault::Fenced)),
            Err(error) => {
                self.fault = Some(Fault::Refused(error.into()));
                Err(AppendError::Unsure)
            }
        }
    }

    /// Makes the driver stop; [`outcome`](Self::outcome) says why.
    fn fail(&mut self, fault: Fault) -> AppendError {
        self.fault = Some(fault);
        AppendError::Fenced
    }

    fn expires_at(&self) -> Timestamp {
        self.registry.clock.now().after(self.registry.options.upload_ttl)
    }

    fn metadata(&self) -> &Arc<dyn MetadataStore> {
        &self.registry.metadata
    }
}

#[async_trait]
impl AppendSource for Intake<'_> {
    async fn next(&mut self, limit: usize) -> Option<Bytes> {
        if self.fault.is_some() {
            return None;
        }
        if self.rest.is_empty() {
            self.rest = self.pull().await?;
        }
        // Nothing waits from here on, so that a piece is either taken or not.
        if let Err(error) = self.prepare().await {
            self.fault = Some(Fault::Refused(error));
            return None;
        }
        let piece = self.rest.split_to(limit.min(self.rest.len()));
        self.offset += piece.len() as u64;
        let max = self.registry.options.limits.blob_bytes_max;
        if self.offset > max {
            self.fault = Some(Fault::Refused(RegistryError::BlobTooLarge { max }));
            return None;
        }
        self.hash.push(piece.clone());
        Some(piece)
    }

    fn mark(&mut self, offset: u64) {
        self.hash.mark(offset);
    }

    async fn checkpoint(&mut self, offset: u64, state: &DriverState) -> std::result::Result<(), AppendError> {
        if self.progress == Progress::AllOrNothing {
            return self.renew().await;
        }
        let kept = if offset <= self.kept.0 {
            // The session stands at or behind this byte already; from here on the store has it.
            self.kept.clone()
        } else {
            match self.hash.state_at(offset).await {
                Ok(hash_state) => (offset, hash_state),
                Err(error) => return Err(self.fail(Fault::Refused(error))),
            }
        };
        self.keep(kept, offset, state, Bytes::new()).await
    }

    async fn stage(&mut self, stored: u64, state: &DriverState, tail: Bytes) -> std::result::Result<bool, AppendError> {
        if self.progress == Progress::AllOrNothing {
            return self.renew().await.map(|()| false);
        }
        let hash_state = match self.hash.settle().await {
            Ok(hasher) => hasher.save(),
            Err(error) => return Err(self.fail(Fault::Refused(error))),
        };
        let new = self.not_kept(stored, &tail);
        self.keep((self.offset, hash_state), stored, state, new).await.map(|()| true)
    }

    async fn staged(&mut self) -> std::result::Result<Bytes, AppendError> {
        match self.metadata().upload_tail(&self.hold).await {
            Ok(Some(tail)) => Ok(tail),
            Ok(None) => Err(self.fail(Fault::Fenced)),
            Err(error) => Err(self.fail(Fault::Refused(error.into()))),
        }
    }
}

async fn next_piece(
    head: &mut VecDeque<std::result::Result<Bytes, BodyError>>,
    body: &mut BoxStream<'static, std::result::Result<Bytes, BodyError>>,
) -> Option<std::result::Result<Bytes, BodyError>> {
    match head.pop_front() {
        None => body.next().await,
        piece => piece,
    }
}

/// A hasher that runs beside the transfer: at most one batch is being hashed while the next one fills.
struct HashPipe {
    /// The hasher, while no batch runs.
    hasher: Option<Hasher>,
    seat: Seat,
    running: Option<JoinHandle<Hashed>>,
    batch: Vec<Item>,
    batch_bytes: usize,
    /// States at the marks passed so far.
    marked: VecDeque<(u64, Vec<u8>)>,
}

enum Item {
    Piece(Bytes),
    Mark(u64),
}

struct Hashed {
    hasher: Hasher,
    marked: Vec<(u64, Vec<u8>)>,
}

impl HashPipe {
    fn new(hasher: Hasher, seat: Seat) -> Self {
        Self { hasher: Some(hasher), seat, running: None, batch: Vec::new(), batch_bytes: 0, marked: VecDeque::new() }
    }

    /// Waits until another batch may fill.
    async fn make_room(&mut self) -> Result<()> {
        if self.batch_bytes >= self.seat.batch_bytes() {
            self.join().await?;
            self.start();
        }
        Ok(())
    }

    fn push(&mut self, piece: Bytes) {
        self.batch_bytes += piece.len();
        self.batch.push(Item::Piece(piece));
        if self.batch_bytes >= self.seat.batch_bytes() && self.running.is_none() {
            self.start();
        }
    }

    fn mark(&mut self, offset: u64) {
        self.batch.push(Item::Mark(offset));
    }

    /// Hashes everything pushed so far.
    async fn settle(&mut self) -> Result<&Hasher> {
        self.join().await?;
        if self.batch_bytes > HASH_INLINE_BYTES {
            self.start();
            self.join().await?;
        } else if let Some(hasher) = self.hasher.take() {
            self.batch_bytes = 0;
            let batch = std::mem::take(&mut self.batch);
            self.take_in(hash(hasher, batch));
        }
        self.hasher.as_ref().ok_or_else(|| RegistryError::Internal("the hasher is lost".into()))
    }

    /// The saved state at a marked offset; older marks are forgotten.
    async fn state_at(&mut self, offset: u64) -> Result<Vec<u8>> {
        if !self.marked.iter().any(|(at, _)| *at == offset) {
            self.settle().await?;
        }
        while let Some((at, state)) = self.marked.pop_front() {
            if at == offset {
                return Ok(state);
            }
        }
        Err(RegistryError::Internal("a driver checkpoints where it set no mark".into()))
    }

    fn start(&mut self) {
        if let Some(hasher) = self.hasher.take() {
            let batch = std::mem::take(&mut self.batch);
            self.batch_bytes = 0;
            self.running = Some(tokio::task::spawn_blocking(move || hash(hasher, batch)));
        }
    }

    async fn join(&mut self) -> Result<()> {
        if let Some(running) = self.running.as_mut() {
            let hashed = running.await.map_err(|error| RegistryError::Internal(error.into()))?;
            self.running = None;
            self.take_in(hashed);
        }
        Ok(())
    }

    fn take_in(&mut self, hashed: Hashed) {
        self.marked.extend(hashed.marked);
        self.hasher = Some(hashed.hasher);
    }
}

fn hash(mut hasher: Hasher, batch: Vec<Item>) -> Hashed {
    let mut marked = Vec::new();
    for item in batch {
        match item {
            Item::Piece(piece) => hasher.update(&piece),
            Item::Mark(offset) => marked.push((offset, hasher.save())),
        }
    }
    Hashed { hasher, marked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::{Algorithm, Digest};
    use crate::storage::share::Share;

    #[tokio::test]
    async fn a_state_is_the_one_at_its_mark_however_the_batches_fall() {
        let data: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
        for piece in [1_000, 70_000, 300_000] {
            let mut pipe = HashPipe::new(Hasher::new(Algorithm::Sha256), Share::up_to(HASH_BATCH_BYTES_MAX).enter());
            let mut offset = 0;
            for chunk in data.chunks(piece) {
                pipe.make_room().await.expect("hashing");
                pipe.push(Bytes::copy_from_slice(chunk));
                offset += chunk.len();
                pipe.mark(offset as u64);
            }
            let middle = 2 * piece;
            let mut half = Hasher::restore(&pipe.state_at(middle as u64).await.expect("marked")).expect("own format");
            half.update(&data[middle..]);
            let whole = Digest::of(Algorithm::Sha256, &data);
            assert_eq!(half.finish(), whole);
            assert_eq!(pipe.settle().await.expect("hashing").clone().finish(), whole);
        }
    }
}
