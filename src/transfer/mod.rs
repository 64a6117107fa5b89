//! Moving in and growing: copies of a whole store, backups, and the takeover of another registry's store.
//!
//! - Bytes before facts, here too: facts are replaced in one transaction after every byte they name is proven.
//! - What is read is proven by its digest before it counts as moved; what is not is said, never hidden.
//! - Everything may be interrupted and run again.

pub mod backup;
mod copy;
pub mod import;
mod objects;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::metadata::{MetadataError, MetadataStore};
use crate::registry::RegistryError;
use crate::storage::{BlobStore, StorageError};

pub use copy::{CopyOptions, CopyReport, copy};

/// Shorthand for this module's results.
pub type Result<T> = std::result::Result<T, TransferError>;

/// Where a registry keeps what it has.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Facts.
    pub metadata: Arc<dyn MetadataStore>,
    /// Bytes.
    pub storage: Arc<dyn BlobStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Whoever watches a transfer.
pub trait Watch: fmt::Debug + Send + Sync {
    /// A stage begins.
    fn stage(&self, what: &str, amount: Amount);

    /// So much more is done.
    fn moved(&self, amount: Amount);

    /// Something that the operator must know.
    fn finding(&self, line: String);
}

/// Blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    /// No blob, but some bytes of one.
    pub const fn bytes(bytes: u64) -> Self {
        Self { blobs: 0, bytes }
    }

    /// One blob, whose bytes were counted before.
    pub const fn blob() -> Self {
        Self { blobs: 1, bytes: 0 }
    }

    fn add(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// It must not be done; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A backup is not what it must be.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A database failed.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// A store failed.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The registry refused or failed.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// A task of ours ended by itself.
    #[error("a task of the transfer ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl TransferError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    fn broken(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Broken { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Blobs moved at the same time.
const PARALLEL: usize = 8;

/// Rows or keys looked at at a time.
const BATCH: u32 = 500;

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
