//! One append: a body becomes parts, some of them on their way while the next one fills.
//!
//! - A part is cut when `size` bytes and a look-ahead are there; so whatever is left at the end of a body is either large
//!   enough to be a part, or small enough for the registry to keep.
//! - At most `parts_parallel_max` parts are on their way or stored but not recorded; then nothing more is read.
//! - Parts are recorded in order, each with the state that names it; what was sent beyond them counts for nothing when
//!   this writer ends, and its numbers are not used again (see `state`).
//! - A body that makes no part becomes an object at once where nobody else can have written under the key: as a rule the
//!   blob ends with it, and then its bytes need not be kept anywhere else.
//! - The multipart upload is begun with the first part. If this writer ends before anybody recorded its id, it aborts it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::storage::s3::buffer::Buffer;
use crate::storage::s3::calls::Inner;
use crate::storage::s3::client::RETRY_PAUSE;
use crate::storage::s3::error::{Failed, lost};
use crate::storage::s3::plan::{NUMBER_MAX, PART_BYTES_MIN, Plan, equal_size};
use crate::storage::s3::remove::{abort_uploads, uploads};
use crate::storage::s3::state::{Part, State};
use crate::storage::{AppendError, AppendHint, AppendSource, Appended, Key, StorageError};

/// First step of a buffer in bytes: enough for most configurations and small layers.
const FIRST_STEP_BYTES: usize = 512 << 10;

/// A part that needs more than this gets its whole memory at once, as many such parts could never wait step by step.
const STEPWISE_BYTES_MAX: usize = 16 << 20;

/// What an upload without a buffer takes from its body to see that it goes on, in bytes.
const PEEK_BYTES: usize = 64 << 10;

/// Longest time to tidy up after a failure.
const TIDY_MAX: Duration = Duration::from_secs(10);

/// An append under way.
pub(super) struct Append<'a> {
    inner: &'a Arc<Inner>,
    key: &'a Key,
    source: &'a mut dyn AppendSource,
    plan: Plan,
    state: State,
    /// Who else has written under the key.
    others: Others,
    /// The multipart upload was begun here and nobody has recorded it.
    unrecorded: bool,
    /// The body has ended; what is left is recorded by whoever called.
    ended: bool,
    buffer: Buffer,
    /// Bytes that the buffer held when it was given back; the registry keeps them.
    given_back: usize,
    /// Offset of the end of the buffer.
    offset: u64,
    /// Offset of the end of the last piece taken from the source.
    taken: u64,
    /// Offset of the source's first byte; earlier ones cannot be marked.
    source_start: u64,
    /// Offsets that were marked and lie in the buffer or at its end.
    marks: Vec<u64>,
    /// How many bytes will come, when that is known.
    remaining: Option<u64>,
    /// The last recorded offset.
    recorded: Option<u64>,
    recorded_at: Instant,
    /// Number of the next part.
    number: u16,
    /// Parts that are cut and not recorded, in order.
    cut: VecDeque<Cut>,
    sending: FuturesUnordered<BoxFuture<'static, Result<Part, Failed>>>,
}

/// Other writers under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// There was none, nor will one come before this one has ended.
    None,
    /// What they did is recorded; one may come while this one is still at it.
    Known,
    /// One may have begun a multipart upload that nobody recorded.
    Unknown,
}

/// A part that is not recorded yet.
struct Cut {
    number: u16,
    end: u64,
    marked: bool,
    stored: Option<Part>,
}

type Step<T> = Result<T, AppendError>;

impl<'a> Append<'a> {
    /// An append after what `state` describes, to which `tail` and the source are added.
    pub(super) fn new(
        inner: &'a Arc<Inner>,
        key: &'a Key,
        mut state: State,
        tail: usize,
        hint: AppendHint,
        source: &'a mut dyn AppendSource,
    ) -> Self {
        let others = match state.take(hint.writer) {
            true => Others::Unknown,
            false if hint.sole => Others::None,
            false => Others::Known,
        };
        let source_start = state.stored + tail as u64;
        let plan = plan(inner, &state, source_start, hint);
        let (offset, number) = (state.stored, state.next_number());
        Self {
            inner,
            key,
            source,
            plan,
            state,
            others,
            unrecorded: false,
            ended: false,
            buffer: Buffer::default(),
            given_back: 0,
            offset,
            taken: source_start,
            source_start,
            marks: Vec::new(),
            remaining: hint.remaining.map(|remaining| remaining + tail as u64),
            recorded: None,
            recorded_at: Instant::now(),
            number,
            cut: VecDeque::new(),
            sending: FuturesUnordered::new(),
        }
    }

