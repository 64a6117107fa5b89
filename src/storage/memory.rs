//! Objects in memory, for tests.
//!
//! It is stricter than a folder: state and offset must belong together, an unfinished upload cannot be read, and with
//! [`MemoryStore::with_parts`] it keeps the rules of S3 multipart uploads, so that what the registry does with tails is
//! tested without S3.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::storage::pace::Pace;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, ReadSource,
    StorageError,
};

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// Size of a part in bytes when uploads come in parts; more than zero.
    part_bytes: Option<usize>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Key, Bytes>,
    uploads: HashMap<Key, Upload>,
    last_upload: u64,
}

#[derive(Debug)]
struct Upload {
    id: u64,
    pieces: Vec<Bytes>,
}

impl MemoryStore {
    /// A store that takes uploads byte by byte, as a folder does.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that takes uploads in parts of exactly `part_bytes` (at least one byte), as S3 does.
    ///
    /// What does not fill a part is returned as tail, every part is a checkpoint, and an upload is completed only once.
    pub fn with_parts(part_bytes: usize) -> Self {
        Self { part_bytes: Some(part_bytes.max(1)), inner: Mutex::default() }
    }

    async fn append_parts(
        &self,
        part_bytes: usize,
        mut part: Part<'_>,
        tail: Bytes,
        hint: AppendHint,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError> {
        // Parts that the old tail fills are not reported: the source can only mark the end of a piece of its own.
        let mut buffer = BytesMut::from(tail);
        while buffer.len() >= part_bytes {
            self.store(&mut part, buffer.split_to(part_bytes).freeze())?;
        }
        while let Some(piece) = source.next(part_bytes - buffer.len()).await {
            buffer.extend_from_slice(&piece);
            if buffer.len() == part_bytes {
                self.store(&mut part, buffer.split().freeze())?;
                source.mark(part.stored);
                source.checkpoint(part.stored, &part.state()).await?;
            }
        }
        let tail = buffer.freeze();
        if hint.sole && !hint.closing && part.stored == 0 && !tail.is_empty() {
            source.mark(tail.len() as u64);
            return Ok(self.put_whole(part.key, tail));
        }
        Ok(Appended { state: part.state(), stored: part.stored, tail })
    }

    /// Makes an object of an upload that has no part.
    fn put_whole(&self, key: &Key, bytes: Bytes) -> Appended {
        let stored = bytes.len() as u64;
        let mut inner = self.lock();
        inner.uploads.remove(key);
        inner.objects.insert(key.clone(), bytes);
        Appended { state: Part { key, id: WHOLE, stored }.state(), stored, tail: Bytes::new() }
    }

    async fn append_bytes(
        &self,
        mut part: Part<'_>,
        tail: Bytes,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError> {
        self.store(&mut part, tail)?;
        let mut pace = Pace::from(part.stored);
        while let Some(piece) = source.next(usize::MAX).await {
            self.store(&mut part, piece)?;
            if pace.is_due(part.stored) {
                source.mark(part.stored);
                source.checkpoint(part.stored, &part.state()).await?;
                pace = Pace::from(part.stored);
            }
        }
        source.mark(part.stored);
        Ok(Appended { state: part.state(), stored: part.stored, tail: Bytes::new() })
    }

    /// Finds the upload that `state` describes and cuts off what lies beyond `stored`.
    fn resume<'a>(&self, key: &'a Key, state: &DriverState, stored: u64) -> Result<Part<'a>, StorageError> {
        let (id, described) = parse_state(state).ok_or_else(|| lost(key, "its state is not of this store"))?;
        let mut inner = self.lock();
        let upload = inner.uploads.get_mut(key).filter(|upload| upload.id == id);
        let upload = upload.ok_or_else(|| lost(key, "there is no such upload"))?;
        if described != stored {
            return Err(lost(key, "its state describes another byte"));
        }
        let mut room = usize::try_from(stored).unwrap_or(usize::MAX);
        for piece in &mut upload.pieces {
            piece.truncate(room);
            room -= piece.len();
        }
        upload.pieces.retain(|piece| !piece.is_empty());
        if room > 0 {
            return Err(lost(key, "it is shorter than it should be"));
        }
        Ok(Part { key, id, stored })
    }

    fn store(&self, part: &mut Part<'_>, bytes: Bytes) -> Result<(), StorageError> {
        let mut inner = self.lock();
        let upload = inner.uploads.get_mut(part.key).filter(|upload| upload.id == part.id);
        let upload = upload.ok_or_else(|| lost(part.key, "it was aborted"))?;
        part.stored += bytes.len() as u64;
        if !bytes.is_empty() {
            upload.pieces.push(bytes);
        }
        Ok(())
    }

