//! Stores around a store: one that reports what it sees, one that fails on demand, and one that passes the points of
//! [`crate::faults`].
//!
//! Each names every method of [`BlobStore`], and the lint `missing_trait_methods` keeps it so: a method that a layer
//! forgot would silently go around it.
//!
//! [`BlobStore`]: crate::storage::BlobStore

mod faulty;
mod instrumented;
mod passing;

pub use crate::faults::Moment;
pub use faulty::{Fault, Faulty};
pub use instrumented::{Instrumented, Observe, Outcome};
pub use passing::Passing;

/// The operations of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`read`](crate::storage::BlobStore::read)
    Read,
    /// [`stat`](crate::storage::BlobStore::stat)
    Stat,
    /// [`put`](crate::storage::BlobStore::put)
    Put,
    /// [`begin`](crate::storage::BlobStore::begin)
    Begin,
    /// [`append`](crate::storage::BlobStore::append)
    Append,
    /// [`complete`](crate::storage::BlobStore::complete)
    Complete,
    /// [`abort`](crate::storage::BlobStore::abort)
    Abort,
    /// [`delete_many`](crate::storage::BlobStore::delete_many)
    DeleteMany,
    /// [`presign`](crate::storage::BlobStore::presign)
    Presign,
    /// [`list`](crate::storage::BlobStore::list)
    List,
    /// [`free_bytes`](crate::storage::BlobStore::free_bytes)
    FreeBytes,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Stat,
        Self::Put,
        Self::Begin,
        Self::Append,
        Self::Complete,
        Self::Abort,
        Self::DeleteMany,
        Self::Presign,
        Self::List,
        Self::FreeBytes,
    ];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Stat => "stat",
            Self::Put => "put",
            Self::Begin => "begin",
            Self::Append => "append",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::DeleteMany => "delete_many",
            Self::Presign => "presign",
            Self::List => "list",
            Self::FreeBytes => "free_bytes",
        }
    }
}
