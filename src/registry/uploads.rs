//! Upload sessions: begun, continued, closed, cancelled.
//!
//! The newest writer wins: whoever takes a session at the right offset raises its epoch, and every later write of an older
//! writer fails on it. Received bytes, driver state and hash state always describe the same byte.

mod renew;

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::metadata::model::{
    BlobLocation, Checkpoint, NewBlob, NewUpload, UploadEnd, UploadHold, UploadId, UploadPut, UploadRecord,
    UploadState, UploadTake, UploadTaken,
};
use crate::oci::digest::{Algorithm, Digest, Hasher};
use crate::oci::name::RepoName;
use crate::registry::error::RETRY_AFTER;
use crate::registry::head::{Extent, OpenedBody, concat};
use crate::registry::intake::{Intake, Progress};
use crate::registry::names::{Holder, SessionNames};
use crate::registry::writers::Turn;
use crate::registry::{ChunkRange, PushBody, Registry, RegistryError, Result, UploadStatus};
use crate::storage::{AppendError, AppendHint, Appended, Key, StorageError};

/// How long a closed session is remembered, so that a PUT whose answer was lost gets it when it is repeated; and for how
/// long at most a session can begin under a name, so that one that ended never begins again.
const CLOSED_KEPT: Duration = Duration::from_hours(1);

/// A session that this request holds.
struct Session {
    record: UploadRecord,
    hold: UploadHold,
    turn: Turn,
    hasher: Hasher,
    /// Whether it was written down by this request, with the first bytes if there were any.
    begun: bool,
    /// Whether the key of its object was chosen by this request.
    new_key: bool,
}

/// How a request wants to hold a session.
struct Wish {
    range: Option<ChunkRange>,
    /// Where the bytes will go, when they are too many to stay in a row.
    key: Option<Key>,
    /// Bytes to begin with, should nothing be written down yet.
    first: Bytes,
}

impl Session {
    /// The fencing number, as the storage driver wants it.
    fn writer(&self) -> u64 {
        u64::try_from(self.hold.epoch).unwrap_or(0)
    }

    /// Does some work until a newer writer of this process wants the session. That one must not wait for a store that is
    /// slow to answer a client who may have gone long ago: while a body is not read to its end, nobody notices that.
    async fn unless_fenced<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.turn.stop().cancelled() => Err(RegistryError::UploadRange { received: self.record.received }),
        }
    }
}

/// What a body became.
struct Stored {
    /// The object, unless all bytes are in `appended.tail`.
    key: Option<Key>,
    appended: Appended,
}

impl Registry {
    /// Begins a session (distribution-spec, end-4a and end-4c). Nothing of it is written down before its first bytes.
    ///
    /// # Errors
    /// [`RegistryError::DiskFull`], [`RegistryError::TooManySessions`].
    pub async fn start_upload(&self, holder: impl Into<Holder<'_>>, algorithm: Algorithm) -> Result<UploadStatus> {
        self.check_room().await?;
        let max = self.options.limits.sessions_max;
        if !self.collector.count_session(max) {
            return Err(RegistryError::TooManySessions { max });
        }
        let holder = holder.into();
        let id = self.session_names().await?.give(holder, algorithm, self.clock.now(), self.entropy.as_ref());
        Ok(UploadStatus { id, received: 0 })
    }

    /// Stores a whole blob in one request (end-4b).
    ///
    /// # Errors
    /// [`RegistryError::DigestMismatch`], [`RegistryError::BodyBroken`], [`RegistryError::BlobTooLarge`],
    /// [`RegistryError::DiskFull`].
    pub async fn push_blob(&self, repo: &RepoName, digest: &Digest, body: PushBody) -> Result<()> {
        self.check_room().await?;
        let declared = body.length;
        let body = OpenedBody::open(body, self.options.limits.inline_bytes_max).await;
        if let Extent::Whole(bytes) = &body.extent {
            let actual = Digest::of(digest.algorithm(), bytes);
            if actual != *digest {
                return Err(RegistryError::DigestMismatch { declared: digest.clone(), actual });
            }
            return Ok(self.metadata.blob_put(repo, &self.inline_blob(digest, bytes)).await?);
        }
        let status = self.start_upload(repo, digest.algorithm()).await?;
        let result = self.finish(repo.into(), &status.id, None, digest, (declared, body)).await;
        if result.is_err() {
            // The client never learned this session's name, so nobody can continue it.
            self.cancel_upload(repo, &status.id).await.ok();
        }
        // Nor does it mean anything to the client that the session is gone: all it can do is to send the blob again.
        result.map_err(|error| match error {
            RegistryError::UploadUnknown | RegistryError::UploadRange { .. } => {
                RegistryError::Busy { retry_after: RETRY_AFTER }
            }
            other => other,
        })
    }

