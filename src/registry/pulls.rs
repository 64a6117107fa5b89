//! When manifests were last asked for: gathered in memory, written down in batches, never within the request.
//!
//! A GET and a HEAD both count: a runtime that has an image already asks by HEAD only whether it is still the one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metadata::model::ManifestRecord;
use crate::registry::{Registry, Result};

/// A manifest's moment is written down at most this often.
const GRAIN: Duration = Duration::from_hours(1);

/// Most manifests kept in mind between two flushes; others are forgotten.
const PENDING_MAX: usize = 100_000;

/// Manifests written down in one transaction.
const BATCH: usize = 500;

/// Pulls that are not written down yet.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<HashMap<i64, Timestamp>>);

impl Pulls {
    /// Takes note that somebody asked for a manifest.
    pub(super) fn note(&self, manifest: &ManifestRecord, now: Timestamp) {
        if manifest.pulled_at.is_some_and(|pulled| pulled.until(now) < GRAIN) {
            return;
        }
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() < PENDING_MAX || pending.contains_key(&manifest.id) {
            pending.insert(manifest.id, now);
        }
    }

    fn take(&self) -> Vec<(i64, Timestamp)> {
        let pending = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut pulls: Vec<_> = pending.into_iter().collect();
        // Nodes that write down the same manifests do so in the same order.
        pulls.sort_unstable();
        pulls
    }
}

impl Registry {
    /// Writes down which manifests were asked for. What cannot be written is lost: it is a hint for retention.
    pub async fn flush_pulls(&self) -> Result<()> {
        for pulls in self.pulls.take().chunks(BATCH) {
            let stale = self.clock.now().before(GRAIN);
            self.metadata.manifest_pulled(pulls, stale).await?;
        }
        Ok(())
    }
}
