//! The memory that all uploads of this process share.
//!
//! A buffer grows step by step, and who waits for more is served first come, first served. Uploads that hold a little and
//! wait for more could wait for each other for ever; so a part of the budget is set aside in slots, each as large as a
//! part that may be cut when memory is short. Whoever holds a slot can fill and send a part, and then gives back all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The grain of the budget in bytes.
const UNIT_BYTES: usize = 64 << 10;

/// The part of the budget that is set aside is one in so many bytes.
const SLOTS_SHARE: usize = 8;

/// A budget of bytes.
#[derive(Debug)]
pub(super) struct Budget {
    common: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    slot_bytes: usize,
    common_bytes: usize,
    waiting: AtomicUsize,
}

/// Bytes taken from a budget; they go back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Lease {
    common: Option<OwnedSemaphorePermit>,
    slot: Option<OwnedSemaphorePermit>,
    slot_bytes: usize,
}

/// Counts one who waits, also one who gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Budget {
    /// A budget of `bytes`, with slots of `slot_bytes`.
    pub(super) fn new(bytes: usize, slot_bytes: usize) -> Self {
        let slot_bytes = slot_bytes.max(UNIT_BYTES);
        let slots = (bytes / SLOTS_SHARE / slot_bytes).max(1);
        let common_bytes = bytes.saturating_sub(slots * slot_bytes);
        Self {
            common: Arc::new(Semaphore::new((common_bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS))),
            slots: Arc::new(Semaphore::new(slots)),
            slot_bytes,
            common_bytes,
            waiting: AtomicUsize::new(0),
        }
    }

    /// The largest lease that can ever be had.
    pub(super) fn largest(&self) -> usize {
        self.common_bytes
    }

    /// Whether somebody waits for bytes.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes bytes if they are free.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Lease> {
        let common = Arc::clone(&self.common).try_acquire_many_owned(units(bytes)).ok()?;
        Some(Lease { common: Some(common), ..Lease::default() })
    }

    /// Waits for bytes; never more than [`largest`](Self::largest) are waited for.
    pub(super) async fn take(&self, bytes: usize) -> Lease {
        let _waiting = Waiting::new(&self.waiting);
        let units = units(bytes.min(self.common_bytes));
        let common = Arc::clone(&self.common).acquire_many_owned(units).await;
        Lease { common: common.ok(), ..Lease::default() }
    }

    /// Waits for bytes or for a slot, whichever comes first.
    pub(super) async fn take_more(&self, bytes: usize) -> Lease {
        let slot = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            Lease { slot: slot.ok(), slot_bytes: self.slot_bytes, ..Lease::default() }
        };
        tokio::select! {
            biased;
            lease = self.take(bytes) => lease,
            lease = slot => lease,
        }
    }
}

impl Lease {
    /// How many bytes it is good for.
    pub(super) fn bytes(&self) -> usize {
        self.common.as_ref().map_or(0, |permit| permit.num_permits() * UNIT_BYTES) + self.slot_bytes
    }

    /// Adds another lease of the same budget.
    pub(super) fn add(&mut self, other: Self) {
        match (&mut self.common, other.common) {
            (Some(ours), Some(theirs)) => ours.merge(theirs),
            (ours, theirs) => *ours = ours.take().or(theirs),
        }
        if other.slot.is_some() {
            // Only who has no slot waits for one.
            self.slot = other.slot;
            self.slot_bytes = other.slot_bytes;
        }
    }

    /// Splits off what is needed for `bytes`, or all; the slot stays here.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let Some(ours) = &mut self.common else { return Self::default() };
        let wanted = (units(bytes) as usize).min(ours.num_permits());
        Self { common: ours.split(wanted), ..Self::default() }
    }
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn bytes_go_back_and_waiters_come_in_turn() {
        let budget = Budget::new(11 * MIB, MIB);
        assert_eq!(budget.largest(), 10 * MIB);
        let mut first = budget.try_take(8 * MIB).expect("free");
        assert!(budget.try_take(3 * MIB).is_none() && !budget.is_short());
        let mut large = Box::pin(budget.take(6 * MIB));
        assert!(large.as_mut().now_or_never().is_none() && budget.is_short());
        assert!(budget.try_take(MIB).is_none(), "nobody overtakes who waits");
        let part = first.split(5 * MIB);
        assert_eq!((first.bytes(), part.bytes()), (3 * MIB, 5 * MIB));
        drop(part);
        let large = large.as_mut().now_or_never().expect("enough is free");
        assert_eq!(large.bytes(), 6 * MIB);
        assert!(!budget.is_short());
        first.add(large);
        assert_eq!(first.bytes(), 9 * MIB);
    }

    #[tokio::test]
    async fn uploads_that_hold_everything_go_on_one_after_the_other() {
        let budget = Budget::new(16 * MIB, 5 * MIB);
        let mut held = Vec::new();
        while let Some(lease) = budget.try_take(MIB) {
            held.push(lease);
        }
        let mut first = Box::pin(budget.take_more(4 * MIB));
        let slot = first.as_mut().now_or_never().expect("the slot is free");
        assert_eq!(slot.bytes(), 5 * MIB);
        let mut second = Box::pin(budget.take_more(4 * MIB));
        assert!(second.as_mut().now_or_never().is_none());
        drop(slot);
        assert_eq!(second.as_mut().now_or_never().expect("its turn").bytes(), 5 * MIB);
        drop(held);
    }

    #[test]
    fn who_wants_too_much_gets_all() {
        let budget = Budget::new(3 * MIB, MIB);
        assert_eq!(budget.take(100 * MIB).now_or_never().expect("free").bytes(), 2 * MIB);
    }
}
