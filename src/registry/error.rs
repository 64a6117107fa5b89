//! Why the registry refuses or fails, without a word of HTTP.

use std::time::Duration;

use crate::metadata::MetadataError;
use crate::oci::digest::Digest;
use crate::oci::name::Tag;
use crate::oci::reference::Reference;
use crate::registry::gate::Ruling;
use crate::storage::StorageError;

/// An answer other than success. Every dialect renders this one enum.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The repository does not exist, or has nothing to list.
    #[error("repository unknown")]
    RepositoryUnknown,
    /// The repository has no such blob.
    #[error("blob {0} unknown to the repository")]
    BlobUnknown(Digest),
    /// The blob's bytes are missing or wrong until somebody uploads it again.
    #[error("blob {0} is damaged; push it again to heal it")]
    BlobDamaged(Digest),
    /// The repository has no such manifest.
    #[error("manifest {0} unknown to the repository")]
    ManifestUnknown(Reference),
    /// The manifest's bytes are wrong until somebody pushes it again.
    #[error("manifest {0} is damaged; push it again to heal it")]
    ManifestDamaged(Reference),
    /// The manifest's content breaks a rule.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(String),
    /// The manifest is larger than the limit.
    #[error("the manifest is larger than {max} bytes")]
    ManifestTooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The manifest names content that the repository does not have.
    #[error("the manifest names content that the repository does not have")]
    ContentMissing(Vec<Digest>),
    /// There is no such upload session.
    #[error("upload session unknown")]
    UploadUnknown,
    /// The piece does not begin where the session stands, or another writer took the session.
    #[error("the session stands at byte {received}")]
    UploadRange {
        /// Bytes taken so far.
        received: u64,
    },
    /// The bytes have another digest than the one declared.
    #[error("the content's digest is {actual}, not {declared}")]
    DigestMismatch {
        /// What the client said.
        declared: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The body is not as long as its headers say.
    #[error("the body has {actual} bytes, its headers say {declared}")]
    SizeMismatch {
        /// What the headers said.
        declared: u64,
        /// What came.
        actual: u64,
    },
    /// The body ended before it was whole.
    #[error("the request body broke off")]
    BodyBroken,
    /// The body did not go on for too long.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// The blob is larger than the limit.
    #[error("the blob is larger than {max} bytes")]
    BlobTooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The tag cannot be moved or deleted.
    #[error("tag {0} is immutable")]
    TagImmutable(Tag),
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the condition on {0} does not hold")]
    PreconditionFailed(Reference),
    /// It does not satisfy a signature policy.
    #[error("{}", .0.verdict().message())]
    Unverified(Box<Ruling>),
    /// The content is named by a manifest that is still there.
    #[error("{what} is named by manifest {by}; delete that first")]
    Referenced {
        /// What was to be deleted.
        what: Digest,
        /// A manifest that names it.
        by: Digest,
    },
    /// The disk has too little room to take anything in.
    #[error("only {free} bytes are free on the registry's disk and {min} must stay (disk_free_bytes_min)")]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The limit.
        min: u64,
    },
    /// The disk or the database took no more in the middle of a write.
    #[error("the registry's disk is full (disk_free_bytes_min should have kept a reserve)")]
    StoreFull,
    /// As many upload sessions are open as may be.
    #[error("{max} upload sessions are open, which is the limit (sessions_max); finish or cancel some")]
    TooManySessions {
        /// The limit.
        max: u64,
    },
    /// A limit on how many writes may be under way is reached; or the store is away.
    #[error("the registry is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// A failure on this side. Its source goes to the log, never to the client.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// When a client may try again after a passing failure.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What the client is told of these is only "busy" or "full", so the cause is logged where it is dropped.
fn log_passing(error: &(dyn std::error::Error + 'static), passing: bool) {
    if passing {
        tracing::warn!(error, "a store refuses for now");
    }
}

impl From<MetadataError> for RegistryError {
    fn from(error: MetadataError) -> Self {
        log_passing(&error, matches!(error, MetadataError::Unavailable(_) | MetadataError::Full(_)));
        match error {
            MetadataError::Unavailable(_) => Self::Busy { retry_after: RETRY_AFTER },
            MetadataError::Full(_) => Self::StoreFull,
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<StorageError> for RegistryError {
    fn from(error: StorageError) -> Self {
        log_passing(&error, matches!(error, StorageError::Unavailable(_) | StorageError::Full(_)));
        match error {
            StorageError::Unavailable(_) => Self::Busy { retry_after: RETRY_AFTER },
            StorageError::Full(_) => Self::StoreFull,
            StorageError::UploadLost { .. } => Self::UploadUnknown,
            other => Self::Internal(Box::new(other)),
        }
    }
}
