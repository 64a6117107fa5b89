//! What can go wrong with bytes, named by what the caller can do about it.

use std::io;

use rustix::io::Errno;

/// A storage failure.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("no object {key}")]
    NotFound {
        /// The object's key.
        key: String,
    },
    /// The driver's state of an unfinished upload belongs to another life of the machine or the store: begin again.
    #[error("the unfinished upload {key} cannot be continued: {reason}")]
    UploadLost {
        /// The object's key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The store refuses this server's credentials or permissions.
    #[error("the store refuses access: {0}")]
    Denied(#[source] BoxError),
    /// The store is full.
    #[error("the store has no room: {0}")]
    Full(#[source] BoxError),
    /// The store does not answer now; trying again may help.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// The object's bytes are not what they must be (too short, wrong size).
    #[error("object {key} is damaged: {reason}")]
    Corrupt {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The medium does not give the object's bytes, such as a disk with a bad sector; others may be fine.
    #[error("the medium does not give the bytes: {0}")]
    Unreadable(#[source] BoxError),
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(#[source] BoxError),
}

impl StorageError {
    /// What an I/O error means that came while bytes were read.
    pub(super) fn reading(error: io::Error) -> Self {
        // The last two are what file systems say of a checksum or a structure that is wrong.
        let medium = [Errno::IO, Errno::BADMSG, Errno::UCLEAN].map(Errno::raw_os_error);
        match error.raw_os_error() {
            Some(code) if medium.contains(&code) => Self::Unreadable(error.into()),
            _ => Self::Other(error.into()),
        }
    }
}

/// A driver's own error, kept as the source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why [`append`](crate::storage::BlobStore::append) ended early.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// [`AppendSource::checkpoint`](crate::storage::AppendSource::checkpoint) said to stop: another writer has the session.
    #[error("another writer has taken the upload")]
    Fenced,
    /// It said to stop, and does not know whether the facts were written down.
    #[error("it is not known how far the upload is recorded")]
    Unsure,
}