    /// Appends a chunk (end-5), or whatever the body holds when no range is given.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`]; [`RegistryError::UploadRange`] when the session stands elsewhere, which leaves it
    /// as it was; [`RegistryError::SizeMismatch`]; [`RegistryError::BodyBroken`] after keeping what came.
    pub async fn append_upload(
        &self,
        holder: impl Into<Holder<'_>>,
        id: &UploadId,
        range: Option<ChunkRange>,
        body: PushBody,
    ) -> Result<UploadStatus> {
        let holder = holder.into();
        match self.append(holder, id, range, body).await {
            Err(RegistryError::UploadRange { .. }) => Err(self.fenced(holder, id).await),
            other => other,
        }
    }

    async fn append(
        &self,
        holder: Holder<'_>,
        id: &UploadId,
        range: Option<ChunkRange>,
        body: PushBody,
    ) -> Result<UploadStatus> {
        self.check_room().await?;
        let declared = declared_length(range, body.length)?;
        let body = OpenedBody::open(body, self.options.limits.inline_bytes_max).await;
        let first = match &body.extent {
            Extent::Whole(bytes) if declared.is_none_or(|declared| declared == bytes.len() as u64) => bytes.clone(),
            _ => Bytes::new(),
        };
        let key = (body.extent == Extent::Long).then(|| self.new_key(None));
        let mut session = self.take_session(holder, id, Wish { range, key, first }).await?;
        let start = session.record.received;
        if session.begun && start > 0 {
            return Ok(UploadStatus { id: id.clone(), received: start });
        }
        if session.record.state != UploadState::Open {
            // A PUT has begun to close it; only a PUT can go on.
            return Err(RegistryError::UploadRange { received: start });
        }
        self.renew_object(&mut session, None, body.is_empty()).await?;
        let sole = session.new_key && range.is_none() && start <= self.options.limits.inline_bytes_max;
        let hint = AppendHint { remaining: declared, closing: false, writer: session.writer(), sole };
        let mut intake = self.intake(&session, Progress::Kept, body);
        let stored = session.unless_fenced(self.store_body(&session, hint, None, &mut intake)).await;
        if intake.is_fenced() {
            return Err(RegistryError::UploadRange { received: start });
        }
        let stored = stored?;
        let taken = intake.offset() - start;
        if let Some(declared) = declared
            && taken > declared
        {
            return Err(RegistryError::SizeMismatch { declared, actual: taken });
        }
        let outcome = intake.outcome();
        if !self.record_progress(&session, stored, &mut intake).await? {
            return Err(self.fenced(holder, id).await);
        }
        outcome?;
        match declared {
            Some(declared) if taken != declared => Err(RegistryError::SizeMismatch { declared, actual: taken }),
            _ => Ok(UploadStatus { id: id.clone(), received: intake.offset() }),
        }
    }

    /// Closes a session with its last bytes (end-6).
    ///
    /// # Errors
    /// As [`append_upload`](Self::append_upload), but a body that breaks off counts for nothing; and
    /// [`RegistryError::DigestMismatch`], which ends the session.
    pub async fn finish_upload(
        &self,
        holder: impl Into<Holder<'_>>,
        id: &UploadId,
        range: Option<ChunkRange>,
        digest: &Digest,
        body: PushBody,
    ) -> Result<()> {
        let (holder, declared) = (holder.into(), declared_length(range, body.length)?);
        let body = OpenedBody::open(body, self.options.limits.inline_bytes_max).await;
        match self.finish(holder, id, range, digest, (declared, body)).await {
            Err(RegistryError::UploadRange { .. }) => Err(self.fenced(holder, id).await),
            other => other,
        }
    }

