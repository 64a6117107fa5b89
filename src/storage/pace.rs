//! When a driver without parts of its own reports how far an append is.
//!
//! A checkpoint is a database commit, so it is rare; but it is also where a writer learns that a newer one has taken its
//! session, and it bounds what a crash of the server costs a client, so it is never far away either.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes after which a checkpoint is due.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Time after which a checkpoint is due: what a crash may cost a slow client, and well below the ten seconds within which
/// a writer must notice a newer one.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);

/// The distance from the last checkpoint.
#[derive(Debug)]
pub(super) struct Pace {
    offset: u64,
    at: Instant,
}

impl Pace {
    /// Counts from byte `offset` and now.
    pub(super) fn from(offset: u64) -> Self {
        Self { offset, at: Instant::now() }
    }

    /// Whether a checkpoint at byte `offset` is due.
    pub(super) fn is_due(&self, offset: u64) -> bool {
        offset.saturating_sub(self.offset) >= CHECKPOINT_BYTES || self.at.elapsed() >= CHECKPOINT_AFTER
    }
}
