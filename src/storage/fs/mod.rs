//! Objects as files of one folder.
//!
//! ```text
//! <root>/blobs/sha256/ab/<hex>.<id>     an object whose digest was declared
//! <root>/blobs/_/ab/<id>                an object whose digest was known only at the end
//! <root>/...                            adopted objects
//! ```
//!
//! An upload is written straight into its final file, at an offset; completing it only makes it durable. So nothing tells
//! a finished file from an unfinished one but the database, and what an interrupted writer left beyond the recorded
//! offset is cut off by the next. With [`Durability::Strict`] a file is synced before its folder, and both before the
//! caller records that they exist.

mod aligned;
mod disk;
mod turns;
mod walk;
mod write;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::storage::fs::disk::{blocking, create, io_error, lost, make_shards, read_error, remove_all, sync_parent};
use crate::storage::fs::turns::Turns;
use crate::storage::fs::write::{BATCH_BYTES_MAX, BatchWriter, UploadFile};
use crate::storage::pace::Pace;
use crate::storage::share::Share;
use crate::storage::{
    AppendError, AppendHint, AppendSource, Appended, BlobRead, BlobStore, DriverState, Key, ObjectInfo, ReadSource,
    StorageError,
};

/// Whether the store waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What was answered survives a loss of power.
    #[default]
    Strict,
    /// What was answered survives a crash of the server, but perhaps not a loss of power.
    Relaxed,
}

/// Where and how a store keeps its files.
#[derive(Clone, Debug)]
pub struct FsOptions {
    /// The folder; made when it is not there.
    pub root: PathBuf,
    /// Whether to wait for the disk.
    pub durability: Durability,
    /// What changes when the machine starts anew, since bytes that were never synced may be lost then; see
    /// [`kernel_boot_id`].
    pub boot_id: String,
}

/// The kernel's name for this run of the machine.
///
/// # Errors
/// When the kernel does not tell, as kernels other than Linux do not.
pub fn kernel_boot_id() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// A store in a folder.
#[derive(Debug)]
pub struct FsStore {
    root: PathBuf,
    strict: bool,
    boot_id: String,
    turns: Turns,
    batches: Share,
}

impl FsStore {
    /// Opens the store and makes its folders.
    ///
    /// # Errors
    /// [`StorageError::Denied`], [`StorageError::Full`] or [`StorageError::Other`] when a folder cannot be made.
    pub async fn open(options: FsOptions) -> Result<Self, StorageError> {
        let FsOptions { root, durability, boot_id } = options;
        let strict = durability == Durability::Strict;
        blocking(move || {
            make_shards(&root, strict).map_err(|error| store_error(&root, error))?;
            Ok(Self { root, strict, boot_id, turns: Turns::default(), batches: Share::up_to(BATCH_BYTES_MAX) })
        })
        .await
    }

    /// A parsed key has no segment that could lead out of the root.
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn state(&self) -> DriverState {
        DriverState([&[STATE_FORMAT], self.boot_id.as_bytes()].concat())
    }

    fn require_state(&self, key: &Key, state: &DriverState) -> Result<(), StorageError> {
        match state.0.split_first() {
            Some((&STATE_FORMAT, boot_id)) if boot_id == self.boot_id.as_bytes() => Ok(()),
            Some((&STATE_FORMAT, _)) => Err(lost(key, "the machine has been started anew since")),
            _ => Err(lost(key, "its state is not of this store")),
        }
    }

    /// Waits for its turn at an upload and runs `work` on its file, cut to `stored`.
    async fn with_upload<T: Send + 'static>(
        &self,
        key: &Key,
        state: &DriverState,
        stored: u64,
        work: impl FnOnce(UploadFile, &Path) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.require_state(key, state)?;
        let (path, key, turn) = (self.path(key), key.clone(), self.turns.take(key).await);
        blocking(move || work(UploadFile::resume(&path, key, stored, turn)?, &path)).await
    }
}

/// First byte of a driver state, before the boot id.
const STATE_FORMAT: u8 = 1;

