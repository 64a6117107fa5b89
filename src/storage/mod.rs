//! Bytes under keys: the trait that a storage driver implements, and nothing about what the bytes mean.
//!
//! An object's key is chosen before its first byte is stored and never changes; nothing is copied or renamed. Metadata
//! knows every key before the store does (`uploads`) and longer than the store does (`object_deletions`), so a driver may
//! be dumb: it never lists on a hot path and never decides what may go.

pub mod error;
pub mod fs;
pub mod layers;
pub mod memory;
mod pace;
pub mod read;
pub mod s3;
pub(crate) mod share;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::oci::digest::Digest;

pub use error::{AppendError, BoxError, StorageError};

/// The name of one object in the store.
///
/// - `blobs/<algorithm>/<2 hex>/<hex>.<id>` when the digest was declared before the first byte;
/// - `blobs/_/<2 hex>/<id>` when it is known only at the end;
/// - anything else was adopted from another registry's store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// A key for content whose digest is declared; `id` (32 hex digits) makes it unique for ever.
    pub fn declared(digest: &Digest, id: &str) -> Self {
        let hex = digest.hex();
        Self(format!("blobs/{}/{}/{hex}.{id}", digest.algorithm(), &hex[..2]))
    }

    /// A key for content whose digest is not known yet; `id` is 32 hex digits.
    pub fn opaque(id: &str) -> Self {
        Self(format!("blobs/_/{}/{id}", id.get(..2).unwrap_or("00")))
    }

    /// A key as it stands in the database or in a listing.
    ///
    /// `None` for a text that could leave the store's folder: absolute, empty, or with an empty, `.` or `..` segment.
    pub fn parse(text: &str) -> Option<Self> {
        let safe = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['\\', '\0']);
        (text.len() <= 1024 && text.split('/').all(safe)).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a driver wants to remember about an unfinished upload; opaque above the driver, kept in `uploads.driver_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverState(pub Vec<u8>);

/// An object being read.
#[derive(Debug)]
pub struct BlobRead {
    /// Size of the whole object in bytes, whatever range was asked for.
    pub size: u64,
    /// The bytes asked for.
    pub source: ReadSource,
}

/// Where the bytes of a [`BlobRead`] come from.
pub enum ReadSource {
    /// A file and the range in it; the caller may stream it, or hand it to the kernel.
    File {
        /// Opened for reading.
        file: File,
        /// Bytes of the file, end exclusive.
        range: Range<u64>,
    },
    /// Bytes as they arrive from the store.
    Stream(BoxStream<'static, Result<Bytes, StorageError>>),
}

impl fmt::Debug for ReadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { range, .. } => f.debug_struct("File").field("range", range).finish_non_exhaustive(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// The bytes of an upload on their way to a driver, and the driver's way to report how far it is.
#[async_trait]
pub trait AppendSource: Send {
    /// The next piece, `limit` bytes at most (`limit` > 0), or `None` when the body has ended or broken off.
    ///
    /// A driver that wants a boundary at a certain byte asks for no more than that; so boundaries fall between pieces.
    /// Dropping the future loses no byte.
    async fn next(&mut self, limit: usize) -> Option<Bytes>;

    /// Announces that a later [`checkpoint`](Self::checkpoint) may name `offset`, which is the end of the last piece taken.
    fn mark(&mut self, offset: u64);

    /// Reports that every byte before `offset` (counted from the start of the blob) is stored, as `state` describes.
    ///
    /// `offset` was marked before. The facts are written down before this returns. A driver calls it at every finished
    /// S3 part, on files at most every 64 MiB or second. The last one may be repeated, to learn about other writers.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] when another writer has the session, [`AppendError::Unsure`] when the answer of the database was
    /// lost: the driver stops and returns it. In the latter case nothing may be removed that the state names.
    async fn checkpoint(&mut self, offset: u64, state: &DriverState) -> Result<(), AppendError>;

    /// Has the registry keep the bytes that the driver cannot store yet: `tail`, from `stored`, which `state` describes, to
    /// the end of the last piece taken.
    ///
    /// `false`: nothing was kept, as the body counts as a whole or not at all; but the session is still ours.
    ///
    /// # Errors
    /// [`AppendError::Fenced`], as for [`checkpoint`](Self::checkpoint).
    async fn stage(&mut self, stored: u64, state: &DriverState, tail: Bytes) -> Result<bool, AppendError>;

    /// The bytes that the registry keeps since the last [`stage`](Self::stage), for a driver that has let go of them.
    ///
    /// # Errors
    /// [`AppendError::Fenced`], as for [`checkpoint`](Self::checkpoint).
    async fn staged(&mut self) -> Result<Bytes, AppendError>;
}

/// What is known about the bytes that will come, so that a driver may choose the cheapest way.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendHint {
    /// How many bytes the source will give, when the client said so.
    pub remaining: Option<u64>,
    /// Whether the blob ends with this source.
    pub closing: bool,
    /// Fencing number of the writer: each one that takes the upload has a higher one. 0: there is only one writer.
    pub writer: u64,
    /// Whether no other writer ever wrote under the key, and none will before this one has ended: then what the source
    /// gives may be stored as an object at once, in the hope that nothing more comes.
    pub sole: bool,
}

/// The end of an [`append`](BlobStore::append).
#[derive(Debug, Default)]
pub struct Appended {
    /// State to continue or complete from.
    pub state: DriverState,
    /// Every byte before this offset is in the store.
    pub stored: u64,
    /// The bytes from `stored` on that the driver cannot store yet (files: none); the registry keeps them.
    pub tail: Bytes,
}

/// An object, finished or not, found by [`list`](BlobStore::list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: Key,
    /// Size in bytes; `None` for an unfinished multipart upload.
    pub size: Option<u64>,
}

/// A place for bytes.
///
/// Every method may be called by many tasks and many processes at once. Uploads of one key have one writer at a time:
/// the registry sees to that.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync {
    /// Opens `range` (end exclusive, within the object; `None`: all) of an object.
    ///
    /// # Errors
    /// [`StorageError::NotFound`]; [`StorageError::Corrupt`] when the object is shorter than the range.
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError>;

    /// Size of a finished object in bytes.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    async fn stat(&self, key: &Key) -> Result<u64, StorageError>;

    /// Stores a small object in one go, durably; replaces what was there.
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError>;

    /// Begins an upload. The caller has recorded `key` before.
    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError>;

    /// Appends `tail` and then everything `source` gives, after the `stored` bytes that `state` describes.
    ///
    /// Whatever the store holds beyond `stored` is a broken writer's and is cut off or overwritten first. An object that
    /// [is whole](Self::is_whole) cannot be continued.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] from the source; [`StorageError::UploadLost`] when `state` cannot be continued.
    async fn append(
        &self,
        key: &Key,
        state: DriverState,
        stored: u64,
        tail: Bytes,
        hint: AppendHint,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError>;

    /// Whether `state` says that the object stands under its key already, should the blob end here. Then there is nothing to
    /// complete; more bytes need an object of their own.
    fn is_whole(&self, _state: &DriverState) -> bool {
        false
    }

    /// Ends an upload: stores `tail` and makes the object readable and durable under `key`, `stored` + tail bytes long.
    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError>;

    /// Whether [`complete`](Self::complete) may be repeated after a lost answer. Where it may not, the registry records
    /// its intent first.
    fn complete_is_repeatable(&self) -> bool;

    /// Removes an unfinished upload and whatever it stored; fine when there is none.
    async fn abort(&self, key: &Key, state: Option<&DriverState>) -> Result<(), StorageError>;

    /// Removes objects, durably; a missing one counts as removed. One answer for each key, in order.
    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>>;

    /// A URL under which anyone may GET the object for `ttl`, where the store can make one.
    async fn presign(&self, key: &Key, ttl: Duration) -> Result<Option<String>, StorageError>;

    /// Every object and unfinished upload of ours (those under `blobs/`), in no order. For `fsck` only.
    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>>;

    /// Every object below a folder of the store (`docker/registry/v2/repositories`), in no order. For taking over what
    /// another registry left.
    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>>;

    /// Free bytes of the medium, where that is a question with an answer.
    async fn free_bytes(&self) -> Result<Option<u64>, StorageError>;
}
