//! The file of an upload being written: one batch on its way to the file while the next one is read from the client.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::storage::fs::aligned::{Aligned, BLOCK_BYTES};
use crate::storage::fs::disk::{io_error, joined, lost};
use crate::storage::fs::turns::Turn;
use crate::storage::share::Seat;
use crate::storage::{Key, StorageError};

/// Most bytes of a batch. An upload holds two of them.
pub(super) const BATCH_BYTES_MAX: usize = 512 << 10;

/// Pieces of a batch: what Linux takes in one call (`UIO_MAXIOV`).
const BATCH_PIECES: usize = 1024;

/// Fewer bytes than these go through the page cache: to wait for the disk would cost more.
const DIRECT_BYTES_MIN: usize = 32 << 10;

/// The open file of an unfinished upload, and the right to write it.
///
/// Whole blocks go past the page cache (`O_DIRECT`): what one client uploads must not push out what others pull, and a
/// commit, which waits for the disk, then finds little left to wait for.
#[derive(Debug)]
pub(super) struct UploadFile {
    file: File,
    /// The same file for whole blocks; `None` where the file system has nothing like it.
    direct: Option<File>,
    /// Whether the disk wants larger blocks than ours.
    indirect: AtomicBool,
    key: Key,
    _turn: Turn,
}

impl UploadFile {
    /// Opens the file at `path` and cuts off what lies beyond `stored`. Blocks.
    ///
    /// # Errors
    /// [`StorageError::UploadLost`] when the file is missing or shorter than `stored`.
    pub(super) fn resume(path: &Path, key: Key, stored: u64, turn: Turn) -> Result<Self, StorageError> {
        let file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost(&key, "its file is gone")),
            other => other.map_err(|error| io_error(&key, error))?,
        };
        let len = file.metadata().map_err(|error| io_error(&key, error))?.len();
        if len < stored {
            return Err(lost(&key, &format!("its file has {len} bytes instead of {stored}")));
        }
        if len > stored {
            file.set_len(stored).map_err(|error| io_error(&key, error))?;
        }
        Ok(Self { file, direct: None, indirect: AtomicBool::new(false), key, _turn: turn })
    }

    /// Opens the file at `path` a second time, for whole blocks. Blocks.
    pub(super) fn with_blocks(mut self, path: &Path) -> Self {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
        self.direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok();
        self
    }

    /// Writes pieces one after the other from byte `offset` on. Blocks.
    pub(super) fn write(&self, pieces: &[Bytes], offset: u64) -> Result<(), StorageError> {
        self.write_pieces(pieces, offset).map_err(|error| io_error(&self.key, error))
    }

    fn write_pieces(&self, pieces: &[Bytes], offset: u64) -> io::Result<()> {
        let direct = self.direct.as_ref().filter(|_| !self.indirect.load(Ordering::Relaxed));
        let Some(direct) = direct else { return write_all(&self.file, pieces, offset) };
        let len: usize = pieces.iter().map(Bytes::len).sum();
        let skipped = usize::try_from(offset.next_multiple_of(BLOCK_BYTES as u64) - offset).unwrap_or(len);
        let blocks = len.saturating_sub(skipped) / BLOCK_BYTES * BLOCK_BYTES;
        if blocks < DIRECT_BYTES_MIN {
            return write_all(&self.file, pieces, offset);
        }
        let (before, rest) = cut(pieces, skipped);
        write_all(&self.file, &before, offset)?;
        let offset = offset + skipped as u64;
        let written = match Aligned::of(&cut(&rest, blocks).0).write_to(direct, offset) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.indirect.store(true, Ordering::Relaxed);
                0
            }
            other => other?,
        };
        write_all(&self.file, &cut(&rest, written).1, offset + written as u64)
    }

    /// Waits until the disk has the bytes. Blocks.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|error| io_error(&self.key, error))
    }
}

/// Cuts pieces in two, the first of which has `len` bytes.
fn cut(pieces: &[Bytes], len: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut first, mut second, mut left) = (Vec::new(), Vec::new(), len);
    for piece in pieces {
        let taken = left.min(piece.len());
        left -= taken;
        if taken > 0 {
            first.push(piece.slice(..taken));
        }
        if taken < piece.len() {
            second.push(piece.slice(taken..));
        }
    }
    (first, second)
}

/// Gathers pieces into batches and writes each on a blocking thread.
///
/// Dropping it may leave one write running; that write holds the upload's turn until it ends.
#[derive(Debug)]
pub(super) struct BatchWriter {
    file: Arc<UploadFile>,
    seat: Seat,
    /// End of the last piece.
    offset: u64,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    running: Option<JoinHandle<Result<(), StorageError>>>,
}

impl BatchWriter {
    /// A writer that goes on at byte `offset`.
    pub(super) fn new(file: UploadFile, offset: u64, seat: Seat) -> Self {
        Self { file: Arc::new(file), seat, offset, batch: Vec::new(), batch_bytes: 0, running: None }
    }

    /// End of the last piece.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that the batch still takes; more than zero.
    pub(super) fn room(&self) -> usize {
        self.seat.batch_bytes().saturating_sub(self.batch_bytes).max(1)
    }

    /// Takes a piece; waits for the batch before the last one when this fills a batch.
    pub(super) async fn push(&mut self, piece: Bytes) -> Result<(), StorageError> {
        self.offset += piece.len() as u64;
        self.batch_bytes += piece.len();
        if !piece.is_empty() {
            self.batch.push(piece);
        }
        if self.batch_bytes >= self.seat.batch_bytes() || self.batch.len() >= BATCH_PIECES {
            // A piece of a block waits for the rest of it.
            let piece = usize::try_from(self.offset % BLOCK_BYTES as u64).unwrap_or(0);
            self.flush(piece.min(self.batch_bytes)).await?;
        }
        Ok(())
    }

    /// Waits until every piece is in the file.
    pub(super) async fn settle(&mut self) -> Result<(), StorageError> {
        self.flush(0).await?;
        self.join().await
    }

    /// Begins to write all but the last `kept` bytes.
    async fn flush(&mut self, kept: usize) -> Result<(), StorageError> {
        self.join().await?;
        let start = self.offset - self.batch_bytes as u64;
        let (batch, rest) = cut(&self.batch, self.batch_bytes - kept);
        (self.batch, self.batch_bytes) = (rest, kept);
        if batch.is_empty() {
            return Ok(());
        }
        let file = Arc::clone(&self.file);
        self.running = Some(tokio::task::spawn_blocking(move || file.write(&batch, start)));
        Ok(())
    }

    async fn join(&mut self) -> Result<(), StorageError> {
        match self.running.take() {
            Some(running) => joined(running.await),
            None => Ok(()),
        }
    }
}

/// Writes pieces, none of them empty, without gathering them into one buffer.
fn write_all(file: &File, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match rustix::io::pwritev(file, &rest[..rest.len().min(BATCH_PIECES)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
