//! The file of an upload being written: one batch on its way to the file while the next one is read from the client.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::storage::fs::disk::{io_error, joined, lost};
use crate::storage::fs::turns::Turn;
use crate::storage::{Key, StorageError};

/// Bytes of a batch. An upload holds two, so a hundred uploads hold 25 MiB.
const BATCH_BYTES: usize = 128 << 10;

/// Pieces of a batch: what Linux takes in one call (`UIO_MAXIOV`).
const BATCH_PIECES: usize = 1024;

/// The open file of an unfinished upload, and the right to write it.
#[derive(Debug)]
pub(super) struct UploadFile {
    file: File,
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
        Ok(Self { file, key, _turn: turn })
    }

    /// Writes pieces one after the other from byte `offset` on. Blocks.
    pub(super) fn write(&self, pieces: &[Bytes], offset: u64) -> Result<(), StorageError> {
        write_all(&self.file, pieces, offset).map_err(|error| io_error(&self.key, error))
    }

    /// Waits until the disk has the bytes. Blocks.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|error| io_error(&self.key, error))
    }
}

/// Gathers pieces into batches and writes each on a blocking thread.
///
/// Dropping it may leave one write running; that write holds the upload's turn until it ends.
#[derive(Debug)]
pub(super) struct BatchWriter {
    file: Arc<UploadFile>,
    /// End of the last piece.
    offset: u64,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    running: Option<JoinHandle<Result<(), StorageError>>>,
}

impl BatchWriter {
    /// A writer that goes on at byte `offset`.
    pub(super) fn new(file: UploadFile, offset: u64) -> Self {
        Self { file: Arc::new(file), offset, batch: Vec::new(), batch_bytes: 0, running: None }
    }

    /// End of the last piece.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that the batch still takes; more than zero.
    pub(super) fn room(&self) -> usize {
        BATCH_BYTES.saturating_sub(self.batch_bytes).max(1)
    }

    /// Takes a piece; waits for the batch before the last one when this fills a batch.
    pub(super) async fn push(&mut self, piece: Bytes) -> Result<(), StorageError> {
        self.offset += piece.len() as u64;
        self.batch_bytes += piece.len();
        if !piece.is_empty() {
            self.batch.push(piece);
        }
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_PIECES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Waits until every piece is in the file.
    pub(super) async fn settle(&mut self) -> Result<(), StorageError> {
        self.flush().await?;
        self.join().await
    }

    async fn flush(&mut self) -> Result<(), StorageError> {
        self.join().await?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let start = self.offset - self.batch_bytes as u64;
        let (file, batch) = (Arc::clone(&self.file), std::mem::take(&mut self.batch));
        self.batch_bytes = 0;
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