    async fn finish(
        &self,
        holder: Holder<'_>,
        id: &UploadId,
        range: Option<ChunkRange>,
        digest: &Digest,
        (declared, body): (Option<u64>, OpenedBody),
    ) -> Result<()> {
        if let Extent::Whole(bytes) = &body.extent
            && range.is_none_or(|range| range.start == 0)
            && declared.is_none_or(|declared| declared == bytes.len() as u64)
            && self.put_whole(holder, id, digest, bytes).await?
        {
            return Ok(());
        }
        let key = (body.extent == Extent::Long).then(|| self.new_key(Some(digest)));
        let mut session = match self.take_session(holder, id, Wish { range, key, first: Bytes::new() }).await {
            Err(RegistryError::UploadUnknown) if self.is_committed(holder.repo, id, digest).await? => return Ok(()),
            other => other?,
        };
        if let UploadState::Completing(begun) = &session.record.state
            && self.finish_completing(&session, begun, digest).await?
        {
            return Ok(());
        }
        if declared != Some(0) {
            self.check_room().await?;
        }
        self.renew_object(&mut session, Some(digest), body.is_empty()).await?;
        let start = session.record.received;
        let hint = AppendHint { remaining: declared, closing: true, writer: session.writer(), sole: false };
        let mut intake = self.intake(&session, Progress::AllOrNothing, body);
        let stored = session.unless_fenced(self.store_body(&session, hint, Some(digest), &mut intake)).await;
        if intake.is_fenced() {
            return Err(RegistryError::UploadRange { received: start });
        }
        let stored = stored?;
        intake.outcome()?;
        let taken = intake.offset() - start;
        if let Some(declared) = declared
            && taken != declared
        {
            return Err(RegistryError::SizeMismatch { declared, actual: taken });
        }
        self.commit(&session, stored, digest, &mut intake).await
    }

    /// Closes a session that holds nothing yet with all its bytes. `false`: it is not so, or they are the wrong ones.
    async fn put_whole(&self, holder: Holder<'_>, id: &UploadId, digest: &Digest, bytes: &Bytes) -> Result<bool> {
        if Digest::of(digest.algorithm(), bytes) != *digest {
            return Ok(false);
        }
        if !bytes.is_empty() {
            self.check_room().await?;
        }
        let blob = self.inline_blob(digest, bytes);
        let keep_until = blob.now.after(CLOSED_KEPT);
        let principal = holder.principal.map(str::to_owned);
        let put = UploadPut { principal, begin: self.unwritten(holder, id, blob.now).await?, blob, keep_until };
        Ok(self.metadata.upload_put(holder.repo, id, &put).await?)
    }

