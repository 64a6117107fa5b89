//! Reading an object. A body that breaks off or stalls is taken up again where it was, if the object is still the same.

use std::ops::Range;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::storage::s3::calls::Inner;
use crate::storage::s3::error::{Failed, chain};
use crate::storage::{BlobRead, Key, ReadSource, StorageError};

/// A body that gave so many bytes since it was last taken up may break off again without being given up.
const FORGIVEN_AFTER_BYTES: u64 = 8 << 20;

/// Opens `range` of an object, or all of it.
pub(super) async fn read(inner: &Arc<Inner>, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
    if let Some(range) = &range
        && range.start >= range.end
    {
        return read_nothing(inner, key, range).await;
    }
    let opened = open(inner, key, range.clone(), None).await.map_err(|error| error.about(key))?;
    let size = opened.size;
    let range = range.unwrap_or(0..size);
    if size < range.end || opened.range != range {
        return Err(too_short(key, size, range.end));
    }
    let (inner, key) = (Arc::clone(inner), key.clone());
    let tries_left = inner.options.attempts_max;
    let download =
        Download { inner, key, size, etag: opened.etag, rest: range, body: Some(opened.body), tries_left, since: 0 };
    Ok(BlobRead { size, source: ReadSource::Stream(download.into_stream()) })
}

/// HTTP has no empty range.
async fn read_nothing(inner: &Inner, key: &Key, range: &Range<u64>) -> Result<BlobRead, StorageError> {
    let size = inner.head_object(key).await.map_err(|error| error.about(key))?;
    if size < range.end || range.start > range.end {
        return Err(too_short(key, size, range.end));
    }
    Ok(BlobRead { size, source: ReadSource::Stream(stream::empty().boxed()) })
}

fn too_short(key: &Key, size: u64, end: u64) -> StorageError {
    StorageError::Corrupt { key: key.to_string(), reason: format!("it has {size} bytes, not {end}") }
}

/// The answer to a GET.
struct Opened {
    /// Size of the whole object.
    size: u64,
    /// Bytes of it in the body.
    range: Range<u64>,
    etag: Option<String>,
    body: ByteStream,
}

/// `etag`: only if the object still has it.
async fn open(inner: &Inner, key: &Key, range: Option<Range<u64>>, etag: Option<String>) -> Result<Opened, Failed> {
    let answer = inner
        .client
        .get_object()
        .bucket(&inner.options.bucket)
        .key(inner.path(key))
        .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1))))
        .set_if_match(etag)
        .send()
        .await
        .map_err(|error| Failed::new("GetObject", key, &error))?;
    let (size, range) = extent(&answer);
    Ok(Opened { size, range, etag: answer.e_tag, body: answer.body })
}

/// Size of the whole object and the bytes in this answer (RFC 9110, section 14.4: `bytes first-last/size`).
fn extent(answer: &GetObjectOutput) -> (u64, Range<u64>) {
    let len = answer.content_length.and_then(|len| u64::try_from(len).ok()).unwrap_or(0);
    let parse = |text: &str| {
        let (bytes, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        Some((size.parse().ok()?, first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?))
    };
    answer.content_range.as_deref().and_then(parse).unwrap_or((len, 0..len))
}

/// A body being read.
struct Download {
    inner: Arc<Inner>,
    key: Key,
    size: u64,
    etag: Option<String>,
    /// Bytes that nobody has got yet.
    rest: Range<u64>,
    body: Option<ByteStream>,
    tries_left: u32,
    /// Bytes since the body was last taken up.
    since: u64,
}

impl Download {
    fn into_stream(self) -> BoxStream<'static, Result<Bytes, StorageError>> {
        stream::unfold(Some(self), |download| async {
            let mut download = download?;
            match download.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(download))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let why = match self.piece().await {
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => return Ok(Some(bytes)),
                Err(why) => why,
            };
            self.resume(&why).await?;
        }
    }

    /// The next bytes of the body; why there are none.
    async fn piece(&mut self) -> Result<Bytes, String> {
        let body = self.body.as_mut().ok_or("the body could not be opened again")?;
        let piece = tokio::time::timeout(self.inner.options.stall_timeout, body.next()).await;
        let piece = piece.map_err(|_| "the body stalled")?;
        let mut piece = piece.ok_or("the body ended early")?.map_err(|error| chain(&error))?;
        let wanted = self.rest.end - self.rest.start;
        piece.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        self.rest.start += piece.len() as u64;
        self.since += piece.len() as u64;
        Ok(piece)
    }

    /// Opens the rest of the object, unless that was tried too often.
    async fn resume(&mut self, why: &str) -> Result<(), StorageError> {
        if self.since >= FORGIVEN_AFTER_BYTES {
            self.tries_left = self.inner.options.attempts_max;
        }
        self.since = 0;
        if self.tries_left <= 1 {
            return Err(StorageError::Unavailable(format!("GetObject of {}: {why}", self.key).into()));
        }
        self.tries_left -= 1;
        self.body = None;
        tracing::debug!(blob.key = %self.key, error = why, "a body from the store is taken up again");
        let opened = match open(&self.inner, &self.key, Some(self.rest.clone()), self.etag.clone()).await {
            Ok(opened) => opened,
            // The SDK has tried as often as it may, and the next turn of the loop ends when that was too often.
            Err(error) if error.passes() => return Ok(()),
            Err(error) => return Err(error.about(&self.key)),
        };
        if opened.size != self.size || opened.range != self.rest {
            return Err(too_short(&self.key, opened.size, self.rest.end));
        }
        self.body = Some(opened.body);
        Ok(())
    }
}
