//! What can go wrong with bytes, named by what the caller can do about it.

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
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(#[source] BoxError),
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
