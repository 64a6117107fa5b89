//! Who in this process writes to which upload session.
//!
//! The database fences writers by epoch; this map makes the older one of two local writers stop *before* the newer one
//! touches the object, since both would write to one file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::metadata::model::{UploadHold, UploadId};

/// The active writers of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Writers(Arc<Mutex<HashMap<UploadId, Active>>>);

#[derive(Clone, Debug)]
struct Active {
    epoch: i64,
    /// Asks the writer to stop.
    stop: CancellationToken,
    /// Says that it has.
    stopped: CancellationToken,
}

/// A writer's turn at a session; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    writers: Writers,
    id: UploadId,
    active: Active,
}

impl Writers {
    /// Stops the local writer that had the session before and takes its place.
    ///
    /// `None` when a newer writer is already there: the caller has been fenced.
    pub(super) async fn enter(&self, hold: &UploadHold) -> Option<Turn> {
        loop {
            let before = match self.try_enter(hold) {
                Entry::Entered(turn) => return Some(turn),
                Entry::Fenced => return None,
                Entry::Occupied(before) => before,
            };
            before.stop.cancel();
            before.stopped.cancelled().await;
        }
    }

    /// Stops the local writer of a session that has ended, and waits for it.
    pub(super) async fn evict(&self, id: &UploadId) {
        let active = self.lock().get(id).cloned();
        if let Some(active) = active {
            active.stop.cancel();
            active.stopped.cancelled().await;
        }
    }

    fn try_enter(&self, hold: &UploadHold) -> Entry {
        let mut map = self.lock();
        match map.get(&hold.id) {
            Some(other) if other.epoch >= hold.epoch => Entry::Fenced,
            Some(other) => Entry::Occupied(other.clone()),
            None => {
                let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
                let active = Active { epoch: hold.epoch, stop, stopped };
                map.insert(hold.id.clone(), active.clone());
                Entry::Entered(Turn { writers: self.clone(), id: hold.id.clone(), active })
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Active>> {
        // The map is whole between any two statements that hold the lock, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry {
    Entered(Turn),
    Occupied(Active),
    Fenced,
}

impl Turn {
    /// Fires when a newer local writer wants the session.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.active.stop
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.writers.lock().remove(&self.id);
        self.active.stopped.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(epoch: i64) -> UploadHold {
        UploadHold { id: UploadId::from_bytes([7; 16]), epoch }
    }

    #[tokio::test]
    async fn a_newer_writer_waits_until_the_older_has_stopped() {
        let writers = Writers::default();
        let old = writers.enter(&hold(1)).await.expect("first");
        let second = hold(2);
        let (newer, ()) = tokio::join!(writers.enter(&second), async {
            old.stop().cancelled().await;
            drop(old);
        });
        assert!(newer.is_some());
        assert!(writers.enter(&hold(1)).await.is_none(), "an older epoch is fenced");
    }

    #[tokio::test]
    async fn evicting_nobody_is_fine() {
        Writers::default().evict(&hold(1).id).await;
    }
}