    fn find(&self, key: &Key) -> Result<Bytes, StorageError> {
        let found = self.lock().objects.get(key).cloned();
        found.ok_or_else(|| StorageError::NotFound { key: key.to_string() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before the lock is let go, so a panic elsewhere does not spoil the maps.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        let bytes = self.find(key)?;
        let size = bytes.len() as u64;
        let range = range.unwrap_or(0..size);
        if range.end > size || range.start > range.end {
            let reason = format!("it has {size} bytes, not {}", range.end);
            return Err(StorageError::Corrupt { key: key.to_string(), reason });
        }
        let offset = |at: u64| usize::try_from(at).unwrap_or(bytes.len());
        let piece = bytes.slice(offset(range.start)..offset(range.end));
        let pieces = (!piece.is_empty()).then_some(Ok(piece));
        Ok(BlobRead { size, source: ReadSource::Stream(stream::iter(pieces).boxed()) })
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        self.find(key).map(|bytes| bytes.len() as u64)
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.lock().objects.insert(key.clone(), bytes);
        Ok(())
    }

    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError> {
        let mut inner = self.lock();
        let taken = inner.objects.contains_key(key) || inner.uploads.contains_key(key);
        if taken && self.part_bytes.is_none() {
            return Err(StorageError::Other(format!("the key {key} is taken").into()));
        }
        inner.last_upload += 1;
        let id = inner.last_upload;
        inner.uploads.insert(key.clone(), Upload { id, pieces: Vec::new() });
        Ok(Part { key, id, stored: 0 }.state())
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
        let part = self.resume(key, &state, stored)?;
        match self.part_bytes {
            Some(part_bytes) => self.append_parts(part_bytes, part, tail, hint, source).await,
            None => self.append_bytes(part, tail, source).await,
        }
    }

    fn is_whole(&self, state: &DriverState) -> bool {
        parse_state(state).is_some_and(|(id, _)| id == WHOLE)
    }

    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        let size = stored + tail.len() as u64;
        if self.is_whole(&state) && tail.is_empty() && self.stat(key).await? == size {
            return Ok(());
        }
        if self.complete_is_repeatable()
            && parse_state(&state).is_some()
            && self.stat(key).await.is_ok_and(|n| n == size)
        {
            return Ok(());
        }
        self.resume(key, &state, stored)?;
        let mut inner = self.lock();
        let upload = inner.uploads.remove(key).ok_or_else(|| lost(key, "it was aborted"))?;
        let pieces: Vec<&[u8]> = upload.pieces.iter().chain([&tail]).map(AsRef::as_ref).collect();
        inner.objects.insert(key.clone(), pieces.concat().into());
        Ok(())
    }

    fn complete_is_repeatable(&self) -> bool {
        self.part_bytes.is_none()
    }

    async fn abort(&self, key: &Key, _state: Option<&DriverState>) -> Result<(), StorageError> {
        let mut inner = self.lock();
        inner.uploads.remove(key);
        inner.objects.remove(key);
        Ok(())
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        let mut inner = self.lock();
        for key in keys {
            inner.objects.remove(key);
        }
        keys.iter().map(|_| Ok(())).collect()
    }

    async fn presign(&self, _key: &Key, _ttl: Duration) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        let inner = self.lock();
        let ours = |key: &Key| key.as_str().starts_with("blobs/");
        let finished = inner.objects.iter().map(|(key, bytes)| (key, Some(bytes.len() as u64)));
        let unfinished = inner.uploads.iter().map(|(key, upload)| {
            let size = upload.pieces.iter().map(|piece| piece.len() as u64).sum();
            (key, self.part_bytes.is_none().then_some(size))
        });
        let all = finished.chain(unfinished).filter(|(key, _)| ours(key));
        let all: Vec<_> = all.map(|(key, size)| Ok(ObjectInfo { key: key.clone(), size })).collect();
        stream::iter(all).boxed()
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        let below = |key: &Key| key.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let info = |(key, bytes): (&Key, &Bytes)| ObjectInfo { key: key.clone(), size: Some(bytes.len() as u64) };
        let objects: Vec<_> = self.lock().objects.iter().filter(|(key, _)| below(key)).map(info).map(Ok).collect();
        stream::iter(objects).boxed()
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }
}

/// Number of an upload that is an object already; others begin at 1.
const WHOLE: u64 = 0;

/// How far one upload is.
struct Part<'a> {
    key: &'a Key,
    id: u64,
    stored: u64,
}

impl Part<'_> {
    /// The upload's number and its offset, eight bytes each.
    fn state(&self) -> DriverState {
        DriverState([self.id.to_be_bytes(), self.stored.to_be_bytes()].concat())
    }
}

/// Number and offset of the upload that a state describes.
fn parse_state(state: &DriverState) -> Option<(u64, u64)> {
    let (id, stored) = state.0.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*id), u64::from_be_bytes(stored.try_into().ok()?)))
}

fn lost(key: &Key, reason: &str) -> StorageError {
    StorageError::UploadLost { key: key.to_string(), reason: reason.to_owned() }
}