    /// How far a session is (end-13).
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`].
    pub async fn upload_status(&self, holder: impl Into<Holder<'_>>, id: &UploadId) -> Result<UploadStatus> {
        let (holder, now) = (holder.into(), self.clock.now());
        match self.metadata.upload_find(holder.repo, id, now).await? {
            Some(UploadRecord {
                state: UploadState::Open | UploadState::Completing(_), received, principal, ..
            }) if principal.as_deref() == holder.principal => Ok(UploadStatus { id: id.clone(), received }),
            None if self.unwritten(holder, id, now).await?.is_some() => {
                Ok(UploadStatus { id: id.clone(), received: 0 })
            }
            _ => Err(RegistryError::UploadUnknown),
        }
    }

    /// Ends a session and gives its bytes back (end-14).
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`].
    pub async fn cancel_upload(&self, holder: impl Into<Holder<'_>>, id: &UploadId) -> Result<()> {
        let (holder, now) = (holder.into(), self.clock.now());
        let begin = self.unwritten(holder, id, now).await?;
        if begin.is_none() {
            // Its name is too old to say whose it is, or it is somebody else's.
            let found = self.metadata.upload_find(holder.repo, id, now).await?;
            found.filter(|found| found.principal.as_deref() == holder.principal).ok_or(RegistryError::UploadUnknown)?;
        }
        if !self.metadata.upload_cancel(holder.repo, id, begin.as_ref(), self.upload_end(now)).await? {
            return Err(RegistryError::UploadUnknown);
        }
        self.writers.evict(id).await;
        self.collector.wake();
        Ok(())
    }

    /// What a session is of which nothing is written down yet; `None`: none can begin under this name.
    ///
    /// Whether something is written down is for the database to say.
    async fn unwritten(&self, holder: Holder<'_>, id: &UploadId, now: Timestamp) -> Result<Option<NewUpload>> {
        let lifetime = self.options.upload_ttl.min(CLOSED_KEPT);
        let judged = self.session_names().await?.judge(id, holder, now, lifetime);
        Ok(judged.map(|algorithm| NewUpload {
            principal: holder.principal.map(str::to_owned),
            tail: Bytes::new(),
            hash_state: Hasher::new(algorithm).save(),
        }))
    }

    async fn session_names(&self) -> Result<&SessionNames> {
        if let Some(names) = self.session_names.get() {
            return Ok(names);
        }
        // Nobody waits for a request that asks and is not answered: each asks for itself until one has been.
        let key = self.metadata.session_key().await?;
        Ok(self.session_names.get_or_init(|| SessionNames::new(&key)))
    }

    fn inline_blob(&self, digest: &Digest, bytes: &Bytes) -> NewBlob {
        self.new_blob(digest, bytes.len() as u64, BlobLocation::Inline(bytes.clone()))
    }

    fn new_blob(&self, digest: &Digest, size: u64, location: BlobLocation) -> NewBlob {
        let now = self.clock.now();
        let lease_until = now.after(self.options.blob_lease);
        let replaced_until = now.after(self.options.redirect_ttl);
        NewBlob { digest: digest.clone(), size, location, now, lease_until, replaced_until }
    }

    fn upload_end(&self, now: Timestamp) -> UploadEnd {
        UploadEnd { now, dead_until: self.dead_until(now), keep_until: now.after(CLOSED_KEPT) }
    }

    /// When the object of a session that ends now may go.
    pub(super) fn dead_until(&self, now: Timestamp) -> Timestamp {
        now.after(self.options.dead_session_grace)
    }

    /// Takes a session from whoever has it, or begins it, and waits until a local writer has let go.
    async fn take_session(&self, holder: Holder<'_>, id: &UploadId, wish: Wish) -> Result<Session> {
        let now = self.clock.now();
        let begin = self.unwritten(holder, id, now).await?.map(|begin| begin_with(begin, wish.first));
        let take = UploadTake {
            principal: holder.principal.map(str::to_owned),
            offset: wish.range.map(|range| range.start),
            owner: self.options.node.clone(),
            expires_at: now.after(self.options.upload_ttl),
            key: wish.key,
            begin,
        };
        let (record, begun) = match self.metadata.upload_take(holder.repo, id, &take, now).await? {
            UploadTaken::Taken(record) => (*record, false),
            UploadTaken::Begun(record) => (*record, true),
            UploadTaken::WrongOffset { received } => return Err(RegistryError::UploadRange { received }),
            // A repeated PUT is told apart by its caller; for everybody else the session is closed.
            UploadTaken::Committed(_) | UploadTaken::Unknown => return Err(RegistryError::UploadUnknown),
        };
        let hold = UploadHold { id: id.clone(), epoch: record.epoch };
        let Some(turn) = self.writers.enter(&hold).await else {
            return Err(RegistryError::UploadRange { received: record.received });
        };
        let hasher = Hasher::restore(&record.hash_state).ok_or(RegistryError::UploadUnknown)?;
        let new_key = take.key.is_some() && record.object_key == take.key;
        Ok(Session { record, hold, turn, hasher, begun, new_key })
    }

    fn intake(&self, session: &Session, progress: Progress, body: OpenedBody) -> Intake<'_> {
        let at = (session.record.received, session.hasher.clone());
        Intake::new(self, session.hold.clone(), progress, session.turn.stop().clone(), body, at)
    }

    /// Brings a body to the store. The first few KiB of a session go nowhere yet: a small blob stays in its row.
    async fn store_body(
        &self,
        session: &Session,
        hint: AppendHint,
        declared: Option<&Digest>,
        intake: &mut Intake<'_>,
    ) -> Result<Stored> {
        let record = &session.record;
        let stored = record.received - record.tail.len() as u64;
        let (key, state, stored, tail) = match &record.object_key {
            Some(key) if session.new_key => (key.clone(), self.storage.begin(key).await?, 0, record.tail.clone()),
            Some(key) if self.storage.is_whole(&record.driver_state) => {
                let appended = Appended { state: record.driver_state.clone(), stored, tail: Bytes::new() };
                return Ok(Stored { key: Some(key.clone()), appended });
            }
            Some(key) => (key.clone(), record.driver_state.clone(), stored, record.tail.clone()),
            None => {
                let room = self.options.limits.inline_bytes_max.saturating_sub(record.tail.len() as u64);
                let head = intake.head(room).await;
                let tail = concat(&record.tail, &head);
                if tail.len() as u64 <= self.options.limits.inline_bytes_max {
                    let appended = Appended { tail, ..Appended::default() };
                    return Ok(Stored { key: None, appended });
                }
                let key = self.new_key(declared);
                if !self.metadata.upload_intend(&session.hold, &key).await? {
                    return Err(RegistryError::UploadRange { received: record.received });
                }
                (key.clone(), self.storage.begin(&key).await?, 0, tail)
            }
        };
        // The head of the body is in the tail now.
        let taken = intake.offset() - record.received;
        let hint = AppendHint { remaining: hint.remaining.map(|all| all.saturating_sub(taken)), ..hint };
        match self.storage.append(&key, state, stored, tail, hint, intake).await {
            Ok(appended) => Ok(Stored { key: Some(key), appended }),
            Err(AppendError::Storage(error)) => Err(error.into()),
            // The source said stop, and it knows why; that another writer has the session is for the caller to see.
            Err(AppendError::Fenced | AppendError::Unsure) => {
                let fenced = RegistryError::UploadRange { received: record.received };
                Err(if intake.is_fenced() { fenced } else { intake.outcome().err().unwrap_or(fenced) })
            }
        }
    }

    /// Records how far the session is. `false`: it is not ours any more.
    async fn record_progress(&self, session: &Session, stored: Stored, intake: &mut Intake<'_>) -> Result<bool> {
        let Appended { state, stored, tail } = stored.appended;
        let received = stored + tail.len() as u64;
        let checkpoint = Checkpoint {
            received,
            driver_state: state,
            hash_state: intake.hasher().await?.save(),
            tail_start: stored,
            tail_new: intake.not_kept(stored, &tail),
            expires_at: self.clock.now().after(self.options.upload_ttl),
        };
        Ok(self.metadata.upload_checkpoint(&session.hold, &checkpoint).await?)
    }

    /// Compares the digest, completes the object and turns the session into a blob.
    async fn commit(&self, session: &Session, stored: Stored, digest: &Digest, intake: &mut Intake<'_>) -> Result<()> {
        let Stored { key, appended } = stored;
        let size = appended.stored + appended.tail.len() as u64;
        let hasher = intake.hasher().await?.clone();
        let location = match key {
            None => {
                let actual = Digest::of(digest.algorithm(), &appended.tail);
                self.require_digest(session, digest, actual).await?;
                BlobLocation::Inline(appended.tail)
            }
            Some(key) if hasher.algorithm() == digest.algorithm() => {
                self.require_digest(session, digest, hasher.finish()).await?;
                self.complete(session, &key, appended, digest).await?;
                BlobLocation::Object(key)
            }
            Some(key) => {
                // The session hashed with another algorithm than the client closes it with: read the object back once.
                self.complete(session, &key, appended, digest).await?;
                let actual = self.hash_object(&key, size, digest.algorithm()).await?;
                self.require_digest(session, digest, actual).await?;
                BlobLocation::Object(key)
            }
        };
        self.commit_as(session, digest, size, location).await
    }

    /// Turns the session into a blob, in one transaction.
    async fn commit_as(&self, session: &Session, digest: &Digest, size: u64, location: BlobLocation) -> Result<()> {
        let blob = self.new_blob(digest, size, location);
        // An object that turned out to be superfluous can wait for the next sweep.
        if self.metadata.upload_commit(&session.hold, &blob, blob.now.after(CLOSED_KEPT)).await? {
            Ok(())
        } else {
            Err(RegistryError::UploadRange { received: session.record.received })
        }
    }

    /// Goes on with a PUT that came to completing the object and was lost: what stands whole under our own key is our
    /// object. `false`: it never came to be, and this PUT does it all again from where the session stands.
    ///
    /// Another digest than the first time is refused, because a late write of the first one may still make the object.
    async fn finish_completing(&self, session: &Session, begun: &Digest, digest: &Digest) -> Result<bool> {
        let Some(key) = session.record.object_key.clone().filter(|_| begun == digest) else {
            return Err(RegistryError::UploadUnknown);
        };
        let size = match self.storage.stat(&key).await {
            Err(StorageError::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        let actual = self.hash_object(&key, size, digest.algorithm()).await?;
        self.require_digest(session, digest, actual).await?;
        self.commit_as(session, digest, size, BlobLocation::Object(key)).await?;
        Ok(true)
    }

    async fn require_digest(&self, session: &Session, declared: &Digest, actual: Digest) -> Result<()> {
        if *declared == actual {
            return Ok(());
        }
        self.metadata.upload_drop(&session.hold, self.upload_end(self.clock.now())).await?;
        self.collector.wake();
        Err(RegistryError::DigestMismatch { declared: declared.clone(), actual })
    }

    async fn complete(&self, session: &Session, key: &Key, appended: Appended, digest: &Digest) -> Result<()> {
        let Appended { state, stored, tail } = appended;
        if self.storage.is_whole(&state) {
            return Ok(());
        }
        if !self.storage.complete_is_repeatable() {
            // The session goes on standing where it stood before this request, whose bytes nobody else has: should the
            // object not come to be, a repeated PUT brings them again.
            let UploadRecord { received, driver_state, .. } = &session.record;
            if !self.metadata.upload_completing(&session.hold, digest, *received, driver_state).await? {
                return Err(RegistryError::UploadRange { received: *received });
            }
        }
        Ok(self.storage.complete(key, state, stored, tail).await?)
    }

    /// Whether a closed session became this blob: the PUT is repeated because its answer was lost.
    async fn is_committed(&self, repo: &RepoName, id: &UploadId, digest: &Digest) -> Result<bool> {
        let found = self.metadata.upload_find(repo, id, self.clock.now()).await?;
        Ok(found.is_some_and(|record| record.state == UploadState::Committed(digest.clone())))
    }

    /// The answer to a writer that is out of place or whose session another one took: where it stands now, unless it ended.
    async fn fenced(&self, holder: Holder<'_>, id: &UploadId) -> RegistryError {
        match self.upload_status(holder, id).await {
            Ok(status) => RegistryError::UploadRange { received: status.received },
            Err(error) => error,
        }
    }
}

/// How long a body must be, from its range and its length.
fn declared_length(range: Option<ChunkRange>, length: Option<u64>) -> Result<Option<u64>> {
    let Some(range) = range else { return Ok(length) };
    let declared = range.end.saturating_sub(range.start).saturating_add(1);
    match length {
        Some(actual) if actual != declared => Err(RegistryError::SizeMismatch { declared, actual }),
        _ => Ok(Some(declared)),
    }
}

/// The same session, with its first bytes.
fn begin_with(begin: NewUpload, first: Bytes) -> NewUpload {
    if first.is_empty() {
        return begin;
    }
    let hashed = Hasher::restore(&begin.hash_state).map(|mut hasher| {
        hasher.update(&first);
        hasher.save()
    });
    NewUpload { hash_state: hashed.unwrap_or_default(), tail: first, ..begin }
}