#[async_trait]
impl BlobStore for FsStore {
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
        let (path, key) = (self.path(key), key.clone());
        if let Some(file) = open_if_known(&path) {
            return opened(&key, file, range);
        }
        let root = self.root.clone();
        blocking(move || {
            let file = File::open(path).map_err(|error| read_error(&root, &key, error))?;
            opened(&key, file, range)
        })
        .await
    }

    async fn stat(&self, key: &Key) -> Result<u64, StorageError> {
        let (root, path, key) = (self.root.clone(), self.path(key), key.clone());
        blocking(move || match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
            Ok(_) => Err(StorageError::NotFound { key: key.to_string() }),
            Err(error) => Err(read_error(&root, &key, error)),
        })
        .await
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let (root, strict, path) = (self.root.clone(), self.strict, self.path(key));
        let (key, turn) = (key.clone(), self.turns.take(key).await);
        blocking(move || {
            let _turn = turn;
            let options = OpenOptions::new().write(true).create(true).truncate(true).to_owned();
            let file = create(&root, &path, &options, strict).map_err(|error| io_error(&key, error))?;
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).map_err(|error| io_error(&key, error))?;
            if strict {
                file.sync_data().and_then(|()| sync_parent(&path)).map_err(|error| io_error(&key, error))?;
            }
            Ok(())
        })
        .await
    }

    async fn begin(&self, key: &Key) -> Result<DriverState, StorageError> {
        let (root, strict, path) = (self.root.clone(), self.strict, self.path(key));
        let (key, turn) = (key.clone(), self.turns.take(key).await);
        blocking(move || {
            let _turn = turn;
            let options = OpenOptions::new().write(true).create_new(true).to_owned();
            create(&root, &path, &options, strict).map_err(|error| io_error(&key, error)).map(drop)
        })
        .await?;
        Ok(self.state())
    }

    /// Appends to the file. Dropping the future may leave one write of at most a batch running; the next operation on
    /// the upload waits for it and cuts off what it wrote.
    async fn append(
        &self,
        key: &Key,
        state: DriverState,
        stored: u64,
        tail: Bytes,
        _hint: AppendHint,
        source: &mut dyn AppendSource,
    ) -> Result<Appended, AppendError> {
        let file = self.with_upload(key, &state, stored, |file, path| Ok(file.with_blocks(path))).await?;
        let mut writer = BatchWriter::new(file, stored, self.batches.enter());
        writer.push(tail).await?;
        let mut pace = Pace::from(writer.offset());
        while let Some(piece) = source.next(writer.room()).await {
            writer.push(piece).await?;
            if pace.is_due(writer.offset()) {
                source.mark(writer.offset());
                writer.settle().await?;
                source.checkpoint(writer.offset(), &state).await?;
                pace = Pace::from(writer.offset());
            }
        }
        source.mark(writer.offset());
        writer.settle().await?;
        Ok(Appended { state, stored: writer.offset(), tail: Bytes::new() })
    }

    async fn complete(&self, key: &Key, state: DriverState, stored: u64, tail: Bytes) -> Result<(), StorageError> {
        let (strict, of) = (self.strict, key.clone());
        self.with_upload(key, &state, stored, move |file, path| {
            if !tail.is_empty() {
                file.write(&[tail], stored)?;
            }
            if strict {
                file.sync()?;
                sync_parent(path).map_err(|error| io_error(&of, error))?;
            }
            Ok(())
        })
        .await
    }

    fn complete_is_repeatable(&self) -> bool {
        true
    }

    async fn abort(&self, key: &Key, _state: Option<&DriverState>) -> Result<(), StorageError> {
        let (strict, file) = (self.strict, [(key.clone(), self.path(key))]);
        let turn = self.turns.take(key).await;
        blocking(move || {
            let _turn = turn;
            remove_all(&file, strict).into_iter().collect()
        })
        .await
    }

    async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), StorageError>> {
        let (strict, count) = (self.strict, keys.len());
        let files: Vec<_> = keys.iter().map(|key| (key.clone(), self.path(key))).collect();
        match blocking(move || Ok(remove_all(&files, strict))).await {
            Ok(answers) => answers,
            Err(error) => {
                let reason = error.to_string();
                (0..count).map(|_| Err(StorageError::Other(reason.clone().into()))).collect()
            }
        }
    }

    async fn presign(&self, _key: &Key, _ttl: Duration) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn list(&self) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        walk::walk(self.root.clone(), "blobs".to_owned())
    }

    fn list_under(&self, folder: &Key) -> BoxStream<'_, Result<ObjectInfo, StorageError>> {
        walk::walk(self.root.clone(), folder.to_string())
    }

    async fn free_bytes(&self) -> Result<Option<u64>, StorageError> {
        let root = self.root.clone();
        blocking(move || {
            let medium = rustix::fs::statvfs(&root).map_err(|error| store_error(&root, error.into()))?;
            Ok(Some(medium.f_bavail.saturating_mul(medium.f_frsize)))
        })
        .await
    }
}

/// Opens a file whose path the kernel knows by heart (`RESOLVE_CACHED`, openat2(2)), which never waits for the disk, so that
/// it needs no thread of its own. `None`: it may have to wait, or the file is not there.
fn open_if_known(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}

/// An open file as what was asked for.
fn opened(key: &Key, file: File, range: Option<Range<u64>>) -> Result<BlobRead, StorageError> {
    let metadata = file.metadata().map_err(|error| io_error(key, error))?;
    if !metadata.is_file() {
        return Err(StorageError::NotFound { key: key.to_string() });
    }
    let size = metadata.len();
    let range = range.unwrap_or(0..size);
    if range.end > size || range.start > range.end {
        let reason = format!("it has {size} bytes, not {}", range.end);
        return Err(StorageError::Corrupt { key: key.to_string(), reason });
    }
    Ok(BlobRead { size, source: ReadSource::File { file, range } })
}

/// What an I/O error on the store itself means; it names the folder, since an operator reads it.
fn store_error(root: &Path, error: io::Error) -> StorageError {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StorageError::Denied(named(error).into())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full(named(error).into()),
        _ => StorageError::Other(named(error).into()),
    }
}

#[cfg(test)]
mod tests;