    /// Takes the tail and the whole source. `closing`: the blob ends with it.
    pub(super) async fn run(mut self, tail: Bytes, closing: bool) -> Step<Appended> {
        let result = self.try_run(tail, closing).await;
        if result.is_err() {
            self.sending.clear();
            self.tidy().await;
        }
        result
    }

    async fn try_run(&mut self, tail: Bytes, closing: bool) -> Step<Appended> {
        if closing && self.remaining == Some(tail.len() as u64) && self.others != Others::Unknown {
            // Nothing will come, so the tail needs no second place in memory; most sessions are closed so.
            let Some(piece) = self.piece(PEEK_BYTES).await? else {
                self.source.mark(self.taken);
                return Ok(self.appended(tail));
            };
            self.take_in(tail).await?;
            self.taken += piece.len() as u64;
            self.take_in(piece).await?;
        } else {
            self.take_in(tail).await?;
        }
        loop {
            let room = if self.remaining == Some(0) { 0 } else { self.room().await? };
            // Without room only the end of the body is waited for, or a sign of life.
            let Some(piece) = self.piece(if room == 0 { PEEK_BYTES } else { room }).await? else { break };
            self.taken += piece.len() as u64;
            self.take_in(piece).await?;
        }
        self.finish(closing).await
    }

    /// Brings bytes into the buffer, and parts on their way.
    async fn take_in(&mut self, mut piece: Bytes) -> Step<()> {
        while !piece.is_empty() {
            match self.room().await? {
                0 => self.take_back().await?,
                room => self.push(&piece.split_to(room.min(piece.len()))),
            }
        }
        Ok(())
    }

    /// Bytes that the buffer takes; waits for memory, and for parts on their way, until there are some. 0: the buffer has
    /// been given back, and it is time to wait for the client again.
    async fn room(&mut self) -> Step<usize> {
        while self.given_back == 0 {
            let size = clamped(self.plan.size(self.number));
            self.buffer.plan(size);
            if self.buffer.room() > 0 {
                return Ok(self.buffer.room());
            }
            if self.buffer.len() >= size + clamped(self.plan.look_ahead(self.number)) {
                self.cut(false).await?;
            } else {
                self.grow().await?;
            }
        }
        Ok(0)
    }

