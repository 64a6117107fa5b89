//! How large the batches of a body may be, so that few bodies at once are fast and many do not take the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the batches of all bodies take together, as long as none is at its minimum.
const ALL_BYTES: usize = 3 << 20;

/// The smallest batch in bytes.
const BATCH_BYTES_MIN: usize = 32 << 10;

/// Batches of any number of bodies.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    bodies: Arc<AtomicUsize>,
    max: usize,
}

/// The place of one body among them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Share);

impl Share {
    /// Batches of at most `max` bytes.
    pub(crate) fn up_to(max: usize) -> Self {
        Self { bodies: Arc::default(), max }
    }

    /// One body more.
    pub(crate) fn enter(&self) -> Seat {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }
}

impl Seat {
    /// Bytes of a batch right now; never less than [`BATCH_BYTES_MIN`].
    pub(crate) fn batch_bytes(&self) -> usize {
        let bodies = self.0.bodies.load(Ordering::Relaxed).max(1);
        (ALL_BYTES / bodies).clamp(BATCH_BYTES_MIN, self.0.max)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_while_bodies_come_and_grow_while_they_go() {
        let share = Share::up_to(512 << 10);
        let first = share.enter();
        assert_eq!(first.batch_bytes(), 512 << 10);
        let others: Vec<Seat> = (1..16).map(|_| share.enter()).collect();
        assert_eq!(first.batch_bytes(), 192 << 10);
        let many: Vec<Seat> = (0..1000).map(|_| share.enter()).collect();
        assert_eq!(first.batch_bytes(), BATCH_BYTES_MIN);
        drop((others, many));
        assert_eq!(first.batch_bytes(), 512 << 10);
    }
}
