//! One operation at a time on the file of an unfinished upload, also when the caller of an operation has gone away.
//!
//! A write that runs on a blocking thread cannot be called back: when the future that wanted it is dropped, it goes on.
//! So the write itself holds the upload's turn, and whoever comes next waits until it has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::storage::Key;

/// The uploads that are being worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>);

/// A turn at one upload; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody works on `key`.
    pub(super) async fn take(&self, key: &Key) -> Turn {
        let lock = Arc::clone(self.map().entry(key.clone()).or_default());
        // Made before the wait, so that a caller who gives up waiting tidies the map all the same.
        let mut turn = Turn { turns: self.clone(), key: key.clone(), guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        // The map is whole between any two statements that hold the lock, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut map = self.turns.map();
        if map.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn turns_follow_each_other_and_leave_nothing_behind() {
        let (turns, key) = (Turns::default(), Key::opaque("00"));
        let first = turns.take(&key).await;
        {
            let mut second = Box::pin(turns.take(&key));
            assert!(second.as_mut().now_or_never().is_none(), "one at a time");
            drop(first);
            assert!(second.as_mut().now_or_never().is_some(), "then the next");
        }
        assert!(turns.take(&key).now_or_never().is_some(), "the turn ended");
        assert!(turns.map().is_empty());
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_nothing_behind() {
        let (turns, key) = (Turns::default(), Key::opaque("00"));
        let first = turns.take(&key).await;
        assert!(turns.take(&key).now_or_never().is_none());
        drop(first);
        assert!(turns.map().is_empty());
    }
}