    /// Pays for the next step of the buffer, or cuts a part early because there is no memory.
    async fn grow(&mut self) -> Step<()> {
        let (granted, least) = (self.buffer.granted(), clamped(self.plan.least(self.number)));
        let full = clamped(self.plan.size(self.number) + self.plan.look_ahead(self.number));
        let known = self.remaining.map_or(full, |remaining| self.buffer.len() + clamped(remaining).max(1));
        let goal = full.min(known).max(granted + 1);
        let step = if least > STEPWISE_BYTES_MAX {
            goal
        } else {
            let steps = [FIRST_STEP_BYTES, clamped(PART_BYTES_MIN), goal];
            steps.into_iter().find(|step| *step > granted).unwrap_or(goal).min(goal)
        };
        let missing = step - granted;
        if let Some(lease) = self.inner.budget.try_take(missing) {
            self.buffer.grant(lease);
            return Ok(());
        }
        if self.buffer.len() >= least {
            return self.cut(true).await;
        }
        let inner = Arc::clone(self.inner);
        let wait = async move {
            if granted == 0 { inner.budget.take(missing).await } else { inner.budget.take_more(missing).await }
        };
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                lease = &mut wait => {
                    self.buffer.grant(lease);
                    return Ok(());
                }
                Some(sent) = self.sending.next() => self.landed(sent).await?,
                () = tokio::time::sleep_until(self.recorded_at + self.inner.options.stage_after) => {
                    self.record().await?;
                    if self.given_back > 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next piece of the body; sees to the parts on their way while it waits.
    async fn piece(&mut self, room: usize) -> Step<Option<Bytes>> {
        loop {
            tokio::select! {
                biased;
                Some(sent) = self.sending.next() => self.landed(sent).await?,
                piece = self.source.next(room) => return Ok(piece),
                () = tokio::time::sleep_until(self.recorded_at + self.inner.options.stage_after) => self.record().await?,
            }
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.buffer.push(piece);
        self.offset += piece.len() as u64;
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(piece.len() as u64));
        if self.buffer.is_at_boundary() {
            self.mark();
        }
    }

    /// Announces a checkpoint at the end of the buffer, if a piece of the source ends there: only there is the hash known.
    fn mark(&mut self) {
        if self.offset == self.taken {
            self.source.mark(self.offset);
            self.marks.push(self.offset);
        }
    }

    /// Sends a part on its way: the planned one, or all there is.
    async fn cut(&mut self, all: bool) -> Step<()> {
        while self.cut.len() >= usize::from(self.inner.options.parts_parallel_max) {
            match self.sending.next().await {
                Some(sent) => self.landed(sent).await?,
                // Every part that is not recorded is on its way.
                None => break,
            }
        }
        if self.number > NUMBER_MAX {
            return Err(StorageError::Other(format!("{} needs more than {NUMBER_MAX} parts", self.key).into()).into());
        }
        let upload = self.begin().await?;
        if all {
            self.mark();
        }
        let bytes = if all { self.buffer.take_all() } else { self.buffer.take_front() };
        let (end, number) = (self.offset - self.buffer.len() as u64, self.number);
        let marked = self.marks.contains(&end);
        self.marks.retain(|mark| *mark > end);
        self.cut.push_back(Cut { number, end, marked, stored: None });
        self.number += 1;
        let (inner, key) = (Arc::clone(self.inner), self.key.clone());
        self.sending.push(Box::pin(async move { send_part(&inner, &key, &upload, number, bytes).await }));
        Ok(())
    }

    /// The id of the multipart upload; begins one if there is none.
    async fn begin(&mut self) -> Step<String> {
        if let Some(upload) = &self.state.upload {
            return Ok(upload.clone());
        }
        if self.others == Others::Unknown {
            self.forget_others().await?;
        }
        let upload = create_upload(self.inner, self.key).await.map_err(|error| error.about(self.key))?;
        self.state.equal = self.plan.equal_size();
        self.state.upload = Some(upload.clone());
        self.unrecorded = true;
        Ok(upload)
    }

    /// A writer before us may have begun a multipart upload and vanished before it could record the id.
    async fn forget_others(&mut self) -> Step<()> {
        abort_uploads(self.inner, self.key).await.map_err(|error| error.about(self.key))?;
        self.others = Others::Known;
        Ok(())
    }

    /// Takes note of a part that is stored, and records what is stored without a gap.
    async fn landed(&mut self, sent: Result<Part, Failed>) -> Step<()> {
        let part = sent.map_err(|error| error.about(self.key))?;
        if let Some(cut) = self.cut.iter_mut().find(|cut| cut.number == part.number) {
            cut.stored = Some(part);
        }
        let mut reached = None;
        while let Some(cut) = self.cut.front_mut() {
            let Some(part) = cut.stored.take() else { break };
            self.state.push(part, cut.end);
            reached = cut.marked.then_some(cut.end);
            self.cut.pop_front();
        }
        match reached {
            // At the end the caller records everything at once; but an upload must not get lost on the way there.
            Some(end) if !self.ended || self.unrecorded => self.checkpoint(end).await,
            _ => Ok(()),
        }
    }

    async fn checkpoint(&mut self, end: u64) -> Step<()> {
        let recorded = self.source.checkpoint(end, &self.state.encode(true)).await;
        // What may be recorded must not be aborted: the session goes on from there.
        self.unrecorded &= matches!(recorded, Err(AppendError::Fenced | AppendError::Storage(_)));
        recorded?;
        self.recorded = Some(end);
        self.recorded_at = Instant::now();
        Ok(())
    }

    /// Nothing was recorded for a while: cuts a part if there is one, else has the registry keep the buffer; and learns
    /// in any case whether another writer has the session.
    async fn record(&mut self) -> Step<()> {
        self.recorded_at = Instant::now();
        let len = self.buffer.len();
        if self.given_back > 0 {
            return self.source.stage(self.state.stored, &self.state.encode(true), Bytes::new()).await.map(drop);
        }
        if !self.cut.is_empty() {
            // The parts on their way are not stored yet, so the bytes behind them cannot be kept.
            return match self.recorded {
                Some(end) if end == self.state.stored => self.checkpoint(end).await,
                _ => Ok(()),
            };
        }
        if self.offset <= self.source_start || self.offset != self.taken {
            // Nothing new, or a piece is only partly in the buffer.
            return Ok(());
        }
        if self.plan.equal_size().is_none() && len >= clamped(PART_BYTES_MIN) {
            return self.cut(true).await;
        }
        if len <= STEPWISE_BYTES_MAX {
            // From here on the next writer goes on under this key, whatever becomes of this one.
            if self.others == Others::None {
                self.others = Others::Known;
            }
            let lent = self.buffer.lend();
            let staged = self.source.stage(self.state.stored, &self.state.encode(true), lent.clone()).await;
            self.unrecorded &= !matches!(staged, Err(AppendError::Unsure));
            let staged = staged?;
            self.buffer.restore(lent);
            self.unrecorded &= !staged;
            if staged && self.inner.budget.is_short() {
                self.given_back = len;
                drop(self.buffer.take_all());
            }
        }
        Ok(())
    }

    /// Gets memory again, and from the registry what was in the buffer.
    async fn take_back(&mut self) -> Step<()> {
        let lease = self.inner.budget.take(self.given_back + FIRST_STEP_BYTES).await;
        let kept = self.source.staged().await?;
        if kept.len() != self.given_back {
            let (kept, wanted) = (kept.len(), self.given_back);
            return Err(lost(self.key, &format!("{kept} bytes are kept for it instead of {wanted}")).into());
        }
        self.buffer.grant(lease);
        self.buffer.push(&kept);
        self.given_back = 0;
        self.recorded_at = Instant::now();
        Ok(())
    }

    /// The body has ended: stores what makes a part, waits for all parts, and gives the rest back.
    async fn finish(&mut self, closing: bool) -> Step<Appended> {
        if self.given_back > 0 {
            self.take_back().await?;
        }
        let ends_body = self.plan.least_at_end(self.number);
        if !closing && ends_body.is_some_and(|least| self.buffer.len() as u64 >= least) {
            self.cut(true).await?;
        }
        if self.others == Others::Unknown && self.state.upload.is_none() {
            self.forget_others().await?;
        }
        self.ended = true;
        while let Some(sent) = self.sending.next().await {
            self.landed(sent).await?;
        }
        self.source.mark(self.offset);
        let tail = self.buffer.take_all();
        if self.others == Others::None && !closing && self.state.upload.is_none() && !tail.is_empty() {
            return self.put_whole(tail).await;
        }
        Ok(self.appended(tail))
    }

    /// Makes an object of all there is.
    async fn put_whole(&mut self, bytes: Bytes) -> Step<Appended> {
        let size = bytes.len() as u64;
        self.inner.put_object(self.key, bytes).await.map_err(|error| error.about(self.key))?;
        (self.state.stored, self.state.whole) = (size, true);
        Ok(self.appended(Bytes::new()))
    }

    fn appended(&self, tail: Bytes) -> Appended {
        Appended { state: self.state.encode(false), stored: self.state.stored, tail }
    }

    /// Removes a multipart upload that nobody would find but by listing.
    async fn tidy(&mut self) {
        let Some(upload) = self.state.upload.take().filter(|_| self.unrecorded) else { return };
        let abort = tokio::time::timeout(TIDY_MAX, self.inner.abort_upload(self.key, &upload)).await;
        if !matches!(abort, Ok(Ok(_))) {
            tracing::warn!(blob.key = %self.key, "an unfinished multipart upload could not be aborted");
        }
    }
}

/// Begins a multipart upload and gives its id.
///
/// Here and not in the SDK a failed call is tried again: one whose answer was lost has begun an upload that nobody knows.
async fn create_upload(inner: &Inner, key: &Key) -> Result<String, Failed> {
    let mut pause = RETRY_PAUSE;
    for _ in 1..inner.options.attempts_max {
        match inner.create_upload(key).await {
            Err(error) if error.passes() => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                if error.may_be_done() {
                    abort_uploads(inner, key).await?;
                }
            }
            other => return other,
        }
    }
    inner.create_upload(key).await
}

/// Stores a part.
///
/// A store that does not know the upload says so before it has read the part, and some close the connection at once, so
/// that the answer gets lost. Then only a listing tells a lost upload from a store that is away.
pub(super) async fn send_part(
    inner: &Inner,
    key: &Key,
    upload: &str,
    number: u16,
    bytes: Bytes,
) -> Result<Part, Failed> {
    let error = match inner.upload_part(key, upload, number, bytes).await {
        Err(error) if error.may_be_done() => error,
        other => return other,
    };
    match uploads(inner, key).await {
        Ok(known) if known.iter().all(|id| id != upload) => Err(error.because("NoSuchUpload")),
        _ => Err(error),
    }
}

/// The sizes of the parts of an upload that has `start` bytes already.
fn plan(inner: &Inner, state: &State, start: u64, hint: AppendHint) -> Plan {
    let largest = (inner.budget.largest() as u64).saturating_sub(PART_BYTES_MIN);
    match (state.upload.is_some(), state.equal) {
        (true, Some(size)) => Plan::equal(size),
        (false, _) if inner.options.equal_parts => {
            let known = start + hint.remaining.unwrap_or(0);
            let exact = hint.closing && hint.remaining.is_some();
            Plan::equal(equal_size(inner.options.part_bytes, known, exact).min(largest))
        }
        // Also an upload begun before the store was said to want equal parts.
        _ => Plan::growing(inner.options.part_bytes, largest),
    }
}

fn clamped(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
